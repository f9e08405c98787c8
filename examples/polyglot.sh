#!/bin/sh
# Agents in three languages at work on one file.
#
# A Python program, a Node.js program and a shell with `pd` build a part each, and tell each other when they have. Then they
# deploy in turns: whoever has the lock, the other two find it taken, and are told who has it. All of them write in one
# journal.
#
#   PD=path/to/pd PYTHON=venv/bin/python NODE_PROJECT=directory examples/polyglot.sh
#
# PYTHON has the wheel of port-daddy installed, NODE_PROJECT the npm package.
set -eu

pd=${PD:-pd}
case $pd in
*/*) pd=$(cd "$(dirname "$pd")" && pwd)/$(basename "$pd") ;;
esac
python=${PYTHON:-python3}
case $python in
*/*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;;
esac
project=$(cd "${NODE_PROJECT:-.}" && pwd)
examples=$(cd "$(dirname "$0")" && pwd)

here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM
unset PORT_DADDY_AGENT PORT_DADDY_SESSION PORT_DADDY_SCOPE
: "${PORT_DADDY_DB:=$here/port-daddy.db}"
export PORT_DADDY_DB
# A program finds its packages beside itself.
ln -s "$project/node_modules" "$here/node_modules"
cp "$examples/node/agent.mjs" "$here"
cd "$here"

shell() {
    PORT_DADDY_AGENT=shell
    export PORT_DADDY_AGENT
    "$pd" -q begin "Packing the release" --name "Shell agent" --type ci >/dev/null
    "$pd" -q pub built:shell '{"part":"the release"}' >/dev/null
    "$pd" -q sub built:python,built:node --timeout 60s >received
    sed 's/^/shell: received /' received

    for turn in python node shell; do
        if [ "$turn" = shell ]; then
            token=$("$pd" -q lock deploy --wait 60s)
            "$pd" -q note "Deploying the release with token $token" --type commit >/dev/null
            "$pd" -q pub deploying:shell true >/dev/null
            "$pd" -q sub refused:shell:python,refused:shell:node --timeout 60s >/dev/null
            "$pd" -q unlock deploy
        else
            "$pd" -q sub "deploying:$turn" --timeout 60s >/dev/null
            if "$pd" lock deploy 2>refusal; then return 1; fi
            sed -n 's/^Error/shell/p' refusal
            "$pd" -q pub "refused:$turn:shell" true >/dev/null
        fi
    done
    "$pd" -q done "Deployed" >/dev/null
}

shell &
agents=$!
"$python" "$examples/python/agent.py" &
agents="$agents $!"
node agent.mjs &
agents="$agents $!"
failed=0
for agent in $agents; do
    wait "$agent" || failed=1
done
[ "$failed" -eq 0 ] || { echo "An agent failed." >&2; exit 1; }

echo
echo "The journal (pd notes)"
"$pd" notes
echo
echo "Who had the lock (pd log --type lock.grant)"
"$pd" log --type lock.grant

#!/bin/sh
# Runs each example as a user would and checks what must come out of it. Those in Python and JavaScript run with what was
# built, installed where nothing else is: the wheel in a virtual environment, the npm packages in a project.
set -eu
cd "$(dirname "$0")/.."
: "${PD:=target/release/pd}" "${PYTHON:=python3}"
venv=target/examples-venv
project=target/examples-project
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0
failed=0
spoiled=

# Each example has a database of its own: the user's stays as it was.
unset PORT_DADDY_DB PORT_DADDY_AGENT PORT_DADDY_SESSION PORT_DADDY_SCOPE
export XDG_STATE_HOME="$out/state"

built() { # what makes it, files
    [ -e "$2" ] || { echo "$2 isn't there: $1" >&2; exit 1; }
}

runs() { # name, command
    run=$1
    shift
    if "$@" >"$out/$run" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$run failed" >&2
        spoiled="$spoiled $out/$run"
    fi
}

check() { # file, what must be in it
    if grep -qF -- "$2" "$1"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "not found in $(basename "$1"): $2" >&2
        spoiled="$spoiled $1"
    fi
}

day() { # name, further environment
    name=$1
    shift
    runs "$name" env "$@" PD="$PD" examples/payment-day.sh
    check "$out/$name" '[Integration Tests] Payment system complete!'
    check "$out/$name" '[Frontend] Integrated with payment API on port 3101'
    check "$out/$name" '(Backend API)'
    check "$out/$name" 'Use --force to claim anyway'
    check "$out/$name" 'payments:frontend 3'
    check "$out/$name" '[Backend API] received payments:schema from database'
    check "$out/$name" '[Database Queries] received payments:api from backend'
    check "$out/$name" '[Integration Tests] received payments:frontend from frontend'
}

python() { # example, what must come out of it
    file=$1.py
    shift
    runs "$file" "$venv/bin/python" "examples/python/$file"
    for wanted; do
        check "$out/$file" "$wanted"
    done
}

built 'make build' target/release/payment-day-agent
built 'make npm' target/npm/port-daddy-*.tgz
built 'make wheel' target/wheel/port_daddy-*.whl
"$PYTHON" -m venv --clear "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check --no-index target/wheel/*.whl
rm -rf "$project"
mkdir -p "$project"
echo '{ "private": true }' >"$project/package.json"
npm install --prefix "$project" --silent --offline --no-audit --no-fund target/npm/*.tgz

day payment-day
runs top-screen env PD="$PD" examples/top-screen.sh
check "$out/top-screen" "AGENTS 5"
day payment-day-with-a-rust-agent BACKEND=target/release/payment-day-agent
# Installed as users do it, python3 is the environment's.
day payment-day-with-a-python-agent BACKEND=examples/python/backend.py PATH="$PWD/$venv/bin:$PATH"
check "$out/payment-day-with-a-python-agent" '[Backend API] Payment API complete, ready for testing'

python backend 'database has made payments, refunds' 'The backend is ready'
python locks 'Migrations already running by database (Adding refunds), skipping' \
    '40 changes of the schema by 4 threads, at most 1 at a time'
python status_board 'Silence. Last seen: backend-builder at 100 %, frontend-builder at 100 %'
python deadlock_race ': gave up waiting, goes first' ' would never end' ': has ' \
    'tests: no backend yet, and 0 waiting' 'tests: the backend has port 3101'
python async_agent 'payments:frontend is ready' '[api] Migrated with token ' \
    '[queries] Created getPaymentById() and listPayments()' '[frontend] Integrated with payment API on port 3'
python workers ' imported 820, with 40 notes in session-' 'importer is active and holds 0 locks'

runs polyglot env PD="$PD" PYTHON="$venv/bin/python" NODE_PROJECT="$project" examples/polyglot.sh
# Sent by each, received by the other two, in the words of each language.
for received in "python: received {'part': 'the checkout'}" "python: received {'part': 'the release'}" \
    "node: received { part: 'the API' }" "node: received { part: 'the release' }" \
    'shell: received {"part":"the API"}' 'shell: received {"part":"the checkout"}'; do
    check "$out/polyglot" "$received"
done
for refused in 'node: deploy is held by Python agent' 'shell: deploy is held by Python agent' \
    'python: deploy is held by Node agent' 'shell: deploy is held by Node agent' \
    'python: deploy is held by Shell agent' 'node: deploy is held by Shell agent'; do
    check "$out/polyglot" "$refused"
done
for agent in Python Node Shell; do
    check "$out/polyglot" "[$agent agent] Deploying "
    check "$out/polyglot" "[$agent agent] took deploy"
done

if [ ! -e "$XDG_STATE_HOME" ]; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
    echo 'an example wrote to the database of the user' >&2
fi

for file in $(printf '%s\n' $spoiled | sort -u); do
    echo "$(basename "$file"):" >&2
    sed 's/^/    /' "$file" >&2
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

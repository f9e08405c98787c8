#!/bin/sh
# A payment system in one day, by five agents at once.
#
# Five processes, each an agent that knows the others only through `pd`, on a fresh database: they claim files, wait for
# each other's signals, take a lock and a port, and keep a journal. They all start together; whoever needs something
# waits for it, and whoever comes late still receives what was signalled.
#
#   PD=path/to/pd examples/payment-day.sh
#   BACKEND=path/to/payment-day-agent …   the backend agent in Rust instead of shell
#   KEEP=directory …                      keep the database there
set -eu

pd=${PD:-pd}
case $pd in
*/*) pd=$(cd "$(dirname "$pd")" && pwd)/$(basename "$pd") ;;
*) command -v "$pd" >/dev/null || { echo "pd isn't there: make build, or set PD" >&2; exit 1; } ;;
esac
backend=${BACKEND:+$(cd "$(dirname "$BACKEND")" && pwd)/$(basename "$BACKEND")}

here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM
PORT_DADDY_DB=${KEEP:-$here}/port-daddy.db
export PORT_DADDY_DB
unset PORT_DADDY_AGENT PORT_DADDY_SESSION PORT_DADDY_SCOPE

mkdir -p "$here/shop/src/api/payments" "$here/shop/src/types" && cd "$here/shop"
git init -q . 2>/dev/null || true
echo 'export interface Payment {}' >src/types/Payment.ts

# Each agent says who it is once, in its environment; every call below finds the rest by itself.
be() { # id, name, identity, purpose
    PORT_DADDY_AGENT=$1
    export PORT_DADDY_AGENT
    "$pd" -q agent register --name "$2" --identity "$3" --purpose "$4" --type ai >/dev/null
}
pd() { "$pd" "$@"; }
work() { sleep 0.2; }
# What others should see goes to the timeline below; the rest only to this agent's own log.
quietly() { "$@" >>"$here/$PORT_DADDY_AGENT.log" 2>&1; }

database() {
    be database "Database" payments:db "Schema and migrations"
    quietly pd session start "Payment system schema" --files "supabase/migrations/*"
    quietly pd note "Creating payments table, webhook_requests, refunds"
    work
    quietly pd note "Schema ready, importing src/types/Payment.ts"
    quietly pd lock db-migrations
    quietly pd pub payments:schema '{"version":1,"tables":["payments","refunds"]}'
    work # the migration itself: the backend waits for this lock meanwhile
    quietly pd unlock db-migrations
    quietly pd done "Migrated"
}

backend() {
    if [ -n "$backend" ]; then
        PORT_DADDY_AGENT=backend "$backend"
        return
    fi
    be backend "Backend API" payments:api "The payment API"
    quietly pd session start "Stripe API integration" --files "src/api/payments/*" "src/types/Payment.ts"
    pd -q sub payments:schema --timeout 60s >"$here/schema.json"
    quietly pd note "Schema loaded, creating Stripe client"
    quietly pd note "Implemented POST /api/payments (charges)" --type commit
    quietly pd note "Implemented POST /api/payments/:id/refund" --type commit
    quietly pd with-lock db-migrations -- sh -c 'echo "checked the tables with token $PORT_DADDY_LOCK_TOKEN"'
    quietly pd note "Ready for integration tests"
    quietly pd pub payments:api '{"status":"ready","port":3101}'
    pd -q sub payments:complete --timeout 60s >/dev/null
    quietly pd done "API done"
}

queries() {
    be queries "Database Queries" payments:queries "The query layer"
    quietly pd session start "Payment query layer" --files "src/db/queries/*"
    pd -q sub payments:api --timeout 60s >/dev/null
    work
    quietly pd note "Created getPaymentById() and listPayments()"
    quietly pd note "Ready for frontend to consume"
    quietly pd pub payments:queries '{"status":"ready"}'
    quietly pd done
}

frontend() {
    be frontend "Frontend" payments:web "The checkout"
    quietly pd session start "Checkout UI" --files "src/components/Checkout/*"
    pd -q sub payments:api,payments:queries --timeout 60s >/dev/null
    PORT=$(pd claim payments:frontend -q)
    quietly pd note "Building CheckoutForm component"
    # The backend has claimed one of these: the warning says who, and nothing is taken.
    if pd files add 'src/types/*.ts' >>"$here/frontend.log" 2>"$here/conflict"; then
        echo "the conflict over src/types was not seen" >&2
        return 1
    fi
    quietly pd note "Leaving src/types to its owner: $(head -n 1 "$here/conflict")" --type blocker
    quietly pd note "Integrated with payment API on port 3101"
    quietly pd pub payments:frontend '{"status":"ready","port":'"$PORT"'}'
    quietly pd done
}

tests() {
    be tests "Integration Tests" payments:tests "Testing it all"
    quietly pd session start "Payment integration tests" --files "tests/payments/*"
    pd -q sub payments:schema,payments:api,payments:queries,payments:frontend --timeout 60s >"$here/ready.json"
    [ "$(wc -l <"$here/ready.json")" -eq 4 ]
    quietly pd note "Running checkout flow tests"
    work
    quietly pd note "All tests passing"
    quietly pd note "Payment system complete!"
    quietly pd pub payments:complete '{"status":"done","timestamp":"2024-02-28T10:18:00Z"}'
    quietly pd done
}

echo "Five agents, one database, no daemon."
echo
PORT_DADDY_AGENT=audience "$pd" -q log -f --limit 0 &
audience=$!
agents=
for agent in tests frontend queries backend database; do # the last to be needed starts first
    "$agent" &
    agents="$agents $!"
done
failed=0
for agent in $agents; do
    wait "$agent" || failed=1
done
kill "$audience" 2>/dev/null && wait "$audience" 2>/dev/null || true
if [ "$failed" -ne 0 ]; then
    echo "An agent failed. What they said:" >&2
    cat "$here"/*.log >&2
    exit 1
fi

export PORT_DADDY_AGENT=audience
echo
echo "The journal (pd notes)"
"$pd" notes --limit 30
echo
echo "The file conflict, as the frontend saw it"
cat "$here/conflict"
echo
echo "The agents (pd agents)"
"$pd" agents
echo
echo "Who waited for whom (pd log --type channel.receive, lock.grant)"
"$pd" log --type channel.receive
"$pd" log --type lock.grant
echo
echo "The port (pd ps)"
"$pd" ps

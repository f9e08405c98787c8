#!/bin/sh
# One screen of `pd top` from the middle of examples/payment-day.sh, as plain text.
#
#   PD=path/to/pd SIZE=80x24 examples/top-screen.sh
#
# The day runs as always; the screen is drawn while the backend waits for the lock under which the schema is migrated.
set -eu

pd=${PD:-pd}
case $pd in
*/*) pd=$(cd "$(dirname "$pd")" && pwd)/$(basename "$pd") ;;
esac
keep=$(mktemp -d)
trap 'rm -rf "$keep"' EXIT

PD=$pd KEEP=$keep "$(dirname "$0")/payment-day.sh" >"$keep/day" 2>&1 &
day=$!
# Drawn again and again until some agent waits for a lock; else the last with a lock in it, else the day's last.
shown=
while kill -0 "$day" 2>/dev/null; do
    screen=$("$pd" --db "$keep/port-daddy.db" top --all --once --size "${SIZE:-80x24}")
    case $screen in
    *'LOCKS 1, 1 waiting'*) shown=$screen && break ;;
    *'LOCKS 1'*) shown=$screen ;;
    esac
done
printf '%s\n' "${shown:-$screen}"
wait "$day"

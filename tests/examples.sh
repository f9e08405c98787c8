#!/bin/sh
# Runs each example as a user would and checks what must come out of it.
set -eu
cd "$(dirname "$0")/.."
: "${PD:=target/release/pd}"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0
failed=0
spoiled=

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
    if env "$@" PD="$PD" examples/payment-day.sh >"$out/$name" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$name: examples/payment-day.sh failed" >&2
        spoiled="$spoiled $out/$name"
    fi
    check "$out/$name" '[Integration Tests] Payment system complete!'
    check "$out/$name" '[Frontend] Integrated with payment API on port 3101'
    check "$out/$name" '(Backend API)'
    check "$out/$name" 'Use --force to claim anyway'
    check "$out/$name" 'payments:frontend 3'
    check "$out/$name" '[Backend API] received payments:schema from database'
    check "$out/$name" '[Database Queries] received payments:api from backend'
    check "$out/$name" '[Integration Tests] received payments:frontend from frontend'
}

day payment-day
day payment-day-with-a-rust-agent BACKEND=target/release/payment-day-agent

for file in $(printf '%s\n' $spoiled | sort -u); do
    echo "$(basename "$file"):" >&2
    sed 's/^/    /' "$file" >&2
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

#!/bin/sh
# Fuzzes every target, or those that are named, two at a time, each for FUZZ_SECONDS (60), and says what each found.
# `fuzz/run.sh check` only looks whether the targets compile, with clippy. Needs stable Rust and a C++ compiler, not cargo-fuzz.
#
# A run begins with seeds/TARGET and with what earlier runs have found (target/fuzz/corpus). An input that crashes, takes more
# than 5 s or 1 GiB is left in target/fuzz/artifacts; mended, it belongs into seeds/TARGET.
set -eu
cd "$(dirname "$0")/.."
all='pattern names json line repository database'
seconds=${FUZZ_SECONDS:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
out=target/fuzz

# What `cargo fuzz` passes, but for the sanitizers, which stable Rust hasn't. With --target, build scripts are built without.
flags='--cfg fuzzing -Ccodegen-units=1 -Cdebug-assertions -Cpasses=sancov-module'
for option in level=4 inline-8bit-counters pc-table trace-compares; do
	flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
done
export RUSTFLAGS="$flags"
export CARGO_INCREMENTAL=0
make() {
	command=$1
	shift
	"${CARGO:-cargo}" "$command" --release --locked --manifest-path fuzz/Cargo.toml --target "$host" --target-dir $out "$@"
}

if [ "${1:-}" = check ]; then
	"${CARGO:-cargo}" fmt --manifest-path fuzz/Cargo.toml --check
	make clippy --no-default-features -- -D warnings
	exit
fi
if ! command -v c++ >/dev/null && command -v apt-get >/dev/null; then
	if [ "$(id -u)" = 0 ]; then sudo=''; else sudo='sudo -n'; fi
	$sudo apt-get install -y -q --no-install-recommends g++ >/dev/null
fi
command -v c++ >/dev/null || { echo 'install a C++ compiler first: libFuzzer is compiled from C++' >&2; exit 1; }

targets=${*:-$all}
for target in $targets; do
	[ -e "fuzz/fuzz_targets/$target.rs" ] || { echo "there is no target $target: name one of $all" >&2; exit 2; }
done
make build

# fuzz TARGET: begins a run in the background; what it says goes to a file.
fuzz() {
	mkdir -p "$out/corpus/$1" "$out/artifacts/$1"
	case $1 in
	pattern) size=9000 ;;
	database) size=20000 ;;
	*) size=4096 ;;
	esac
	"$out/$host/release/$1" "$out/corpus/$1" "fuzz/seeds/$1" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 \
		-max_len=$size -print_final_stats=1 -artifact_prefix="$out/artifacts/$1/" >"$out/$1.log" 2>&1 &
	running="$running $!"
}

running=''
trap '[ -z "$running" ] || kill $running 2>/dev/null; exit 130' INT TERM

failed=0
# report TARGET PID: what the run comes to, once it is over.
report() {
	code=0
	wait "$2" || code=$?
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$1.log")
	took=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$out/$1.log")
	cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$out/$1.log" | tail -1)
	size=$(ls "$out/corpus/$1" | wc -l)
	if [ $code = 0 ]; then
		printf '%-11s %9s runs in %s s, %s edges, corpus of %s: nothing found\n' "$1" "$runs" "$took" "$cover" "$size"
	else
		failed=1
		printf '%-11s %9s runs: FOUND SOMETHING, see %s\n' "$1" "$runs" "$out/artifacts/$1"
		tail -40 "$out/$1.log"
	fi
}

set -- $targets
while [ $# -gt 0 ]; do
	fuzz "$1"
	first=$!
	[ $# -eq 1 ] || fuzz "$2"
	second=$!
	report "$1" "$first"
	[ $# -eq 1 ] || { report "$2" "$second"; shift; }
	shift
	running=''
done
exit $failed

#!/bin/sh
# Runs the benches, or the one that is named, and writes what they found into benches/README.md.
# Starts a redis-server of its own on loopback as a peer, and stops it whatever happens.
set -eu
cd "$(dirname "$0")/.."
readme=benches/README.md
names='pd-note lock hand-over delivery fan-out gate large retention claims idle-subs polling hooks node python'
chosen=${1:-$names}
for name in $chosen; do
	case " $names " in
	*" $name "*) ;;
	*) echo "there is no bench $name: name one of $names" >&2; exit 2 ;;
	esac
done

missing=''
command -v redis-server >/dev/null && command -v redis-cli >/dev/null || missing='redis-server redis-tools'
command -v hyperfine >/dev/null || missing="$missing hyperfine"
if [ -n "$missing" ] && command -v apt-get >/dev/null; then
	if [ "$(id -u)" = 0 ]; then sudo=''; else sudo='sudo -n'; fi
	# The package would start a server for the whole machine: it isn't needed.
	$sudo apt-get install -y -q --no-install-recommends $missing >/dev/null
	missing=''
fi
[ -z "$missing" ] || { echo "install first:$missing" >&2; exit 1; }

${CARGO:-cargo} build --release --locked -p port-daddy -p portdaddy-benches
bench=target/release/portdaddy-benches
dir=$(mktemp -d "${PD_BENCH_DIR:-${TMPDIR:-/tmp}}/pd-bench-redis-XXXXXX")
servers=''
stop() {
	for pid in $servers; do kill "$pid" 2>/dev/null || true; done
	for pid in $servers; do wait "$pid" 2>/dev/null || true; done
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT TERM

# redis NAME OPTION...: a server on a free port, which is put into $port
redis() {
	port=$(env -u PORT_DADDY_SESSION PORT_DADDY_AGENT=bench PORT_DADDY_DB="$dir/state/pd.db" \
		target/release/pd claim "bench:redis:$1" --scope bench -q)
	own="$dir/redis-$1"
	mkdir "$own"
	shift
	redis-server --port "$port" --bind 127.0.0.1 --dir "$own" --loglevel warning "$@" >"$dir/log" 2>&1 &
	servers="$servers $!"
	tries=0
	until redis-cli -p "$port" ping >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || { cat "$dir/log" >&2; exit 1; }
		sleep 0.1
	done
}

commit=$(git rev-parse --short HEAD)
[ -z "$(git status --porcelain --untracked-files=no -- . ':!benches/README.md')" ] || commit="$commit and changes"
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -1)
machine="$(uname -sr), $(nproc) × ${cpu:-$(uname -m)}, $(df -T "${PD_BENCH_DIR:-${TMPDIR:-/tmp}}" 2>/dev/null | awk 'END { print $2 }')"

for name in $chosen; do
	case $name in
	pd-note | lock | delivery | fan-out)
		redis "$name" --save '' --appendonly no
		export PD_BENCH_REDIS="$port"
		;;
	gate)
		# The same code, which passes the gate by.
		RUSTFLAGS='--cfg portdaddy_no_gate' ${CARGO:-cargo} build --release --locked -p portdaddy-benches --target-dir target/no-gate
		export PD_BENCH_NO_GATE="$PWD/target/no-gate/release/portdaddy-benches"
		;;
	esac
	if [ "$name" = pd-note ]; then
		redis fsync --save '' --appendonly yes --appendfsync always
		export PD_BENCH_REDIS_FSYNC="$port"
	fi
	if [ "$name" = node ]; then
		redis node --save '' --appendonly no
		make -s npm >/dev/null
		(cd benches/node && npm ci --silent)
		npm install --silent --offline --no-save --prefix "$dir/project" target/npm/*.tgz
		export PD_BENCH_REDIS="$port" PD_BENCH_CLIENT="$dir/project/node_modules/port-daddy/dist/client.mjs"
	fi
	if [ "$name" = python ]; then
		redis python --save '' --appendonly no
		PD_BENCH_REDIS=$port
		redis python-fsync --save '' --appendonly yes --appendfsync always
		PD_BENCH_REDIS_FSYNC=$port
		export PD_BENCH_REDIS PD_BENCH_REDIS_FSYNC
		make -s wheel >/dev/null
		"${PYTHON:-python3}" -m venv "$dir/venv"
		"$dir/venv/bin/python" -m pip install -q --disable-pip-version-check target/wheel/*.whl -r benches/python/requirements.txt
	fi
	load=$(cut -d' ' -f1 /proc/loadavg 2>/dev/null || echo unknown)
	{
		echo "*Commit $commit; $machine; load before: $load.*"
		echo
		case $name in
		node) node benches/node/bench.mjs ;;
		python) "$dir/venv/bin/python" benches/python/bench.py ;;
		*) "$bench" "$name" ;;
		esac
	} >"$dir/found"
	echo "## $name"
	cat "$dir/found"
	echo
	awk -v name="$name" -v found="$dir/found" '
		$0 == "<!-- end " name " -->" { while ((getline line < found) > 0) print line; inside = 0 }
		!inside { print }
		$0 == "<!-- begin " name " -->" { inside = 1 }
	' "$readme" >"$dir/readme"
	cat "$dir/readme" >"$readme"
done

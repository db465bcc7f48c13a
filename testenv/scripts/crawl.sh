#!/usr/bin/env bash
# What clients notice of others that do little and hold much: 10,000 connections
# that send a byte a second, and one that asks for large values and reads none.
# Measures in turns with and without them, and prints the ratio of the medians of
# p99. Fails if it is over 2. Usage: crawl.sh KUMOCTL [CONNECTIONS [ROUNDS]]
# BENCH holds the options of kumoctl bench for the clients that are measured.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
need python3 "apt-get install python3"
kumoctl=$(realpath "${1:-bin/kumoctl}")
connections=${2:-10000}
rounds=${3:-5}
bench=${BENCH:---connections 2 --sets 0.1 --keys 10000 --time 10}
crawlers=4 # processes, for the limit of descriptors
ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -gt $((connections + 200)) ] || { echo "ulimit -n: want more than $((connections + 200))"; exit 1; }
cluster "$kumoctl" --processes
manager=$(sed -n 's/.*nats -s \([0-9.:]*\) .*/\1/p' "$dir/up.log" | head -1)
gateway_port=$((port + 1))
"$kumoctl" daemon gateway -m "$manager" -t "127.0.0.1:$gateway_port" --max-connections $((connections + 100)) 2>"$dir/gateway.log" &
gateway=$!
pids=
trap 'kill $pids $gateway $up 2>/dev/null; wait $pids $gateway $up 2>/dev/null; rm -rf "$dir"' EXIT

listening $gateway_port

measure() { # FILE OPTION...
	file=$1
	shift
	"$kumoctl" bench -o json --addr "127.0.0.1:$gateway_port" $bench "$@" >"$file"
}

# start opens the slow connections and returns once they are at work.
start() {
	pids=
	for i in $(seq 0 $crawlers); do
		rm -f "$dir/in$i"
		mkfifo "$dir/in$i"
		what=$((connections / crawlers))
		[ "$i" -gt 0 ] || what=deaf
		python3 "$here/crawl.py" "$gateway_port" "$what" <"$dir/in$i" >"$dir/out$i" &
		pids="$pids $!"
		eval "exec $((10 + i))>\"$dir/in$i\""
	done
	for i in $(seq 0 $crawlers); do
		until grep -q ready "$dir/out$i"; do
			sleep 0.1
			kill -0 $pids
		done
	done
}

stop() {
	for i in $(seq 0 $crawlers); do
		echo >"$dir/in$i"
		eval "exec $((10 + i))>&-"
	done
	wait $pids
	pids=
	for i in $(seq $crawlers); do tail -1 "$dir/out$i"; done | awk '{ s += $1; l += $2 } END { print "  " s " bytes a second came slowly, " l " answers to them took longer than a second" }'
}

measure "$dir/fill.json" # which also warms up
for round in $(seq "$rounds"); do
	measure "$dir/without.$round.json" --fill=false
	start
	measure "$dir/with.$round.json" --fill=false
	stop
done
python3 - "$dir" "$rounds" "$connections" <<'PY'
import json, statistics, sys
folder, rounds, n = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def p99(which, i):
    with open(f"{folder}/{which}.{i}.json") as f:
        r = json.load(f)
    r = r[0] if isinstance(r, list) else r.get("results", [r])[0]
    assert r["errors"] == 0, r.get("first_error")
    print(f"  {which}: {r['per_second']:.0f} operations a second, p99 {r['latency']['p99_us']} µs")
    return r["latency"]["p99_us"]

pairs = [(p99("without", i), p99("with", i)) for i in range(1, rounds + 1)]
without, those = (statistics.median(p[k] for p in pairs) for k in (0, 1))
print(f"{n} connections that send a byte a second, and one that never reads: p99 from {without:.0f} to {those:.0f} µs, ratio {those / without:.2f}")
sys.exit(those > 2 * without)
PY

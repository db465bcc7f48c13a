#!/usr/bin/env bash
# A gateway whose memory is bounded by one number, GOMEMLIMIT, under clients that
# mean no good, all at once: 10,000 connections that send a byte a second, 1 GiB of
# pipelined requests whose answers are not read, and a million distinct bad requests.
# Measures two good clients in turns with and without them, and prints the ratio of
# the medians of p99, and the most memory that the gateway ever had. Fails if the one
# is over 2 or the other over the bound. Usage: crowd.sh KUMOCTL [CONNECTIONS [ROUNDS]]
# LIMIT is the bound in bytes, BENCH the options of kumoctl bench for the good ones,
# BAD how many bad requests are sent a second, UNREAD the bytes of pipelined ones.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
need python3 "apt-get install python3"
kumoctl=$(realpath "${1:-bin/kumoctl}")
connections=${2:-10000}
rounds=${3:-5}
limit=${LIMIT:-$((1 << 30))}
bench=${BENCH:---connections 2 --sets 0.1 --keys 10000 --time 10}
bad=${BAD:-20000}
unread=${UNREAD:-$((1 << 30))}
crawlers=4 # processes, for the limit of descriptors
ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -gt $((connections + 400)) ] || { echo "ulimit -n: want more than $((connections + 400))"; exit 1; }
cluster "$kumoctl" --processes
manager=$(sed -n 's/.*nats -s \([0-9.:]*\) .*/\1/p' "$dir/up.log" | head -1)
gateway_port=$((port + 1))
GOMEMLIMIT=$limit "$kumoctl" daemon gateway -m "$manager" -t "127.0.0.1:$gateway_port" --max-connections $((connections + 200)) 2>"$dir/gateway.log" &
gateway=$!
pids=
trap 'kill $pids $gateway $up 2>/dev/null; wait $pids $gateway $up 2>/dev/null; rm -rf "$dir"' EXIT
listening $gateway_port

measure() { # FILE OPTION...
	file=$1
	shift
	"$kumoctl" bench -o json --addr "127.0.0.1:$gateway_port" $bench "$@" >"$file"
}

rss() { awk "/^$1:/ { print \$2 * 1024 }" "/proc/$gateway/status"; }

# crowd NAME ARGUMENT... starts clients of crawl.py's.
crowd() {
	name=$1
	shift
	rm -f "$dir/in.$name"
	mkfifo "$dir/in.$name"
	python3 "$here/crawl.py" "$gateway_port" "$@" <"$dir/in.$name" >"$dir/out.$name" &
	pids="$pids $!"
	names="$names $name"
	exec {fd}>"$dir/in.$name"
	fds="$fds $fd"
}

# start opens all of them and returns once they are at work.
start() {
	pids= names= fds=
	for i in $(seq $crawlers); do crowd "slow$i" $((connections / crawlers)); done
	crowd unread unread "$unread"
	crowd bad bad "$bad" $((1000000 / rounds))
	for name in $names; do
		until grep -q ready "$dir/out.$name"; do
			sleep 0.1
			kill -0 $pids
		done
	done
}

stop() {
	for name in $names; do echo >"$dir/in.$name"; done
	for fd in $fds; do exec {fd}>&-; done
	wait $pids
	pids=
	tail -qn1 "$dir"/out.slow* | awk '{ s += $1 } END { printf "  %d bytes a second came slowly", s }'
	echo ", $(tail -1 "$dir/out.unread") of $unread bytes of unread requests were taken, $(tail -1 "$dir/out.bad") bad requests answered"
	echo "$(($(cat "$dir/bad") + $(tail -1 "$dir/out.bad")))" >"$dir/bad"
}

echo 0 >"$dir/bad"
measure "$dir/fill.json" # which also warms up
before=$(rss VmHWM)
for round in $(seq "$rounds"); do
	measure "$dir/without.$round.json" --fill=false
	start
	measure "$dir/with.$round.json" --fill=false
	stop
done
python3 - "$dir" "$rounds" "$connections" "$before" "$(rss VmHWM)" "$limit" <<'PY'
import json, statistics, sys
folder, rounds, n = sys.argv[1], int(sys.argv[2]), sys.argv[3]
before, most, limit = (int(a) >> 20 for a in sys.argv[4:7])

def p99(which, i):
    with open(f"{folder}/{which}.{i}.json") as f:
        r = json.load(f)
    r = r[0] if isinstance(r, list) else r.get("results", [r])[0]
    assert r["errors"] == 0, r.get("first_error")
    print(f"  {which}: {r['per_second']:.0f} operations a second, p99 {r['latency']['p99_us']} µs")
    return r["latency"]["p99_us"]

pairs = [(p99("without", i), p99("with", i)) for i in range(1, rounds + 1)]
without, those = (statistics.median(p[k] for p in pairs) for k in (0, 1))
bad = open(folder + "/bad").read().strip()
print(f"{n} slow connections, requests unread, and {bad} bad ones: p99 from {without:.0f} to {those:.0f} µs, ratio {those / without:.2f}; the gateway had {before} MiB before and {most} MiB at most, of {limit}")
sys.exit(those > 2 * without or most > limit)
PY

#!/usr/bin/env bash
# What clients notice while a fourth server joins and about 1 GB moves to it:
# clients begin operations by a timetable (an open loop), at half of what the
# cluster did at its fastest. Prints p99 before and while it moves, operations that
# failed, and the bytes a second that the new server took.
# Usage: join.sh KUMOCTL [KEYS (1300000) [SETS (0.1) [CONNECTIONS (64)]]]
# With three copies on four servers the new one gets three quarters of all values.
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
need jq "apt-get install jq"
program=$(realpath "${1:-bin/kumoctl}")
keys=${2:-1300000}
sets=${3:-0.1}
connections=${4:-64}
server=$(dirname "$program")/kumo-server
[ -x "$server" ] || { echo "$server is missing: task build"; exit 1; }

cluster "$program" --processes
manager=$(sed -n 's/^ *[^ ]* \(127[^ ]*:19700\) .*/\1/p; s/^.* \([0-9.:]*\) status$/\1/p' "$dir/up.log" | tail -1)

bench() {
	"$program" bench -o json --addr "127.0.0.1:$port" --keys "$keys" --sets "$sets" --connections "$connections" "$@" | jq '.[0]'
}

bench --time 1 >/dev/null # writes every key first
sleep 5 # the database takes in what was written
max=$(bench --fill=false --time 5 | jq '.per_second')
rate=$(jq -n "$max / 2 | floor")
calm=$(bench --fill=false --time 10 --rate "$rate" | jq -c '{p50: .latency.p50_us, p99: .latency.p99_us, errors, misses}')
echo "maximum $max operations a second; at $rate, before: $calm"

"$server" -m "$manager" -l "127.0.0.1:$((port + 8393))" -s "$dir/new" >"$dir/new.log" 2>&1 &
new=$!
trap 'kill $new $up 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
status() { "$program" -m "$manager" status -o json; }
for _ in $(seq 100); do
	[ "$(status | jq '[.nodes[] | select(.state == "new")] | length')" = 1 ] && break
	sleep 0.1
done
[ -z "${MOVE_RATE:-}" ] || "$program" -m "$manager" move-rate "$MOVE_RATE"
began=$(date +%s.%N)
"$program" -m "$manager" attach >/dev/null
(
	for _ in $(seq 3000); do
		status | jq -e '.moves | (.active + .pending + .surplus + .leads) == 0' >/dev/null && break
		sleep 0.2
	done
	date +%s.%N >"$dir/settled"
) &
for _ in $(seq 60); do
	bench --fill=false --time 5 --warm-up 0 --rate "$rate"
	[ -e "$dir/settled" ] && break
done | jq -rs --argjson calm "$calm" --arg rate "$rate" '
	"while it moves, \(length) times 5 s: p99 \([.[].latency.p99_us] | max) µs at worst, \([.[].latency.p99_us] | sort | .[length / 2 | floor]) in the middle, \(([.[].latency.p99_us] | max) / $calm.p99 * 100 | round / 100) times that before; \([.[].errors] | add) errors, \([.[].misses] | add) misses; \([.[].per_second] | min | round) operations a second at least"'
took=$(jq -n "$(cat "$dir/settled") - $began")
status | jq -r --arg took "$took" '.moves.sent_bytes as $b | "\($b / 1e6 | round) MB moved in \($took) s, \($b / 1e6 / ($took | tonumber) * 10 | round / 10) MB a second"'

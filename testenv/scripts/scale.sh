#!/usr/bin/env bash
# What an operation costs as a cluster grows: CPU of all daemons for a GET and a
# SET, and while nobody asks for anything, with 3, 6 and 12 servers. The sizes
# take turns, each with a cluster of its own, so that what else the machine does
# falls on all. Values are of 1 KiB, in three copies. Prints medians over the
# rounds, and ratios to the first size of the same round.
# Usage: scale.sh KUMOCTL [SECONDS [ROUNDS [SERVERS...]]]
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
need pgrep "apt-get install procps"
need jq "apt-get install jq"
program=$(realpath "${1:-bin/kumoctl}")
seconds=${2:-5}
rounds=${3:-3}
shift $(($# < 3 ? $# : 3))
sizes=(${@:-3 6 12})
keys=20000
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# note WORK CPU OPERATIONS keeps a result of this round and size.
note() { printf '{"round":%s,"servers":%s,"work":"%s","cpu":%s,"rate":%s}\n' "$round" "$servers" "$@" >>"$results"; }

# work NAME OPTION... measures.
work() {
	local name=$1 r
	shift
	r=$("$program" bench -o json --addr "127.0.0.1:$port" --pid "$pids" --time "$seconds" --keys $keys "$@")
	note "$name" "$(jq '.[0].cpu_us' <<<"$r")" "$(jq '.[0].per_second' <<<"$r")"
}

# ticks prints the processor time that the daemons have had, in 1/100 s.
ticks() {
	local sum=0 t p
	for p in ${pids//,/ }; do
		t=$(sed 's/.*) //' "/proc/$p/stat" | cut -d' ' -f12,13)
		sum=$((sum + ${t% *} + ${t#* }))
	done
	echo $sum
}

for round in $(seq "$rounds"); do
	for servers in "${sizes[@]}"; do
		cluster "$program" --processes --servers "$servers"
		trap 'kill $up 2>/dev/null; wait $up 2>/dev/null; rm -rf "$dir" "$results"' EXIT
		pids=$(pgrep -d, -P "$up")
		"$program" bench --addr "127.0.0.1:$port" --time 1 --connections 16 --keys $keys >/dev/null # fills
		sleep 5 # what was filled in goes to the databases
		before=$(ticks)
		sleep "$seconds"
		note "nothing, a server and second" $((($(ticks) - before) * 10000 / seconds / servers)) 0
		work "GET, 128 connections" --fill=false --connections 128
		work "GET, 40 connections a server" --fill=false --connections $((40 * servers))
		work "GET, 500/s a server" --fill=false --connections 128 --rate $((500 * servers))
		work "SET, 128 connections" --fill=false --connections 128 --sets 1
		kill "$up"
		wait "$up" 2>/dev/null || true
		rm -rf "$dir"
	done
done
cat <<'T'
| work | servers | CPU µs | by that with the fewest servers | operations/s |
|---|---|---|---|---|
T
jq -rs '
	def median: sort | .[length / 2 | floor];
	def hundredths: . * 100 | round / 100;
	. as $all | [.[].work] | reduce .[] as $w ([]; if index($w) then . else . + [$w] end) | .[] as $work
	| $all | map(select(.work == $work)) | . as $rows | group_by(.servers)[]
	| map(.cpu / (. as $r | $rows | map(select(.round == $r.round)) | min_by(.servers).cpu)) as $ratio
	| "| \($work) | \(.[0].servers) | \(map(.cpu) | median | hundredths) | \($ratio | median | hundredths) (\($ratio | min | hundredths) to \($ratio | max | hundredths)) | \(map(.rate) | median | round) |"' "$results"
trap - EXIT # no cluster is left
rm -f "$results"

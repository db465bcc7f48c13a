#!/usr/bin/env bash
# What a backup costs clients: kumoctl bench without and with a backup under way, in
# turn, and the ratios of both. The machine must have nothing else to do.
# Usage: backup-cost.sh KUMOCTL [ROUNDS [KEYS [VALUE-BYTES [OPTION-OF-BACKUP...]]]]
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
kumoctl=$(realpath "${1:-bin/kumoctl}")
rounds=${2:-5} keys=${3:-200000} bytes=${4:-1000}
shift $(($# < 4 ? $# : 4))
need jq "apt-get install jq"
cluster "$kumoctl" --processes
export KUMO_MANAGERS=$(jq -r '.nodes[] | select(.role == "manager") | .addr' "$dir/data/cluster.json" | head -1)

bench() { "$kumoctl" bench --addr "127.0.0.1:$port" --keys "$keys" --size "$bytes" --time "${1:-5}" --warm-up 1 --sets 0.1 "${@:2}" -o json; }
bench 1 --fill >/dev/null

backups() { # again and again, until it is told to end
	trap 'kill $taking 2>/dev/null || true; exit 0' TERM
	while :; do
		rm -rf "$dir/backup"
		"$kumoctl" backup "$dir/backup" "$@" -o ndjson >>"$dir/taken" 2>/dev/null &
		taking=$!
		wait $taking || true
	done
}
for _ in $(seq "$rounds"); do
	bench | jq -c '.[0]' >>"$dir/without"
	backups "$@" &
	taker=$!
	bench | jq -c '.[0]' >>"$dir/with"
	kill $taker
	wait $taker 2>/dev/null || true
done
grep -q . "$dir/taken" || { echo "no backup was complete within a round: fewer keys, or more time"; exit 1; }
paste "$dir/without" "$dir/with" | awk -F'\t' '{print "[" $1 "," $2 "]"}' | jq -s -r '
	def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
	map({ops: (.[1].per_second / .[0].per_second), p50: (.[1].latency.p50_us / .[0].latency.p50_us), p99: (.[1].latency.p99_us / .[0].latency.p99_us)})
	| "with a backup, of without (medians of \(length) rounds): operations a second \(map(.ops) | median * 100 | round)%, p50 \(map(.p50) | median * 100 | round)%, p99 \(map(.p99) | median * 100 | round)%"'

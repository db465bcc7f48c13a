#!/usr/bin/env bash
# A cluster of three servers beside one Redis with an append-only file, in turns.
# Redis is loaded by its own redis-benchmark, since no generator speaks both, and
# keeps one copy in memory and its log; kumofs keeps three on disk. --sync interval
# and appendfsync everysec. Usage: redis.sh KUMOCTL [SECONDS [ROUNDS]]
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
need redis-benchmark "apt-get install redis-server redis-tools"
need jq "apt-get install jq"
need pgrep "apt-get install procps"
program=$(realpath "${1:-bin/kumoctl}")
seconds=${2:-5}
rounds=${3:-3}
cluster "$program" --processes
pids=$(pgrep -d, -P "$up")
redis-server --port $((port + 1)) --bind 127.0.0.1 --dir "$dir" --save "" --appendonly yes --appendfsync everysec >/dev/null &
redis=$!
trap 'kill $redis $up 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
listening $((port + 1))

# theirs GET|SET prints the operations a second of about so many seconds.
theirs() {
	redis-benchmark -p $((port + 1)) -c 128 -d 1024 -r 100000 -n $((60000 * seconds)) --threads 2 -t "${1,,}" --csv |
		tail -1 | cut -d, -f2 | tr -d '"'
}
ours() {
	local sets=0
	[ "$1" = GET ] || sets=1
	"$program" bench -o json --addr "127.0.0.1:$port" --pid "$pids" --connections 128 --fill=false --sets $sets --time "$seconds" |
		jq '.[0].per_second'
}
"$program" bench --addr "127.0.0.1:$port" --time 1 >/dev/null
theirs SET >/dev/null
for work in GET SET; do
	for _ in $(seq "$rounds"); do
		echo "$(theirs $work) $(ours $work)"
	done | jq -Rrs --arg work "$work" '
		def median: sort | .[length / 2 | floor];
		[split("\n")[] | select(. != "") | split(" ") | map(tonumber)]
		| "\($work), 128 connections, 1 KiB: \([.[] | .[1] / .[0]] | median * 100 | round / 100) of what Redis does (\([.[] | .[1]] | median | round) and \([.[] | .[0]] | median | round) operations a second)"'
done

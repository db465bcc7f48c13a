#!/usr/bin/env bash
# Measures the rows of docs/performance.md, each a cluster beside memcached with
# two threads, in turns, and prints a table: medians over the rounds. Values are
# of 1 KiB. Usage: performance.sh KUMOCTL [SECONDS [ROUNDS]]
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
need memcached "apt-get install memcached"
need pgrep "apt-get install procps"
need jq "apt-get install jq"
kumoctl=$(realpath "${1:-bin/kumoctl}")
seconds=${2:-5}
rounds=${3:-3}

# with OPTION... starts the cluster that the next rows are of.
with() {
	cluster "$kumoctl" "$@"
	pids=$(pgrep -d, -P "$up" || true)
	beside 2048
}

without() {
	kill $memcached "$up"
	wait $memcached "$up" 2>/dev/null || true
	rm -rf "$dir"
	trap - EXIT
}

# row NAME BAR FIELD OPTION... prints the ratio of a field of results to
# memcached's (per_second, keys_per_second, or latency.p50_us).
row() {
	name=$1 bar=$2 field=$3
	shift 3
	"$kumoctl" bench -o json --addr "127.0.0.1:$port" --pid "${pids:-$up}" --versus "127.0.0.1:$((port + 1))" \
		--versus-pid $memcached --rounds "$rounds" --time "$seconds" "$@" |
		jq -r --arg name "$name" --arg bar "$bar" --arg field "$field" --arg args "$*" '
			def median: sort | .[length / 2 | floor];
			def of($r): $r | getpath($field | split("."));
			[range(0; length; 2)] as $at | . as $all
			| [$at[] | of($all[. + 1]) / of($all[.])] as $ratios
			| [$at[] | $all[. + 1]] as $ours | [$at[] | $all[.]] as $theirs
			| "| \($name) | \($ratios | median * 100 | round / 100) (\($ratios | min * 100 | round / 100) to \($ratios | max * 100 | round / 100)) | \($bar) | \([$ours[].per_second] | median | round) | \([$theirs[].per_second] | median | round) | \([$ours[].cpu_us] | median * 10 | round / 10) | \([$theirs[].cpu_us] | median * 10 | round / 10) | \([$ours[].latency.p99_us] | median) | `\($args)` |"'
}

cat <<'T'
| work | ratio to memcached | bar | operations/s | memcached's | CPU µs | memcached's | p99 µs | options |
|---|---|---|---|---|---|---|---|---|
T
with --processes
row "GET, 3 servers, 128 connections" "≥ 0.60" per_second --connections 128
row "GET, 3 servers, 32 connections" "≥ 0.45" per_second --connections 32 --fill=false
row "SET in 3 copies, 128 connections" "≥ 0.30" per_second --connections 128 --sets 1 --fill=false
row "multi-get of 100, 8 connections" "≥ 0.45" keys_per_second --connections 8 --multi-get 100 --fill=false
row "GET pipelined by 16, 32 connections" "≥ 1.3" per_second --connections 32 --pipeline 16 --fill=false
row "GET p50, one connection" "≤ 3" latency.p50_us --connections 1 --fill=false
row "SET p50, one connection" "≤ 6" latency.p50_us --connections 1 --sets 1 --fill=false
without
with --processes --sync always
row "SET in 3 copies, \`--sync always\`" "≥ 0.15" per_second --connections 128 --sets 1
without
with --servers 1 --replicas 1
row "GET, one process" "≥ 1.2" per_second --connections 128
row "SET, one process" "≥ 0.8" per_second --connections 128 --sets 1 --fill=false
without

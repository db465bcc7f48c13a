#!/usr/bin/env bash
# What many keys cost: GETs and SETs of a cluster with many keys beside one with
# 100,000, in turns, in the same run. With MEMORY=bytes the large one runs in a
# cgroup of so much memory, page cache included, so that most of its data is on
# disk only (needs root). OPTIONS are for both clusters (OPTIONS='--replicas 1').
# Usage: growth.sh KUMOCTL [KEYS (10000000) [SIZE (100) [SECONDS [ROUNDS]]]]
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
need pgrep "apt-get install procps"
need jq "apt-get install jq"
program=$(realpath "${1:-bin/kumoctl}")
keys=${2:-10000000}
size=${3:-100}
seconds=${4:-5}
rounds=${5:-3}
few=100000

# confine puts this shell, and what it starts, into a cgroup with so many bytes.
confine() {
	group=/sys/fs/cgroup/memory limit=memory.limit_in_bytes
	[ -d $group ] || group=/sys/fs/cgroup limit=memory.max
	home=$(sed -n 's/^[0-9]*:memory:\|^0:://p' /proc/self/cgroup | head -1)
	mkdir "$group/kumofs-$$"
	echo "$1" >"$group/kumofs-$$/$limit"
	echo $BASHPID >"$group/kumofs-$$/cgroup.procs"
}

finish() {
	for u in $ups; do kill "$u" 2>/dev/null; done
	wait 2>/dev/null
	rm -rf "${dirs[@]}"
	if [ -n "${MEMORY:-}" ]; then rmdir "$group/kumofs-$$"; fi
}

ups="" dirs=()
cluster "$program" --processes ${OPTIONS:-}
ups="$up" dirs+=("$dir") small=$port small_pids=$(pgrep -d, -P "$up")
trap finish EXIT
[ -z "${MEMORY:-}" ] || confine "$MEMORY"
PORT=$((small + 200)) cluster "$program" --processes ${OPTIONS:-}
ups="$ups $up" dirs+=("$dir") large=$port large_pids=$(pgrep -d, -P "$up")
trap finish EXIT
[ -z "${MEMORY:-}" ] || echo $BASHPID >"$group$home/cgroup.procs"

# bench PORT PIDS KEYS OPTION... prints operations a second, CPU and p99 of one.
bench() {
	local port=$1 pids=$2 n=$3
	shift 3
	"$program" bench -o json --addr "127.0.0.1:$port" --pid "$pids" --keys "$n" --size "$size" --time "$seconds" \
		--connections 128 "$@" | jq -c '.[0] | {rate: .per_second, cpu: .cpu_us, p99: .latency.p99_us, errors: .errors, misses: .misses}'
}

began=$SECONDS
bench "$small" "$small_pids" $few >/dev/null
bench "$large" "$large_pids" "$keys" >/dev/null
echo "$keys keys of $size bytes written in $((SECONDS - began)) s; they take $(du -sm "${dirs[1]}" | cut -f1) MB"
for work in GET SET; do
	sets=0
	[ $work = GET ] || sets=1
	for _ in $(seq "$rounds"); do
		bench "$small" "$small_pids" $few --fill=false --sets $sets
		bench "$large" "$large_pids" "$keys" --fill=false --sets $sets
	done | jq -rs --arg work "$work" --arg keys "$keys" '
		def median: sort | .[length / 2 | floor];
		[range(0; length; 2)] as $at | . as $all
		| ([$at[] | $all[. + 1].rate / $all[.].rate] | median * 100 | round / 100) as $ratio
		| "\($work): \($ratio) of the operations a second (\([$at[] | $all[. + 1].rate] | median | round) with \($keys) keys, \([$at[] | $all[.].rate] | median | round) with few), CPU \([$at[] | $all[. + 1].cpu] | median * 10 | round / 10) and \([$at[] | $all[.].cpu] | median * 10 | round / 10) µs, p99 \([$at[] | $all[. + 1].p99] | median) and \([$at[] | $all[.].p99] | median) µs, \([$all[].errors] | add) errors, \([$all[].misses] | add) misses"'
done

#!/usr/bin/env bash
# Where the processor time of an operation goes: profiles of the daemons (perf, as root)
# under the loads of performance.sh, as a table of functions and the share of the
# samples in them and in what they call. Usage: profile.sh KUMOCTL [SECONDS [LEAST%]]
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
need perf "apt-get install linux-perf"
need pgrep "apt-get install procps"
kumoctl=$(realpath "${1:-bin/kumoctl}")
seconds=${2:-5}
least=${3:-5}

# profile WHO PIDS prints the table of some processes.
profile() {
	perf record -q -o "$dir/perf" -g -e cpu-clock -p "$2" sleep "$seconds" >/dev/null 2>&1
	printf '\n| %s | %% |\n|---|---|\n' "$1"
	# Runtime's ways into a goroutine and a system call's layers say nothing more.
	perf report -i "$dir/perf" --children -g none --percent-limit "$least" -F overhead_children,sym 2>/dev/null |
		sed -n 's/^ *\([0-9.]*\)% *\[.\] \(.*[^ ]\) *$/\1 \2/p' |
		grep -vE 'goexit|entry_SYSCALL|do_syscall|^[0-9.]+ (__x64_sys|x64_sys)|WaitGroup|errgroup|\.func[0-9]|-fm$|deferwrap|gowrap|abi0$' |
		sed 's/github.com\/etolabo\/kumofs\///; s/github.com\/nats-io\///; s/go.etcd.io\///; s/%2e/./g' |
		awk '{ share = $1; $1 = ""; printf "| `%s` | %s |\n", substr($0, 2), share }'
}

# under NAME OPTION... profiles all under a load.
under() {
	printf '\n### %s\n' "$1"
	shift
	"$kumoctl" bench --addr "127.0.0.1:$port" --time $((seconds * 2 + 8)) --fill=false "$@" >/dev/null &
	load=$!
	sleep 2 # until it is at full speed
	if [ -n "$servers" ]; then
		profile "servers" "$servers"
		profile "gateway" "$gateway"
	else
		profile "all of it" "$up"
	fi
	wait $load
}

cluster "$kumoctl" --processes
servers=$(pgrep -d, -f -P "$up" "daemon server")
gateway=$(pgrep -d, -f -P "$up" "daemon gateway")
"$kumoctl" bench --addr "127.0.0.1:$port" --time 1 >/dev/null # fills
under "GET, 3 servers, 128 connections" --connections 128
under "multi-get of 100, 8 connections" --connections 8 --multi-get 100
under "GET pipelined by 16, 32 connections" --connections 32 --pipeline 16
under "SET in 3 copies, 128 connections" --connections 128 --sets 1
kill "$up"
wait "$up" 2>/dev/null || true
rm -rf "$dir"
cluster "$kumoctl" --servers 1 --replicas 1
servers=
"$kumoctl" bench --addr "127.0.0.1:$port" --time 1 >/dev/null
under "GET, one process" --connections 128
under "SET, one process" --connections 128 --sets 1

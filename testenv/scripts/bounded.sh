#!/usr/bin/env bash
# Daemons in real control groups, told nothing of their memory: three servers and a
# gateway, each in a group of its own with MEMORY bytes, page cache included; or, with
# UP, a whole kumoctl up in one group with twice that (UP= in one process,
# UP=--processes). Stores keys, then has 64 clients pipeline a gigabyte of gets of a
# megabyte and read nothing, while others get and set. Fails if a daemon does not say by
# what its memory is bounded, if the kernel ended one, or if nobody was served. What
# clients are refused at a gateway's bound is told. Needs root.
# Usage: bounded.sh KUMOCTL [KEYS (1000000) [SECONDS (30)]]
# UNREAD is the bytes of pipelined requests. HEED=no tells the daemons to take what they
# would of a machine without limits: that fails, and so shows that the load needs bounds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
need python3 "apt-get install python3"
need jq "apt-get install jq"
kumoctl=$(realpath "${1:-bin/kumoctl}")
keys=${2:-1000000}
seconds=${3:-30}
memory=${MEMORY:-$((256 << 20))}
unread=${UNREAD:-$((1 << 30))}
port=${PORT:-11411}
servers="server1 server2 server3"
groups="$servers gateway" # of these names
if [ -n "${UP+set}" ]; then groups=up memory=$((2 * memory)); fi

# group NAME is the folder of a control group.
group() { echo "$top/kumofs-$$-$1"; }

# confine makes the groups, or says why it cannot.
confine() {
	top=/sys/fs/cgroup limit=memory.max peak=memory.peak events=memory.events
	if [ -d $top/memory ]; then
		top=$top/memory limit=memory.limit_in_bytes peak=memory.max_usage_in_bytes events=memory.oom_control
	elif ! grep -qw memory $top/cgroup.subtree_control 2>/dev/null; then
		(echo +memory >$top/cgroup.subtree_control) 2>/dev/null || true
	fi
	for name in $groups; do
		(mkdir "$(group "$name")" && echo "$memory" >"$(group "$name")/$limit") 2>/dev/null || {
			echo "no control group with a memory limit can be made in $top: run this as root, where that is not read-only and has the memory controller"
			exit 3
		}
	done
}

declare -A pid=()
dir=$(mktemp -d)
finish() {
	kill "${pid[@]}" 2>/dev/null || true
	wait 2>/dev/null
	for name in $groups; do rmdir "$(group "$name")" 2>/dev/null || true; done
	rm -rf "$dir"
}
trap finish EXIT
confine

# start NAME ARGUMENT... runs kumoctl in the group of that name, if there is one.
start() {
	local name=$1
	: >"$dir/$name.log"
	shift
	(
		[ ! -d "$(group "$name")" ] || echo "$BASHPID" >"$(group "$name")/cgroup.procs"
		[ "${HEED:-yes}" = yes ] || export GOMEMLIMIT=8GiB
		exec "$kumoctl" "$@" 2>"$dir/$name.log"
	) &
	pid[$name]=$!
}

new() { "$kumoctl" -m "$manager" status -o json 2>/dev/null | jq '[.nodes[] | select(.role == "server" and .state == "new")] | length'; }

if [ "$groups" = up ]; then
	start up up --dir "$dir/data" --port "$port" --restart-after 0 -v $UP
	for _ in $(seq 300); do
		! grep -q 'kumofs is up' "$dir/up.log" || break
		sleep 0.1
	done
else
	manager=127.0.0.1:$((port + 1)) # and its routes 90 above
	start manager daemon manager -l "$manager" -s "$dir/manager" --partitions 32
	i=1
	for name in $servers; do
		i=$((i + 1))
		start "$name" daemon server -l "127.0.0.1:$((port + i))" -L $((port + 10 + i)) -m "$manager" -s "$dir/$name"
	done
	start gateway daemon gateway -m "$manager" -t "127.0.0.1:$port"
	for _ in $(seq 300); do
		[ "$(new)" != 3 ] || break
		sleep 0.1
	done
	"$kumoctl" -m "$manager" attach --wait=60s >"$dir/attach.out" 2>&1 || { cat "$dir/attach.out"; exit 1; }
fi
listening "$port"

failed=0
complain() {
	echo "$@"
	failed=1
}

# bench NAME OPTION... lets good clients work, and says what they were told.
bench() {
	local out=$dir/$1.out
	shift
	"$kumoctl" bench -o json --addr "127.0.0.1:$port" --keys "$keys" --size 100 "$@" | jq -r '.[0] | "\(.per_second | round) operations a second, p99 \(.latency.p99_us) µs, \(.errors) errors \(.first_error // "")"' >"$out" || true
	cat "$out"
	grep -q '^[1-9][0-9]* operations' "$out" || complain "good clients were not served"
}

began=$SECONDS
bench fill --time 1s --sets 1
echo "$keys keys of 100 bytes were stored in $((SECONDS - began)) s; now beside $unread bytes of requests whose answers nobody reads:"
mkfifo "$dir/in"
python3 "$here/crawl.py" "$port" unread "$unread" <"$dir/in" >"$dir/unread.out" 2>"$dir/unread.err" &
pid[crawl]=$!
exec 3>"$dir/in"
for _ in $(seq 300); do
	! grep -q ready "$dir/unread.out" || break
	kill -0 "${pid[crawl]}" 2>/dev/null || break
	sleep 0.1
done
bench beside --time "${seconds}s" --fill=false --sets 0.5
(trap '' PIPE && echo >&3) 2>/dev/null || true # it has ended where the gateway is gone
exec 3>&-

own() { awk -v what="$2:" '$1 == what { print int($2 / 1024) }' "/proc/$1/status" 2>/dev/null || true; }

for name in $groups; do
	g=$(group "$name")
	killed=$(sed -n 's/^oom_kill //p' "$g/$events")
	echo "$name: oom_kill $killed; $peak $(($(cat "$g/$peak") >> 20)) MiB of $((memory >> 20)), page cache included"
	[ "$killed" = 0 ] || complain "the kernel ended $name, or a part of it"
	kill -0 "${pid[$name]}" 2>/dev/null || complain "$name is no more: $(tail -3 "$dir/$name.log")"
	for p in $(cat "$g/cgroup.procs"); do
		echo "  $(tr '\0' ' ' <"/proc/$p/cmdline" | cut -d' ' -f2,3): $(own "$p" VmHWM) MiB at most, $(own "$p" RssAnon) MiB of its own at the end"
	done
	for log in "$dir/$name.log" "$dir/data"/*.log; do
		[ -f "$log" ] && [ "${HEED:-yes}" = yes ] || continue
		case $name:${UP:-} in
		up:) by=kumofs-$$-up ;;
		up:*) by=GOMEMLIMIT; [ "$log" != "$dir/up.log" ] || continue ;;
		*) by=kumofs-$$-$name ;;
		esac
		grep 'the memory is bounded' "$log" | grep -q "$by" || complain "$(basename "$log") does not say that the memory is bounded by $by"
	done
done
exit $failed

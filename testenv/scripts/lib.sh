# Shared by the scripts: a cluster in a temporary folder that goes when they end.

# cluster KUMOCTL [OPTION...] starts one and waits until it is up. Sets $port.
cluster() {
	kumoctl=$1
	shift
	port=${PORT:-11411}
	dir=$(mktemp -d)
	: >"$dir/up.log"
	"$kumoctl" up --dir "$dir/data" --port "$port" "$@" 2>"$dir/up.log" &
	up=$!
	trap 'kill $up 2>/dev/null; wait $up 2>/dev/null; rm -rf "$dir"' EXIT
	for _ in $(seq 300); do
		grep -q 'kumofs is up' "$dir/up.log" && return
		kill -0 $up 2>/dev/null || break
		sleep 0.1
	done
	echo "the cluster does not start:"
	cat "$dir/up.log"
	exit 1
}

# listening PORT waits until somebody listens there.
listening() {
	for _ in $(seq 100); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
		sleep 0.1
	done
	echo "nobody listens on port $1"
	exit 1
}

# beside MEGABYTES starts a memcached with two threads on the port after the
# cluster's, which ends with it. Sets $memcached.
beside() {
	memcached -u "$(id -un)" -l 127.0.0.1 -p $((port + 1)) -m "$1" -t 2 &
	memcached=$!
	trap 'kill $memcached $up 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
	listening $((port + 1))
}

# need NAME HINT fails if a program is not installed.
need() {
	command -v "$1" >/dev/null || { echo "$1 is not installed: $2"; exit 1; }
}

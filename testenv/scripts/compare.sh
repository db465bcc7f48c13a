#!/usr/bin/env bash
# Measures a cluster of three servers beside memcached, in the same run and in
# turns, since the machine's speed drifts. Usage: compare.sh KUMOCTL [OPTION...]
# (options of kumoctl bench, e.g. --connections 128 --sets 1)
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
need nc "apt-get install netcat-openbsd"
need memcached "apt-get install memcached"
kumoctl=$(realpath "${1:-bin/kumoctl}")
shift || true
cluster "$kumoctl" --processes
memcached -u "$(id -un)" -l 127.0.0.1 -p $((port + 1)) -m 1024 -t 2 &
memcached=$!
trap 'kill $memcached $up 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
until printf 'version\r\nquit\r\n' | nc -w 1 127.0.0.1 $((port + 1)) | grep -q VERSION; do
	kill -0 $memcached
	sleep 0.05
done
# The CPU time of an operation is that of all daemons together.
"$kumoctl" bench --addr "127.0.0.1:$port" --pid "$(pgrep -d, -P "$up")" --versus "127.0.0.1:$((port + 1))" \
	--versus-pid "$memcached" --rounds 3 --connections 128 "$@"

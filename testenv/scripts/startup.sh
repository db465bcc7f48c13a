#!/usr/bin/env bash
# Measures from kumoctl up to the first STORED, in milliseconds, for a new
# folder and for one that is there already. Usage: startup.sh KUMOCTL
set -euo pipefail
kumoctl=$(realpath "${1:-bin/kumoctl}")
port=${PORT:-11411}
dir=$(mktemp -d)
up=0
trap 'kill $up 2>/dev/null; wait $up 2>/dev/null; rm -rf "$dir"' EXIT

once() {
	local start=$(date +%s%N)
	"$kumoctl" up --dir "$dir/data" --port "$port" >/dev/null 2>"$dir/log" &
	up=$!
	while ! printf 'set k 0 0 1\r\nx\r\nquit\r\n' | nc -w 5 127.0.0.1 "$port" 2>/dev/null | grep -q STORED; do
		kill -0 $up 2>/dev/null || { cat "$dir/log"; exit 1; }
		sleep 0.01
	done
	echo "$1: $((($(date +%s%N) - start) / 1000000)) ms"
	kill -INT $up
	wait $up || true
}
once "new folder"
once "old folder"

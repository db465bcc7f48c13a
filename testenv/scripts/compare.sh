#!/usr/bin/env bash
# Measures a cluster of three servers beside memcached, in the same run and in
# turns, since the machine's speed drifts. Usage: compare.sh KUMOCTL [OPTION...]
# (options of kumoctl bench, e.g. --connections 128 --sets 1)
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
need memcached "apt-get install memcached"
need pgrep "apt-get install procps"
kumoctl=$(realpath "${1:-bin/kumoctl}")
shift || true
cluster "$kumoctl" --processes
beside 2048
# The CPU time of an operation is that of all daemons together.
"$kumoctl" bench --addr "127.0.0.1:$port" --pid "$(pgrep -d, -P "$up")" --versus "127.0.0.1:$((port + 1))" \
	--versus-pid "$memcached" --rounds 3 --connections 128 "$@"

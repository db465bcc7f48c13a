#!/usr/bin/env bash
# The public nats command against a cluster of processes: the control plane
# reads as JSON and draws no data, a lone set and its prepares show on the data
# subjects of their partition, the services are listed and answer.
# Usage: nats.sh KUMOCTL [NATS]
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
kumoctl=$(realpath "${1:-bin/kumoctl}")
nats=${2:-nats}
need "$nats" "go install github.com/nats-io/natscli/nats@v0.5.1"
need jq "apt-get install jq"
need nc "apt-get install netcat-openbsd"
cluster "$kumoctl" --processes
manager=$(jq -r '.nodes[] | select(.role == "manager") | .addr' "$dir/data/cluster.json" | head -1)
export NATS_URL=nats://$manager

store() { printf 'set %s 0 0 5\r\nhello\r\nquit\r\n' "$1" | nc -w 5 127.0.0.1 "$port" >/dev/null; }

echo "== nats sub 'kumo.>': heartbeats, ring and events, all JSON"
timeout 5 "$nats" sub --raw 'kumo.>' >"$dir/control" &
sub=$!
sleep 1
store warm
kill -9 "$(sed -n 's/.*server3 .*pid \([0-9]*\).*/\1/p' "$dir/up.log")"
wait $sub || true
jq -es 'length > 20' "$dir/control" >/dev/null
jq -es 'any(.[]; .role == "server") and any(.[]; .role == "gateway") and any(.[]; .leader == true)' "$dir/control" >/dev/null
jq -es 'any(.[]; .changed != null)' "$dir/control" >/dev/null
jq -es 'any(.[]; .kind == "node-down")' "$dir/control" >/dev/null
if grep -q hello "$dir/control"; then echo "data on the control plane"; exit 1; fi

echo "== a lone set on its partition's data subjects"
partition=$("$kumoctl" "$manager" assign lone -o json | jq '.[0].partition')
timeout 4 "$nats" sub "kumodata.kumo.srv.*.part.$partition.>" >"$dir/data.log" 2>&1 &
sub=$!
sleep 1
store lone
wait $sub || true
grep -ao "kumodata.kumo.srv.[^\" ]*" "$dir/data.log" | sort | uniq -c
grep -aq "part.$partition.write" "$dir/data.log"
grep -aq "part.$partition.prepare" "$dir/data.log"

echo "== services"
"$nats" service ls
"$nats" service ls | grep -q manager
"$nats" service ls | grep -q server
"$nats" req --raw kumo.kumo.admin.status '' | jq -e '.data.health' 
echo "== nats is content"

#!/usr/bin/env bash
# The public nats command against a cluster with credentials: as an observer it hears
# what happens, and nothing else; it cannot send; and without credentials it gets no
# word out of the cluster. As readonly it can ask, and not command.
# Usage: observer.sh KUMOCTL [NATS]
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
kumoctl=$(realpath "${1:-bin/kumoctl}")
nats=${2:-nats}
need "$nats" "go install github.com/nats-io/natscli/nats@v0.5.1"
need jq "apt-get install jq"
need nc "apt-get install netcat-openbsd"
work=$(mktemp -d)
"$kumoctl" auth init "$work/credentials" --hosts 127.0.0.1,localhost >/dev/null
cluster "$kumoctl" --processes --credentials "$work/credentials"
trap 'kill $up 2>/dev/null; wait $up 2>/dev/null; rm -rf "$dir" "$work"' EXIT
manager=$(jq -r '.nodes[] | select(.role == "manager") | .addr' "$dir/data/cluster.json" | head -1)
export XDG_CONFIG_HOME=$work/config
for role in observer readonly; do
	"$kumoctl" "$manager" --credentials "$work/credentials/$role" nats-context "$role" --save
done

echo "== nats sub 'kumo.>' as an observer: heartbeats, ring and events, all JSON"
timeout 5 "$nats" --context observer sub --raw 'kumo.>' >"$work/control" &
sub=$!
sleep 1
KUMO_CREDENTIALS=$work/credentials/admin "$kumoctl" "$manager" status >/dev/null
kill -9 "$(sed -n 's/.*server3 .*pid \([0-9]*\).*/\1/p' "$dir/up.log")"
wait $sub || true
jq -es 'length > 20' "$work/control" >/dev/null
jq -es 'any(.[]; .role == "server") and any(.[]; .role == "gateway") and any(.[]; .leader == true)' "$work/control" >/dev/null
jq -es 'any(.[]; .changed != null)' "$work/control" >/dev/null
jq -es 'any(.[]; .kind == "node-down")' "$work/control" >/dev/null

echo "== what an observer may not do"
refused() {
	if timeout 5 "$@" >"$work/out" 2>&1 && ! grep -qi violation "$work/out"; then
		echo "allowed: $*"
		cat "$work/out"
		exit 1
	fi
}
refused "$nats" --context observer req --timeout 2s kumo.kumo.admin.status ''
refused "$nats" --context observer pub kumo.kumo.event.x hello
timeout 3 "$nats" --context observer sub 'kumodata.>' >"$work/out" 2>&1 || true
grep -qi violation "$work/out"

echo "== readonly asks, and does not command"
"$nats" --context readonly service ls | grep -q manager
"$nats" --context readonly req --raw kumo.kumo.admin.status '' | jq -e '.data.health'
refused "$nats" --context readonly req --timeout 2s kumo.kumo.admin.attach '{}'

echo "== without credentials nothing is said"
refused "$nats" -s "nats://$manager" --timeout 2s req kumo.kumo.admin.status ''
said=$(printf 'CONNECT {}\r\nPING\r\n' | timeout 5 nc -w 3 "${manager%:*}" "${manager#*:}" | tr -d '\0' | wc -c || true)
[ "$said" -lt 20 ]
echo "== nats is content"

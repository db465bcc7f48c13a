#!/usr/bin/env bash
# Whether Prometheus likes what the daemons tell: promtool on the metrics of a
# manager, a server, a gateway and a server that takes clients; promtool on the
# alert rules; a Prometheus that scrapes them all, evaluates every alert and every
# expression of the dashboard; and the memcached exporter, unmodified, at a gateway.
# Takes ports from 19700 up, 29100 and 29150 of 127.0.0.1.
# Usage: metrics.sh KUMOCTL [EXPORTER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
deploy=$(realpath "$here/../../docs/deploy")
. "$here/lib.sh"
kumoctl=$(realpath "${1:-bin/kumoctl}")
exporter=${2:-memcached_exporter}
need promtool "apt-get install prometheus"
need prometheus "apt-get install prometheus"
need curl "apt-get install curl"
need jq "apt-get install jq"

dir=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir"
start() {
	local name=$1
	shift
	"$@" >"$dir/$name.log" 2>&1 &
	pids+=($!)
}
# until WHAT COMMAND... waits until it is true.
until_() {
	local what=$1
	shift
	for _ in $(seq 300); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	echo "not in 30 s: $what"
	tail -n 5 "$dir"/*.log
	exit 1
}

start manager "$kumoctl" daemon manager -l 127.0.0.1 -s m -a -Rs 0.1
for i in 1 2; do
	start server$i "$kumoctl" daemon server -l 127.0.0.1:1980$i -L 1990$i -m 127.0.0.1 -s s$i --http 2980$i
done
start server3 "$kumoctl" daemon server -l 127.0.0.1:19803 -L 19903 -m 127.0.0.1 -s s3 --http 29803 -t 127.0.0.1:19812
start gateway "$kumoctl" daemon gateway -m 127.0.0.1 -t 127.0.0.1:19811 --http 127.0.0.1:29811
ports=(19799 29801 29802 29803 29811)
for p in "${ports[@]}"; do until_ "127.0.0.1:$p is ready" curl -sf "127.0.0.1:$p/readyz"; done
for at in 19811 19812; do
	"$kumoctl" bench --addr 127.0.0.1:$at --keys 2000 --sets 0.3 --time 1 >/dev/null 2>"$dir/bench.log" || { cat "$dir/bench.log"; exit 1; }
done

echo "== promtool check metrics"
for p in "${ports[@]}"; do
	curl -sf "127.0.0.1:$p/metrics" >"$dir/metrics"
	promtool check metrics <"$dir/metrics"
	echo "$(curl -sf "127.0.0.1:$p/metrics" | grep -o 'role="[a-z]*",version' | cut -d'"' -f2) at $p: $(grep -c '^kumofs_' "$dir/metrics") lines"
done

echo "== promtool check rules"
promtool check rules "$deploy/alerts.yml"

echo "== a Prometheus scrapes and evaluates"
cat >"$dir/prometheus.yml" <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ["$deploy/alerts.yml"]
scrape_configs:
  - job_name: kumofs
    static_configs: [{targets: [$(printf '"127.0.0.1:%s",' "${ports[@]}")]}]
END
start prometheus prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/tsdb" --web.listen-address=127.0.0.1:29100
api() { curl -sf "127.0.0.1:29100/api/v1/$1" "${@:2}"; }
all_up() { [ "$(api query --data-urlencode 'query=count(up == 1)' | jq -r '.data.result[0].value[1]')" = ${#ports[@]} ]; }
until_ "all daemons are scraped" all_up
evaluated() { api rules | jq -e '[.data.groups[].rules[]] | length > 20 and all(.health == "ok")'; }
until_ "all rules are evaluated" evaluated
echo "$(api rules | jq '[.data.groups[].rules[]] | length') rules are evaluated"
n=0
jq -r '.panels[].targets[]?.expr' "$deploy/grafana.json" >"$dir/exprs"
while read -r e; do
	e=${e//\$instance/.*}
	e=${e//\$__rate_interval/1m}
	curl -s 127.0.0.1:29100/api/v1/query --data-urlencode "query=$e" >"$dir/answer"
	jq -e '.status == "success"' "$dir/answer" >/dev/null || { echo "$e"; cat "$dir/answer"; exit 1; }
	n=$((n + 1))
done <"$dir/exprs"
echo "$n expressions of the dashboard are evaluated"

if ! command -v "$exporter" >/dev/null; then
	echo "== the memcached exporter is not installed and left out: go install github.com/prometheus/memcached_exporter/cmd/memcached_exporter@v0.16.0"
	exit 0
fi
echo "== the memcached exporter"
start exporter "$exporter" --memcached.address=127.0.0.1:19811 --web.listen-address=127.0.0.1:29150
until_ "the exporter answers" curl -sf 127.0.0.1:29150/metrics
curl -sf 127.0.0.1:29150/metrics >"$dir/exported"
promtool check metrics <"$dir/exported" || echo "(what promtool says of the exporter's own names is the exporter's)"
# same METRIC STAT: the exporter has what the gateway's stats say.
stats=$(printf 'stats\r\nquit\r\n' | timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/19811; cat >&3; cat <&3')
same() {
	local got want
	got=$(grep -v '^#' "$dir/exported" | grep -F "$1 " | awk '{printf "%.0f", $2}')
	want=$(sed -n "s/^STAT $2 \([0-9]*\)\r*$/\1/p" <<<"$stats")
	echo "$1 = $got, stats say $2 = $want"
	[ -n "$want" ] && [ "$got" = "$want" ]
}
grep -q '^memcached_up 1$' "$dir/exported"
same 'memcached_commands_total{command="get",status="hit"}' get_hits
same 'memcached_commands_total{command="get",status="miss"}' get_misses
same 'memcached_commands_total{command="set",status="hit"}' cmd_set
same 'memcached_max_connections' max_connections
same 'memcached_connections_rejected_total' rejected_connections
if grep -i 'level=error' "$dir/exporter.log"; then exit 1; fi
echo "== Prometheus is content"

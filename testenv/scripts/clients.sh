#!/usr/bin/env bash
# Real clients against a cluster: libmemcached's tools (Debian: apt-get install
# libmemcached-tools) and memcache-client (npm). Usage: clients.sh KUMOCTL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
need memccp "apt-get install libmemcached-tools"
need npm "apt-get install npm"
need nc "apt-get install netcat-openbsd"
cluster "$(realpath "${1:-bin/kumoctl}")"
work=$dir/work
mkdir "$work"
cd "$work"

echo "== libmemcached: store, read, exist, touch, remove, statistics"
servers=127.0.0.1:$port
head -c 300000 /dev/urandom >blob
echo "a small file" >note
memccp --servers="$servers" blob note
memccat --servers="$servers" blob >blob.back
cmp -n 300000 blob blob.back
memccat --servers="$servers" note | grep -q "a small file"
memcexist --servers="$servers" note
memctouch --servers="$servers" --expire=100 note
memcrm --servers="$servers" note
if memccat --servers="$servers" note 2>/dev/null | grep -q small; then echo "note is still there"; exit 1; fi
memcstat --servers="$servers" | grep -q pid
memcping --servers="$servers"

echo "== libmemcached: memcslap's load, where it is installed"
if command -v memcslap >/dev/null; then
	memcslap --servers="$servers" --concurrency=8 --execute-number=1000 --test=set
	memcslap --servers="$servers" --concurrency=8 --execute-number=1000 --initial-load=1000 --test=get
fi

echo "== memcache-client of npm (text protocol): set, get, cas, add, incr, delete"
npm install --silent --no-audit --no-fund memcache-client@1 >/dev/null
cat >client.js <<'JS'
const { MemcacheClient } = require("memcache-client");
const assert = require("assert");
(async () => {
  const c = new MemcacheClient({ server: process.argv[2] });
  await c.set("key", "value", { lifetime: 0 });
  let r = await c.gets("key");
  assert.strictEqual(r.value, "value");
  await c.cas("key", "other", { casUniq: r.casUniq });
  await assert.rejects(c.cas("key", "third", { casUniq: r.casUniq }), /EXISTS/);
  assert.strictEqual((await c.get("key")).value, "other");
  await assert.rejects(c.add("key", "x"), /NOT_STORED/);
  await c.set("n", "41");
  assert.strictEqual(await c.incr("n", 1), "42");
  await c.set("json", { a: [1, 2, 3] });
  assert.deepStrictEqual((await c.get("json")).value, { a: [1, 2, 3] });
  const many = await c.get(["key", "n", "none"]);
  assert.deepStrictEqual(Object.keys(many).sort(), ["key", "n"]);
  await c.delete("key");
  assert.strictEqual(await c.get("key"), undefined);
  c.shutdown();
  console.log("ok");
})().catch((e) => { console.error(e); process.exit(1); });
JS
node client.js "$servers"

echo "== all clients are content"

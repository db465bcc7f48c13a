// memcache-client of npm, the text protocol. Usage: memcache_client.js HOST PORT
const { MemcacheClient } = require("memcache-client");
const assert = require("assert");
(async () => {
  const c = new MemcacheClient({ server: `${process.argv[2]}:${process.argv[3]}` });
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

// memjs of npm, the binary protocol. Usage: memjs.js HOST PORT
const memjs = require("memjs");
const assert = require("assert");
(async () => {
  const c = memjs.Client.create(`${process.argv[2]}:${process.argv[3]}`);
  assert(await c.set("js-k", "v", { expires: 0 }));
  assert.strictEqual((await c.get("js-k")).value.toString(), "v");
  assert.strictEqual((await c.get("js-none")).value, null);
  assert.strictEqual(await c.add("js-k", "x", {}), false);
  assert.strictEqual(await c.replace("js-none", "x", {}), false);
  assert(await c.replace("js-k", "b", {}));
  assert(await c.append("js-k", "c"));
  assert.strictEqual((await c.get("js-k")).value.toString(), "bc"); // its prepend sends an append
  assert.strictEqual((await c.increment("js-n", 5, { initial: 40 })).value, 40);
  assert.strictEqual((await c.increment("js-n", 5, {})).value, 45);
  assert.strictEqual((await c.decrement("js-n", 50, {})).value, 0);
  const big = Buffer.alloc(1000000, "x");
  assert(await c.set("js-big", big, {}));
  assert((await c.get("js-big")).value.equals(big));
  assert(await c.touch("js-k", 100));
  assert(await c.delete("js-k"));
  assert.strictEqual(await c.delete("js-k"), false);
  await new Promise((ok, no) => c.stats((err, server, stats) => (err ? no(err) : ok(assert(stats.pid)))));
  c.quit();
  console.log("ok");
})().catch((e) => { console.error(e); process.exit(1); });

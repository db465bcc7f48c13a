// memjs, the binary protocol with SASL. Usage: sasl_memjs.js HOST PORT USER PASSWORD
const memjs = require("memjs");
const [host, port, username, password] = process.argv.slice(2);
const client = (options) => memjs.Client.create(`${host}:${port}`, Object.assign({ retries: 1, timeout: 2 }, options));
(async () => {
	const c = client({ username, password });
	if (!await c.set("sasl", "v", {}) || (await c.get("sasl")).value.toString() !== "v") throw new Error("with the password");
	c.close();
	const wrong = client({ username, password: password + "x" });
	if (await wrong.set("sasl", "w", {}).catch(() => false)) throw new Error("let in without the password");
	wrong.close();
	console.log("ok");
	process.exit(0);
})().catch((err) => { console.error(err); process.exit(1); });

// The dashboard: it takes server-sent events and shows what they say. Whatever
// comes from the cluster becomes text, never markup.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  // put sets an element's text, if that changes anything.
  const put = (el, text) => { if (el.textContent !== text) el.textContent = text; };
  const make = (tag, cls, text) => {
    const el = document.createElement(tag);
    if (cls) el.className = cls;
    if (text !== undefined) el.textContent = text;
    return el;
  };
  const draw = (tag, attributes) => {
    const el = document.createElementNS(SVG, tag);
    for (const [k, v] of Object.entries(attributes)) el.setAttribute(k, v);
    return el;
  };

  // Numbers.
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, minimumSignificantDigits: 3 });
  const scaled = (n, base, units) => {
    let u = 0;
    while (n >= base && u < units.length - 1) { n /= base; u++; }
    return (u === 0 ? whole.format(n) : three.format(n)) + units[u];
  };
  const count = (n) => (n < 100000 ? whole.format(n) : scaled(n, 1000, ["", " k", " M", " G", " T"]));
  const bytes = (n) => scaled(n, 1000, [" B", " kB", " MB", " GB", " TB"]);
  const rate = (n) => (n > 0 && n < 9.95 ? n.toFixed(1) : count(n));
  const took = (us) => {
    if (!us) return "–";
    if (us < 1000) return whole.format(us) + " µs";
    return us < 1e6 ? three.format(us / 1000) + " ms" : three.format(us / 1e6) + " s";
  };
  const span = (ms) => {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 100) return s + " s";
    const m = Math.round(s / 60);
    if (m < 100) return m + " min";
    const h = Math.round(m / 60);
    return h < 72 ? h + " h" : Math.round(h / 24) + " days";
  };
  const plural = (n, one, many) => count(n) + " " + (n === 1 ? one : many);

  // What is known.
  let state = null, ring = null, heard = 0, picked = 0, lit = null, page = null;

  // ---- The ring: a track for each server, a place on it for each partition.
  const C = 230, OUTER = 205, INNER = 84, TURN = 1.5 * Math.PI, CELLS = 256, TRACKS = 32;
  const at = (r, a) => (C + r * Math.sin(a)).toFixed(2) + " " + (C - r * Math.cos(a)).toFixed(2);
  const arc = (r0, r1, a0, a1) => {
    const big = a1 - a0 > Math.PI ? 1 : 0;
    return `M${at(r1, a0)}A${r1} ${r1} 0 ${big} 1 ${at(r1, a1)}L${at(r0, a1)}A${r0} ${r0} 0 ${big} 0 ${at(r0, a0)}Z`;
  };

  // tracksOf groups the servers: one each, or as many as must be for TRACKS.
  function tracksOf(servers) {
    const used = servers.map((s, i) => i).filter((i) => servers[i].attached || ring.held[i]);
    let zones = [...new Set(used.map((i) => servers[i].zone || ""))];
    const zoned = zones.length <= TRACKS; // else there is no room for zones
    if (!zoned) zones = [""];
    const size = Math.ceil(used.length / TRACKS);
    const tracks = [];
    for (const zone of zones) {
      const of = used.filter((i) => !zoned || (servers[i].zone || "") === zone);
      for (let i = 0; i < of.length; i += size) {
        const group = of.slice(i, i + size);
        const first = servers[group[0]].addr, off = group.some((s) => !servers[s].up);
        tracks.push({ group, zone, hue: hueOf(zone), off,
          name: group.length === 1 ? first : `${first} and ${group.length - 1} more` });
      }
    }
    return tracks;
  }

  // hues keep their zones for as long as the page is open.
  const hues = new Map();
  const hueOf = (zone) => {
    if (!hues.has(zone)) hues.set(zone, hues.size % 4);
    return hues.get(zone);
  };

  const KINDS = ["replica", "some", "many", "primary", "joining", "missing"];
  let shape = "", paths = [], marks = [];

  // lay makes the elements, when servers have come or gone.
  function lay(tracks, partitions) {
    const now = JSON.stringify([tracks.map((t) => [t.group, t.name, t.zone, t.off]), partitions]);
    if (now === shape) return;
    shape = now;
    const g = $("tracks");
    g.replaceChildren();
    const gaps = new Set(tracks.map((t) => t.zone)).size - 1, gap = Math.min(5, 40 / Math.max(1, gaps));
    const h = Math.min(26, (OUTER - INNER - gaps * gap) / Math.max(1, tracks.length));
    let r = OUTER;
    paths = tracks.map((t, i) => {
      if (i > 0 && tracks[i - 1].zone !== t.zone) r -= gap;
      const r1 = r, r0 = r - h * 0.84;
      r -= h;
      const track = draw("g", { class: `track z${t.hue}` });
      track.append(draw("path", { class: "rail", d: arc(r0, r1, 0, TURN) }));
      const of = {};
      for (const k of KINDS) track.append(of[k] = draw("path", { class: k }));
      if (h >= 8) {
        const name = draw("text", { class: "name" + (t.off ? " off" : ""), x: C - 7, y: C - (r0 + r1) / 2 + 3.6 });
        const text = t.name.length > 24 ? "…" + t.name.slice(-23) : t.name;
        if (t.zone) {
          const zone = draw("tspan", { class: "zone" });
          zone.textContent = (t.zone.length > 12 ? t.zone.slice(0, 11) + "…" : t.zone) + "  ";
          name.append(zone);
        }
        name.append((t.off ? "▲ " : "") + text);
        track.append(name);
      }
      g.append(track);
      return { track, of, r0, r1, group: t.group };
    });
    marks = ["0", "1", "2", "3"].map((k) => draw("path", { class: "mark" + k }));
    $("marks").replaceChildren(...marks);
  }

  // paint fills the tracks in.
  function paint() {
    const n = ring.parts.length, servers = ring.servers;
    ring.held = servers.map(() => 0);
    for (const p of ring.parts) for (const c of p) if (c % 4 !== 3) ring.held[c >> 2]++;
    const tracks = tracksOf(servers);
    lay(tracks, n);
    const cells = Math.min(n, CELLS), per = n / cells, step = TURN / Math.max(1, cells);
    const gap = Math.min(0.006, step * 0.12);
    const trackOf = [];
    tracks.forEach((t, i) => t.group.forEach((s) => { trackOf[s] = i; }));
    const d = tracks.map(() => Object.fromEntries(KINDS.map((k) => [k, ""])));
    const health = ["", "", "", ""];
    for (let c = 0; c < cells; c++) {
      const a0 = c * step + gap / 2, a1 = (c + 1) * step - gap / 2;
      const sum = tracks.map(() => [0, 0, 0, 0, 0]);
      let worst = 0;
      for (let p = c * per; p < (c + 1) * per; p++) {
        worst = Math.max(worst, +ring.health[p]);
        for (const copy of ring.parts[p]) {
          const s = copy >> 2, k = copy % 4, t = sum[trackOf[s]];
          if (t) t[k < 2 && !servers[s].up ? 3 : k]++;
        }
      }
      sum.forEach((s, i) => {
        const { r0, r1 } = paths[i], mid = (r0 + r1) / 2, share = s[1] / per;
        if (s[0] + s[1] > 0) {
          const k = share > 0.75 ? "primary" : share > 0.5 ? "many" : share > 0.25 ? "some" : "replica";
          d[i][k] += arc(r0, r1, a0, a1);
        } else if (s[3] > 0) d[i].missing += arc(r0 + 0.8, r1 - 0.8, a0, a1);
        if (s[2] > 0) d[i].joining += arc(r0, mid, a0, a1);
      });
      health[worst] += arc(210, 212 + 2.5 * worst, a0, a1);
    }
    paths.forEach((p, i) => KINDS.forEach((k) => p.of[k].setAttribute("d", d[i][k])));
    marks.forEach((m, i) => m.setAttribute("d", health[i]));
    light();
    const part = $("part");
    part.disabled = n === 0;
    part.max = String(Math.max(0, n - 1));
    pick(Math.min(picked, Math.max(0, n - 1)));
  }

  // pick shows one partition.
  function pick(p) {
    picked = p;
    if ($("part").value !== String(p)) $("part").value = String(p);
    if (!ring || !ring.parts[p]) return;
    put($("part-no"), String(p));
    const of = [[], [], [], []];
    for (const c of ring.parts[p]) {
      const s = ring.servers[c >> 2], k = c % 4;
      of[k < 2 && !s.up ? 3 : k].push(s.addr);
    }
    const say = [`Primary ${of[1][0] || "none"}`];
    if (of[0].length) say.push(`replicas ${of[0].join(", ")}`);
    if (of[2].length) say.push(`joining ${of[2].join(", ")}`);
    const gone = of[3].filter((a) => !of[2].includes(a));
    if (gone.length) say.push(`missing ${gone.join(", ")}`);
    put($("part-is"), say.join("; ") + ".");
    const a = (p + 0.5) / ring.parts.length * TURN, hand = $("hand");
    const [x1, y1] = at(INNER - 8, a).split(" "), [x2, y2] = at(OUTER + 16, a).split(" ");
    for (const [k, v] of Object.entries({ x1, y1, x2, y2 })) hand.setAttribute(k, v);
    hand.removeAttribute("hidden");
  }

  // light brings one server's track out.
  function light() {
    const i = lit && ring ? ring.servers.findIndex((s) => s.addr === lit) : -1;
    $("ring").classList.toggle("dim", i >= 0);
    for (const p of paths) p.track.classList.toggle("lit", p.group.includes(i));
    for (const b of document.querySelectorAll("#servers button")) b.setAttribute("aria-pressed", String(b.textContent === lit));
  }

  $("part").addEventListener("input", (e) => pick(+e.target.value));
  $("ring").addEventListener("pointermove", (e) => {
    if (!ring || !ring.parts.length || e.pointerType === "touch") return;
    const box = $("ring").getBoundingClientRect(), k = 460 / box.width;
    const x = (e.clientX - box.left) * k - C, y = (e.clientY - box.top) * k - C, r = Math.hypot(x, y);
    const a = (Math.atan2(x, -y) + 2 * Math.PI) % (2 * Math.PI);
    if (r > INNER - 10 && r < OUTER + 20 && a < TURN) pick(Math.min(ring.parts.length - 1, Math.floor(a / TURN * ring.parts.length)));
  });

  // ---- Tables: each row has a key, and keeps its elements.
  function table(id, columns, empty) {
    const [head, body] = [$(id).tHead, $(id).tBodies[0]];
    const tr = make("tr");
    tr.setAttribute("role", "row");
    for (const c of columns) {
      const th = make("th", c.cls, c.head);
      th.scope = "col";
      th.setAttribute("role", "columnheader");
      tr.append(th);
    }
    head.append(tr);
    const rows = new Map();
    return (nodes) => {
      const keep = new Set();
      const order = nodes.map((n) => {
        const key = n.role + " " + n.name + " " + n.addr;
        keep.add(key);
        if (!rows.has(key)) {
          const row = make("tr");
          row.setAttribute("role", "row");
          row.dataset.node = n.addr || n.name;
          for (const c of columns) {
            const td = make("td", c.cls);
            td.setAttribute("role", "cell");
            td.dataset.label = c.head;
            if (c.start) c.start(td, n);
            row.append(td);
          }
          rows.set(key, row);
        }
        const row = rows.get(key);
        columns.forEach((c, i) => c.show(row.cells[i], n));
        return row;
      });
      for (const key of [...rows.keys()]) if (!keep.has(key)) rows.delete(key);
      if (!order.length) {
        const row = make("tr", "empty");
        row.setAttribute("role", "row");
        const td = make("td", "long", empty);
        td.setAttribute("role", "cell");
        td.colSpan = columns.length;
        row.append(td);
        order.push(row);
      }
      if (order.length !== body.rows.length || order.some((r, i) => body.rows[i] !== r && !r.classList.contains("empty"))) body.replaceChildren(...order);
    };
  }

  const column = (head, text, cls) => ({ head, cls, show: (td, n) => put(td, text(n)) });
  const stateColumn = {
    head: "State", cls: "text",
    start: (td) => { const s = make("span", "state"), i = make("i"); i.setAttribute("aria-hidden", "true"); s.append(i, make("span")); td.append(s); },
    show: (td, n) => {
      const d = n.disk || {};
      const disk = d.stuck ? ", disk hangs" : d.broken ? ", data file damaged" : d.full ? ", disk full" : d.damaged ? ", damaged records" : d.no_vote ? ", no vote" : "";
      td.firstChild.dataset.state = disk && n.state === "up" ? "joining" : n.state;
      put(td.firstChild.lastChild, n.state + disk);
    },
  };
  const heardColumn = column("Heard", (n) => (n.seen < 1000 ? "just now" : span(n.seen) + " ago"));
  const upFor = column("Up for", (n) => (n.state === "down" ? "–" : span(n.uptime * 1000)));
  let most = 1;
  const perSecond = (head, of) => column(head, (n) => (n.rate ? rate(of(n.rate)) : "–"));

  const servers = table("servers", [
    { head: "Server", cls: "text",
      start: (td, n) => {
        const b = make("button", "", n.addr);
        b.type = "button";
        b.title = "Bring it out in the ring";
        b.setAttribute("aria-pressed", "false");
        b.addEventListener("click", () => { lit = lit === n.addr ? null : n.addr; light(); });
        td.append(b);
      }, show: () => {} },
    column("Zone", (n) => n.zone || "–", "text"),
    stateColumn,
    column("Leads", (n) => count(n.primary)),
    column("Copies", (n) => count(n.replica) + (n.learner ? " + " + count(n.learner) : "")),
    { head: "Reads/s",
      start: (td) => { const bar = make("span", "load"); bar.setAttribute("aria-hidden", "true"); bar.append(make("i")); td.append(make("span"), bar); },
      show: (td, n) => {
        put(td.firstChild, n.rate ? rate(n.rate.read) : "–");
        td.lastChild.firstChild.style.width = (n.rate ? 100 * (n.rate.read + n.rate.write) / most : 0).toFixed(1) + "%";
      } },
    perSecond("Writes/s", (r) => r.write),
    column("Keys", (n) => count(n.items)),
    column("On disk", (n) => bytes(n.bytes)),
    column("To apply", (n) => count(n.behind)),
    heardColumn,
  ], "No server is known.");
  const gateways = table("gateways", [
    column("Clients at", (n) => (n.listen || [n.name]).join(", "), "text"),
    stateColumn,
    perSecond("Reads/s", (r) => r.read),
    column("99 % of reads", (n) => took(n.took.read_p99_us)),
    perSecond("Writes/s", (r) => r.write),
    column("99 % of writes", (n) => took(n.took.write_p99_us)),
  ], "No gateway is known.");
  const managers = table("managers", [
    { head: "Manager", cls: "text", start: (td) => td.append(make("a")), show: (td, n) => {
      const a = td.firstChild;
      put(a, n.addr);
      // The address comes from the cluster: a link is made of a host and a port only.
      if (n.state !== "down" && /^(\[[0-9a-f:.]+\]|[\w.-]+):\d{1,5}$/i.test(n.http || "")) { a.href = "http://" + n.http + "/"; a.rel = "noreferrer"; } else a.removeAttribute("href");
    } },
    stateColumn,
    column("Leads", (n) => (n.leader ? "leader" : "–"), "text"),
    column("Version", (n) => n.version || "–", "text"),
    upFor, heardColumn,
  ], "No manager is known.");

  // ---- Figures.
  const past = { reads: [], writes: [] }, PAST = 121; // a second each
  let drawn = 0;
  function spark(name, value) {
    const list = past[name];
    list.push(value);
    if (list.length > PAST) list.shift();
    const top = Math.max(1, ...list) * 1.1, [area, line] = $(name + "-spark").children;
    const points = list.map((v, i) => `${(240 - (list.length - 1 - i) * 240 / (PAST - 1)).toFixed(1)} ${(46 - 44 * v / top).toFixed(1)}`);
    const d = "M" + points.join("L");
    line.setAttribute("d", d);
    area.setAttribute("d", `${d}L240 48L${points[0].split(" ")[0]} 48Z`);
  }

  // list shows as many items as there are texts.
  function list(ul, texts) {
    while (ul.children.length > texts.length) ul.lastChild.remove();
    texts.forEach(([text, cls], i) => {
      const li = ul.children[i] || ul.appendChild(make("li"));
      if (li.className !== cls) li.className = cls;
      put(li, text);
    });
  }

  function showMoves(m, paused) {
    const total = m.done + m.pending, all = $("moves-all");
    all.max = Math.max(1, total);
    all.value = total ? m.done : 1;
    let say = "All copies are where they should be.", left = m.took_ms ? `The last moves took ${span(m.took_ms)}: ${plural(m.done, "copy", "copies")}.` : "\u00a0";
    if (m.pending) {
      say = `${count(m.done)} of ${plural(total, "copy", "copies")} made, ${count(m.active)} under way` + (paused ? ", paused" : "");
      left = (m.left_ms && !paused ? `About ${span(m.left_ms)} left` : "Time left not known yet") + `, begun ${span(m.took_ms || 0)} ago` +
        (m.bytes ? `, ${bytes(m.bytes)} to go` : "") + (state.total.moved >= 1000 ? ` at ${bytes(state.total.moved)}/s` : "") + ".";
    } else if (m.waiting) say = `${plural(m.waiting, "copy waits for its server", "copies wait for their servers")}, nothing to move.`;
    put($("moves-say"), say);
    put($("moves-left"), left);
    const ul = $("moves"), rows = m.pending ? m.servers : [];
    while (ul.children.length > rows.length) ul.lastChild.remove();
    rows.forEach((r, i) => {
      let li = ul.children[i];
      if (!li) {
        li = ul.appendChild(make("li"));
        li.append(make("span"), make("span"), make("progress"));
      }
      put(li.children[0], "to " + r.addr);
      put(li.children[1], `${count(r.done)} of ${count(r.done + r.pending)}`);
      li.children[2].max = Math.max(1, r.done + r.pending);
      li.children[2].value = r.done;
      li.children[2].setAttribute("aria-label", "Moves to " + r.addr);
    });
  }

  const WORDS = { ok: "OK", degraded: "Degraded", unavailable: "Unavailable" };
  function show() {
    const s = state, p = s.partitions, t = s.total;
    put($("cluster"), s.cluster || "kumofs");
    const addrOf = (name) => s.nodes.find((n) => n.name === name)?.addr || name;
    put($("by"), `seen by ${addrOf(s.node)}, `);
    put($("led"), s.leader ? `led by ${addrOf(s.leader)}` : "\u00a0");
    $("health").dataset.health = s.health || "unknown";
    put($("health").lastChild, WORDS[s.health] || "unknown");
    const title = (s.health === "ok" ? "" : (WORDS[s.health] || "?") + ": ") + (s.cluster || "kumofs");
    if (document.title !== title) document.title = title;
    put($("ring-count"), p.total ? count(p.full) : "–");
    put($("ring-what"), p.total ? `of ${count(p.total)} partitions` : "no partitions yet");
    put($("ring-whole"), p.total ? "are whole" : "");

    const nodes = (role) => s.nodes.filter((n) => n.role === role), of = nodes("server");
    most = Math.max(1, ...of.map((n) => (n.rate ? n.rate.read + n.rate.write : 0)));
    servers(of);
    gateways(nodes("gateway"));
    managers(nodes("manager"));
    light();
    const rated = s.nodes.some((n) => n.role === "gateway" && n.rate);
    put($("reads"), rated ? rate(t.read) : "–");
    put($("writes"), rated ? rate(t.write) : "–");
    if (rated && s.at - drawn > 900) { // states come more often when something happens
      drawn = s.at;
      spark("reads", t.read);
      spark("writes", t.write);
    }
    for (const [id, us] of Object.entries({ read50: t.took.read_p50_us, read99: t.took.read_p99_us, write50: t.took.write_p50_us, write99: t.took.write_p99_us })) put($(id), took(us));
    put($("servers-up"), `${count(of.filter((n) => n.state !== "down").length)} of ${count(of.length)}`);
    put($("items"), count(t.items));
    put($("bytes"), bytes(t.bytes));
    put($("replicas"), count(s.replicas));
    put($("more"), s.more ? plural(s.more, "node is", "nodes are") + " not shown." : "");

    const alarms = s.alarms.map((a) => [a, ""]);
    if (s.paused) alarms.push(["moves are paused: kumoctl resume", "note"]);
    if (!alarms.length && s.at) alarms.push(["No alarms.", "calm"]);
    list($("alarms"), alarms);
    showMoves(s.moves, s.paused);
  }

  // ---- Events.
  let fresh = true;
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  function log(entries) {
    const ol = $("log");
    if (fresh) ol.replaceChildren();
    fresh = false;
    for (const e of entries) {
      const li = make("li"), time = make("time", "", clock.format(e.time));
      time.dateTime = new Date(e.time).toISOString();
      li.dataset.kind = e.kind;
      li.append(time, make("span", "kind", e.kind), make("span", "text", e.text));
      ol.prepend(li);
    }
    while (ol.children.length > 400) ol.lastChild.remove();
  }
  const brief = () => $("log").classList.toggle("brief", !$("epochs").checked);
  $("epochs").addEventListener("change", brief);
  brief(); // a browser may remember the box

  // ---- The stream. A browser gives up on a refusal, this page does not.
  const STALE = 6000;
  let wait = 1000, source = null;
  function connect() {
    source = new EventSource("/events");
    const on = (kind, f) => source.addEventListener(kind, (e) => {
      heard = performance.now();
      wait = 1000;
      f(JSON.parse(e.data));
      link();
    });
    source.addEventListener("open", () => { fresh = true; });
    on("ring", (r) => { ring = r; paint(); });
    on("state", (s) => {
      if (page && s.page !== page) { location.reload(); return; } // this manager serves another page now
      page = s.page;
      state = s;
      show();
    });
    on("log", log);
    source.addEventListener("error", () => {
      link();
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(connect, wait);
      wait = Math.min(2 * wait, 15000);
    });
  }

  // link says how old what is shown is.
  function link() {
    const quiet = performance.now() - heard;
    let is = "live", say = "Live", age = "";
    if (!heard) [is, say] = ["connecting", "Connecting"];
    else if (quiet > STALE || source.readyState !== EventSource.OPEN) [is, say, age] = ["stale", "Reconnecting", span(quiet) + " old"];
    else if (state && state.error) [is, say, age] = ["old", "Leader does not answer", state.at ? span(state.now - state.at + quiet) + " old" : ""];
    document.body.dataset.link = is;
    put($("link"), say);
    put($("age"), age);
    $("link").title = is === "old" ? state.error : "";
  }
  setInterval(link, 500);
  connect();
})();

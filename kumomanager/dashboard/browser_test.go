package dashboard_test

import (
	"bytes"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"log/slog"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/etolabo/kumofs/kumomanager/dashboard"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// A person looks at a cluster of real processes through the manager that does
// not lead it.
func TestPage(t *testing.T) {
	browser(t)
	c := testenv.New(t, testenv.Processes(), layout(2, evil, "east", "west"), testenv.Args(subjects.RoleManager, "--max-moves", "1"))
	var follower string
	for _, m := range c.Names(subjects.RoleManager) {
		if m != c.Leader() {
			follower = m
		}
	}
	b := open(t)
	b.size(1280, 900)
	answers(c, port(c, follower))
	b.do(chromedp.Navigate(port(c, follower)))
	b.eval("window.kept = true")
	b.sees("that it is live", "document.body.dataset.link === 'live'")
	b.sees("a whole cluster", text("health", "OK")+" && "+text("ring-count", "32"))
	b.sees("three servers", "document.querySelectorAll('#servers tbody tr').length === 3")
	b.sees("who leads", contains("document.querySelector('#managers [data-node=\""+c.Addr(c.Leader())+"\"]')", "leader"))

	b.sees("each name beside its track", beside)
	t.Run("text of the cluster is text", func(t *testing.T) {
		b.sees("a zone", contains(row(c.Addr("server1")), evil))
		b.sees("it in the ring", contains("document.getElementById('tracks')", evil[:11]))
		if b.eval("document.querySelectorAll('main img, main script').length") != "0" {
			t.Error("the name of a zone became an element")
		}
	})
	t.Run("operations", func(t *testing.T) {
		load := c.Load()
		load.GoesOn()
		for _, id := range []string{"reads", "writes"} {
			b.sees(id, "Number(document.getElementById('"+id+"').textContent.replace(/,/g, '')) > 0")
		}
		for _, id := range []string{"read50", "read99", "write50", "write99"} {
			b.sees("a time for "+id, `/^[\d.,]+ (µs|ms|s)$/.test(document.getElementById('`+id+`').textContent)`)
		}
		b.sees("a line", "document.querySelector('#reads-spark .line').getAttribute('d').includes('L')")
		load.Stop()
	})
	t.Run("a server dies and returns", func(t *testing.T) { dies(c, b) })
	t.Run("moves", func(t *testing.T) { moves(t, c, b) })
	t.Run("widths and colours", func(t *testing.T) { widths(t, b) })
	t.Run("keyboard", func(t *testing.T) { keyboard(t, b) })
	b.quiet()
	t.Run("its manager is gone and returns", func(t *testing.T) {
		c.Kill(follower)
		b.sees("that it is stale", "document.body.dataset.link === 'stale'")
		c.Start(follower)
		b.sees("that it is live again", "document.body.dataset.link === 'live'")
		b.said() // that the manager was not there
		b.sees("a whole cluster", text("health", "OK"))
	})
	t.Run("the leader is gone", func(t *testing.T) {
		c.Kill(c.Leader())
		b.sees("that a manager is down", contains("document.getElementById('alarms')", "manager"))
	})
	if b.eval("window.kept") != "true" {
		t.Error("the page was loaded again")
	}
	b.quiet()
}

// beside: where the tracks begin, at 12 o'clock, each has its name on the left.
const beside = `[...document.querySelectorAll("#tracks .track")].every((t) => {
	const name = t.querySelector("text").getBBox(), middle = name.y + name.height / 2;
	const [x, y] = t.querySelector(".rail").getAttribute("d").match(/^M(\S+) (\S+?)A/).slice(1).map(Number);
	return middle > y && middle < y + 25 && name.x + name.width < x;
})`

func dies(c *testenv.Cluster, b *tab) {
	victim := c.Addr("server2")
	c.Kill("server2")
	b.sees("the server down", contains(row(victim), "down"))
	b.sees("that copies are missing", text("health", "Degraded"))
	b.sees("an alarm", contains("document.getElementById('alarms')", "is down"))
	b.sees("the event", "!!document.querySelector('#log [data-kind=node-down]')")
	b.sees("missing copies in the ring", "[...document.querySelectorAll('#tracks path.missing')].some((p) => p.getAttribute('d'))")
	b.sees("its name marked in the ring", contains("document.querySelector('#tracks .off')", victim[len(victim)-5:]))
	c.Start("server2")
	b.sees("the server up", contains(row(victim), "up"))
	b.sees("a whole cluster", text("health", "OK")+" && "+text("alarms", "No alarms."))
}

// watch notes what the page says of moves, and that nothing below them jumps.
const watch = `(window.said = [], window.tops = new Set(), new MutationObserver(() => {
	said.push(document.getElementById("moves-say").textContent);
	tops.add(document.getElementById("servers").getBoundingClientRect().top + scrollY);
}).observe(document.querySelector(".moves"), { subtree: true, childList: true, characterData: true, attributes: true }))`

func moves(t *testing.T, c *testenv.Cluster, b *tab) {
	b.eval(watch)
	set(t, c, map[string]bool{"paused": true})
	b.sees("that moves are paused", contains("document.getElementById('alarms')", "paused"))
	added := c.Addr(c.AddServer())
	c.Eventually("the server is seen", func() bool { return strings.Contains(b.eval(row(added)+"?.textContent"), "new") })
	c.Attach()
	b.sees("moves that wait", `/^0 of \d+ copies made, 0 under way, paused/.test(document.getElementById("moves-say").textContent)`)
	b.sees("where they go", contains("document.getElementById('moves')", added))
	set(t, c, map[string]bool{"paused": false})
	b.sees("that all are done", text("moves-say", "All copies are where they should be.")+" && "+text("health", "OK"))
	b.sees("how long they took", contains("document.getElementById('moves-left')", "The last moves took"))
	if b.eval(`said.some((s) => { const m = s.match(/^(\d+) of (\d+) cop/); return m && +m[1] > 0 && +m[1] < +m[2]; })`) != "true" {
		t.Errorf("moves were never seen on their way: %s", b.eval("JSON.stringify([...new Set(said)])"))
	}
	if n := b.eval("tops.size"); n != "1" {
		t.Errorf("what is below jumped: %s", b.eval("[...tops]"))
	}
	b.sees("four servers", "document.querySelectorAll('#servers tbody tr').length === 4")
}

func widths(t *testing.T, b *tab) {
	for _, width := range []int64{375, 640, 980, 1280} {
		b.size(width, 800)
		if got := b.eval("document.documentElement.scrollWidth"); got != strconv.FormatInt(width, 10) {
			t.Errorf("at %d pixels the page is %s wide: %s", width, got,
				b.eval("[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + '#' + e.id + '.' + e.className).slice(0, 9)"))
		}
	}
	back := map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		back[b.eval("getComputedStyle(document.body).backgroundColor")] = true
		if ratio, err := strconv.ParseFloat(b.eval(contrast), 64); err != nil || ratio < 4.5 {
			t.Errorf("%s: a text has a contrast of %.2f (%v), want 4.5", scheme, ratio, err)
		}
	}
	if len(back) != 2 {
		t.Errorf("light and dark are the same: %v", back)
	}
}

// Of more servers and partitions than fit, the page shows groups.
func TestPageOfManyServers(t *testing.T) {
	browser(t)
	table := &ring.Table{Revision: 1, Replicas: 3}
	status := &subjects.ClusterStatus{Cluster: "large", Health: "ok", Replicas: 3}
	const servers, partitions = 100, 4096
	for i := range servers {
		addr, zone := fmt.Sprintf("10.0.0.%d:19800", i+1), fmt.Sprintf("zone%d", i%5)
		table.Nodes = append(table.Nodes, ring.Node{ID: ring.NodeID(i + 1), Addr: addr, Zone: zone, Boot: 1, Up: i != 7, Attached: true})
		status.Nodes = append(status.Nodes, subjects.NodeStatus{Addr: addr, Zone: zone, Role: subjects.RoleServer, State: "up"})
	}
	for p := range partitions {
		of := func(i int) ring.NodeID { return ring.NodeID((p+i)%servers + 1) }
		isr := []ring.NodeID{of(0), of(1), of(2)}
		table.Partitions = append(table.Partitions, ring.Config{Epoch: 1, Primary: ring.Process{Store: isr[0], Boot: 1}, ISR: isr, Target: isr})
	}
	status.Partitions = subjects.PartitionCount{Total: partitions, Full: partitions}
	d, err := dashboard.Open(dashboard.Source{
		Status: func() (*subjects.ClusterStatus, error) { return status, nil }, Table: func() *ring.Table { return table },
		Events: func(func(subjects.Event)) (func(), error) { return func() {}, nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(d)
	t.Cleanup(func() { d.Close(); s.CloseClientConnections(); s.Close() })
	b := open(t)
	b.size(1280, 900)
	b.do(chromedp.Navigate(s.URL))
	b.sees("all servers", "document.querySelectorAll('#servers tbody tr').length === 100")
	b.sees("as many tracks as fit", "document.querySelectorAll('#tracks .track').length === 25")
	b.sees("all partitions", "document.getElementById('part').max === '4095'")
	b.sees("who has the first", contains("document.getElementById('part-is')", "10.0.0.1:19800"))
	b.sees("marks of partitions without a primary", "document.querySelector('.mark3').getAttribute('d').length > 0")
	widths(t, b)
	b.quiet()
}

func keyboard(t *testing.T, b *tab) {
	b.eval("document.activeElement.blur()")
	const want = "skip #part #alarms-box BUTTON #epochs #log"
	met := map[string]bool{}
	for range 40 {
		b.do(chromedp.KeyEvent(kb.Tab))
		e := b.eval("document.activeElement.id ? '#' + document.activeElement.id : document.activeElement.className || document.activeElement.tagName")
		met[e] = true
		switch {
		case e == "#part":
			was := b.eval("document.getElementById('part-no').textContent")
			b.do(chromedp.KeyEvent(kb.ArrowRight))
			if now := b.eval("document.getElementById('part-no').textContent"); now == was {
				t.Errorf("the arrow key does not go on from partition %s", was)
			}
			b.sees("the partition's copies", contains("document.getElementById('part-is')", "Primary"))
		case e == "BUTTON" && !met["pressed"]:
			met["pressed"] = true
			b.do(chromedp.KeyEvent(kb.Enter))
			b.sees("one server in the ring", "document.querySelectorAll('#ring.dim .lit').length === 1")
			b.do(chromedp.KeyEvent(kb.Enter))
			b.sees("all servers in the ring", "document.querySelectorAll('#ring.dim').length === 0")
		}
	}
	for _, w := range strings.Fields(want) {
		if !met[w] {
			t.Errorf("the tab key does not come to %s, but to %v", w, met)
		}
	}
}

// fewer is a picture with 256 colours, the most frequent ones, for which it takes
// a third of the bytes.
func fewer(t *testing.T, data []byte) []byte {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	count := map[color.Color]int{}
	box := img.Bounds()
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			count[img.At(x, y)]++
		}
	}
	palette := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] })
	out := image.NewPaletted(box, palette[:min(len(palette), 256)])
	draw.Draw(out, box, img, box.Min, draw.Src)
	var buf bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&buf, out); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

var screenshots = flag.String("screenshots", "", "write the pictures of docs/dashboard.md into this folder")

func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("no -screenshots")
	}
	c := testenv.New(t, testenv.Processes(), layout(2, "east", "east", "north", "north", "west", "west"), testenv.Partitions(128))
	b := open(t)
	shoot := func(name string) {
		t.Helper()
		shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*screenshots, name), fewer(t, shot), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.Load().GoesOn()
	b.size(1280, 1180)
	b.scheme("light")
	b.do(chromedp.Navigate(port(c, "manager1")))
	b.sees("a history", "document.querySelector('#reads-spark .line').getAttribute('d')?.split('L').length > 30")
	shoot("dashboard-light.png")
	set(t, c, map[string]bool{"paused": true})
	c.AddServer()
	b.sees("the server", "document.querySelectorAll('#servers tbody tr').length === 7")
	c.Kill("server4")
	b.sees("it down", text("health", "Degraded"))
	c.Attach()
	set(t, c, map[string]bool{"paused": false})
	b.scheme("dark")
	b.sees("moves on their way", `/^[1-9]\d* of/.test(document.getElementById("moves-say").textContent)`)
	shoot("dashboard-dark.png")
	b.size(375, 812)
	shoot("dashboard-phone.png")
}

package dashboard_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// patience is how long a page may take to show a fact: far more than it takes,
// beside other work, too.
const patience = 2 * testenv.Patience

// tab is a page in a real browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu    sync.Mutex
	wrong []string // guarded by mu; what the console says
	mark  string   // guarded by mu; the last of the marks that it has come to
	marks int
}

// browser finds a Chromium, or skips the test.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no browser is here to look at the page with: install chromium")
	return ""
}

// open starts a browser on an empty page.
func open(t *testing.T) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser(t)), chromedp.WSURLReadTimeout(patience))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which Chromium has for no superuser
	}
	ctx, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	b := &tab{t: t, ctx: ctx}
	var reader sync.WaitGroup
	said := chromedp.Console(ctx)
	reader.Go(func() {
		for m, err := range said {
			if err != nil {
				return
			}
			b.hear(m)
		}
	})
	t.Cleanup(func() { end(); reader.Wait() })
	b.do(chromedp.Navigate("about:blank"))
	return b
}

// hear notes what the console says, all of which is wrong, but for marks.
func (b *tab) hear(m chromedp.ConsoleMessage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.HasPrefix(m.Text, "mark ") {
		b.mark = m.Text
		return
	}
	b.wrong = append(b.wrong, m.String()+" "+m.URL)
}

// quiet fails the test if the console said anything since it was last asked.
func (b *tab) quiet() {
	b.t.Helper()
	for _, s := range b.said() {
		b.t.Error(s)
	}
}

// said is what the console said since it was last asked.
func (b *tab) said() []string {
	b.t.Helper()
	b.marks++
	mark := fmt.Sprintf("mark %d", b.marks)
	b.sees("the console's end", fmt.Sprintf("console.info(%q) ?? true", mark))
	for began := time.Now(); ; {
		b.mu.Lock()
		if b.mark == mark {
			list := b.wrong
			b.wrong = nil
			b.mu.Unlock()
			return list
		}
		b.mu.Unlock()
		if time.Since(began) > patience {
			b.t.Fatal("the console does not answer")
		}
		b.eval("0")
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns what an expression is in the page, as text.
func (b *tab) eval(js string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[string]("String("+js+")"))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return out
}

// sees waits until an expression is true in the page.
func (b *tab) sees(what, js string) {
	b.t.Helper()
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for b.eval(js) != "true" {
		if time.Since(began) > patience {
			b.t.Fatalf("the page does not show within %s: %s\n%s", patience, what, b.eval("document.body.innerText"))
		}
		<-tick.C
	}
	b.t.Logf("after %s the page shows: %s", time.Since(began).Round(time.Millisecond), what)
}

// size is the window's, in CSS pixels; of a phone if it is narrow.
func (b *tab) size(width, height int64) {
	b.t.Helper()
	b.call(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride,
			emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600})
		return err
	})
}

// scheme is what the system prefers: light or dark.
func (b *tab) scheme(is string) {
	b.t.Helper()
	b.call(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia,
			emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: is}}})
		return err
	})
}

func (b *tab) call(f func(context.Context) error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := f(ctx); err != nil {
		b.t.Fatal(err)
	}
}

// layout is a cluster with a server in each of these zones.
func layout(managers int, zones ...string) testenv.Option {
	return func(o *local.Options) {
		at := func(port int) string { return net.JoinHostPort(o.Host, strconv.Itoa(port)) }
		l := &local.Layout{Cluster: "kumo"}
		for i := range managers {
			l.Nodes = append(l.Nodes, local.Node{Name: fmt.Sprintf("manager%d", i+1), Role: subjects.RoleManager, Addr: at(19700 - 10*i)})
		}
		for i, zone := range zones {
			l.Nodes = append(l.Nodes, local.Node{
				Name: fmt.Sprintf("server%d", i+1), Role: subjects.RoleServer, Addr: at(19801 + i), Port: 19901 + i, Zone: zone,
			})
		}
		o.Layout, o.Managers, o.Servers = l, 0, 0
	}
}

// port is where a manager shows the cluster.
func port(c *testenv.Cluster, manager string) string {
	for _, n := range c.Layout().Nodes {
		if n.Name == manager {
			return "http://" + n.HTTP() + "/"
		}
	}
	return ""
}

// set changes settings of the cluster.
func set(t *testing.T, c *testenv.Cluster, settings map[string]bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var done subjects.AdminDone
	if err := c.Admin().Do(ctx, subjects.AdminSet, settings, &done); err != nil {
		t.Fatal(err)
	}
}

// answers waits until a manager's port does.
func answers(c *testenv.Cluster, url string) {
	c.Eventually(url+" answers", func() bool {
		r, err := http.Get(url + "readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// row is the row of a server in the page.
func row(addr string) string {
	return fmt.Sprintf("document.querySelector('#servers tr[data-node=%q]')", addr)
}

func contains(element, text string) string {
	return fmt.Sprintf("(%s?.textContent ?? '').includes(%q)", element, text)
}

func text(id, is string) string {
	return fmt.Sprintf("document.getElementById(%q).textContent === %q", id, is)
}

// contrast is the least ratio of contrast of some texts to what is behind them.
const contrast = `(() => {
	const light = (c) => {
		const [r, g, b] = c.match(/[\d.]+/g).map(Number).slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!c.endsWith(", 0)") && c !== "transparent") return c; } };
	return Math.min(...[...document.querySelectorAll("h1, h2, h3, dt, dd, th, td, p, a, .pill, #log .kind, #log time, #alarms li")].map((e) => {
		const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
		return (a + 0.05) / (b + 0.05);
	}));
})()`

var evil = strings.Join([]string{"<img src=x onerror=pwn()>", "<script>pwn()</script>"}, "&amp;\"'")

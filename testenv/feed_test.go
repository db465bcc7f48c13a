package testenv_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// heard is what a watcher was told.
type heard struct {
	mu      sync.Mutex
	changes map[string][]subjects.Change // by key
	last    map[ring.Partition]subjects.Version
	gaps    map[ring.Partition][][2]subjects.Version
	wrong   []string
}

// watch tells of a prefix until the function that it returns is called. Before each
// change it waits for hold, if that is not nil.
func watch(t *testing.T, c *testenv.Cluster, o admin.WatchOptions, hold <-chan struct{}) (*heard, func()) {
	t.Helper()
	h := &heard{changes: map[string][]subjects.Change{}, last: map[ring.Partition]subjects.Version{}, gaps: map[ring.Partition][][2]subjects.Version{}}
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	o.Change = func(p ring.Partition, ch *subjects.Change) error {
		if hold != nil {
			<-hold
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.last[p].Less(ch.Version) {
			h.wrong = append(h.wrong, fmt.Sprintf("partition %d: %s after %s", p, ch.Version, h.last[p]))
		}
		h.last[p] = ch.Version
		h.changes[string(ch.Bytes())] = append(h.changes[string(ch.Bytes())], *ch)
		return nil
	}
	o.Gap = func(p ring.Partition, after, through subjects.Version) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.gaps[p] = append(h.gaps[p], [2]subjects.Version{after, through})
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Admin().Watch(ctx, testenv.Patience, o); err != nil {
			t.Error("watch:", err)
		}
	}()
	stop := sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	select {
	case <-ready:
	case <-ended:
		t.Fatal("the watch ended")
	}
	return h, stop
}

// knows reports whether a change was told, or a gap that covers it.
func (h *heard) knows(p ring.Partition, key string, v subjects.Version) (told, covered bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range h.changes[key] {
		told = told || ch.Version == v
	}
	for _, g := range h.gaps[p] {
		covered = covered || g[0].Seq < v.Seq && v.Seq <= g[1].Seq
	}
	return told, covered
}

// hears waits until the last change of each key was told, or is covered by a gap, and
// returns how many were not told.
func (h *heard) hears(t *testing.T, c *testenv.Cluster, m *testenv.Client, table *ring.Table, keys []string) (misses int) {
	t.Helper()
	versions := map[string]subjects.Version{}
	for _, key := range keys {
		_, token, err := m.Gets(key)
		if err != nil {
			t.Fatal(err)
		}
		versions[key] = subjects.FromCAS(token)
	}
	c.Eventually("every change is told, or covered by a gap", func() bool {
		misses = 0
		for key, v := range versions {
			told, covered := h.knows(table.Of([]byte(key)), key, v)
			if !told && !covered {
				return false
			}
			if !told {
				misses++
			}
		}
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	gaps := 0
	for _, g := range h.gaps {
		gaps += len(g)
	}
	t.Logf("%d changes, %d of them not told, %d gaps", len(keys), misses, gaps)
	return misses
}

// kinds are what was told of a key, in order.
func (h *heard) kinds(key string) (list []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range h.changes[key] {
		list = append(list, ch.Kind)
	}
	return list
}

// Every change that was acknowledged is told, or covered by a gap, while servers are
// killed and come back.
func TestFeedThroughKills(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.EventuallyWhole()
	h, _ := watch(t, c, admin.WatchOptions{Prefix: []byte("fed-")}, nil)
	m, table := c.Client(0), c.Table()
	var written []string
	write := func(n int) {
		t.Helper()
		for range n {
			key := fmt.Sprintf("fed-%d", len(written))
			if err := m.Set(key, "x"); err != nil {
				t.Fatal(err)
			}
			written = append(written, key)
		}
	}
	write(300)
	for _, victim := range []string{c.PrimaryOf("fed-300"), c.PrimaryOf("fed-600")} {
		write(100)
		c.Kill(victim)
		write(300)
		c.EventuallyState(victim, "down")
		c.Start(victim)
		c.EventuallyState(victim, "up")
		c.EventuallyWhole()
	}
	write(100)
	misses := h.hears(t, c, m, table, written)
	if misses > len(written)/2 {
		t.Errorf("%d of %d changes were not told", misses, len(written))
	}
	for _, w := range h.wrong {
		t.Error(w)
	}
}

// What becomes of keys is told, of those that begin so and no others, and only while
// somebody listens. One who is slow slows nobody and hears of the gap.
func TestFeed(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Args(subjects.RoleGateway, "--enable-flush-all"))
	h, stop := watch(t, c, admin.WatchOptions{Prefix: []byte("a:"), Values: true}, nil)
	m := c.Client(0)
	line := func(text string) string {
		t.Helper()
		s, err := m.Line("%s", text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	told := func(key string, want ...string) {
		t.Helper()
		c.Eventually(fmt.Sprintf("%s of %s is told", want, key), func() bool { return fmt.Sprint(h.kinds(key)) == fmt.Sprint(want) })
	}
	c.Set("b:other", "x")
	c.Set("a:key", "value")
	line("touch a:key 1000")
	line("delete a:key")
	line("delete a:key") // changes nothing
	told("a:key", "set", "set", "delete")
	if first := h.changes["a:key"][0]; first.Value == nil || *first.Value != "value" || first.Size != 5 || first.Expiry != 0 || first.CAS != first.Version.CAS() || first.Time == 0 {
		t.Errorf("%+v", first)
	}
	if touch := h.changes["a:key"][1]; touch.Expiry < time.Now().Unix() {
		t.Errorf("%+v", touch)
	}
	line("set a:over 0 1 1\r\nx")
	c.Eventually("it is over", func() bool { _, err := m.Get("a:over"); return err == testenv.ErrMiss })
	told("a:over", "set", "expire")
	line("flush_all")
	c.Eventually("the flush is told of every partition", func() bool { return len(h.kinds("")) == 32 })
	if got := h.kinds("b:other"); got != nil {
		t.Errorf("of another prefix %v was told", got)
	}
	stop()
	slow(t, c)
	c.Eventually("no server tells anything any more", func() bool {
		for _, name := range c.Names(subjects.RoleServer) {
			var st struct{ Feeds int }
			if c.Stat(subjects.NodeName(c.Addr(name)), &st); st.Feeds > 0 {
				return false
			}
		}
		return true
	})
}

// slow has a watcher that takes nothing while others write.
func slow(t *testing.T, c *testenv.Cluster) {
	t.Helper()
	hold := make(chan struct{})
	h, stop := watch(t, c, admin.WatchOptions{Prefix: []byte("s:"), Waiting: 3}, hold)
	defer stop()
	m, table := c.Client(0), c.Table()
	var keys []string
	for i := range 600 {
		keys = append(keys, fmt.Sprintf("s:%d", i))
		if err := m.Set(keys[i], "x"); err != nil {
			t.Fatal(err)
		}
	}
	close(hold)
	if h.hears(t, c, m, table, keys) == 0 {
		t.Error("the slow watcher missed nothing, so that this test shows nothing")
	}
}

package kumoserver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// testFeed is a feed on a store and a bus of its own, without a core loop, and what it
// sends of keys that begin with "k".
func testFeed(t testing.TB) (*feed, <-chan subjects.FeedReport) {
	t.Helper()
	st, err := store.Open(store.Options{Dir: t.TempDir(), OSBoot: "boot", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	b, err := bus.Open(bus.Options{Name: "n", Mesh: "m", Listen: "127.0.0.1:0", RouteListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	s := &Server{o: Options{Cluster: "c"}, store: st, bus: b, inbox: newInbox(), name: "n", log: slog.New(slog.DiscardHandler), ctx: context.Background()}
	s.feed = newFeed(s)
	req := subjects.NewFeedRequest([]byte("k"), false)
	reports := make(chan subjects.FeedReport, 1024)
	if _, err := b.Subscribe(s.o.Cluster.Feed(req.Hash()), func(m *bus.Msg) {
		var r subjects.FeedReport
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Error(err)
		}
		reports <- r
	}); err != nil {
		t.Fatal(err)
	}
	return s.feed, reports
}

// write appends entries of partition 0, which begin behind seq, and commits them.
func (f *feed) write(t testing.TB, seq uint64, keys ...string) {
	t.Helper()
	at := func(seq uint64) (v subjects.Version) {
		if seq > 0 {
			v = subjects.Version{Epoch: 1, Seq: seq}
		}
		return v
	}
	for _, k := range keys {
		e := &subjects.Entry{Version: at(seq + 1), Prev: at(seq), Kind: subjects.EntryPut, Key: []byte(k), Value: []byte("v"), Answer: subjects.StatusOK}
		e.Encode(nil)
		if err := f.s.store.Append(e); err != nil {
			t.Fatal(err)
		}
		seq++
	}
	f.s.store.Commit(0, seq)
	f.committed(0, seq)
}

// spans are those of the reports that came of one round.
func spans(t *testing.T, reports <-chan subjects.FeedReport) (text string) {
	t.Helper()
	select {
	case r := <-reports:
		for _, s := range r.Spans {
			text += fmt.Sprintf("%d-%d", s.After.Seq, s.Through.Seq)
			for _, c := range s.Changes {
				text += " " + c.Key
			}
			text += ";"
		}
		return text + r.Error
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is told")
	}
	return ""
}

// Spans follow each other; what was passed over shows as a gap between two.
func TestFeedSpans(t *testing.T) {
	f, reports := testFeed(t)
	f.write(t, 0, "a", "k1") // nobody listens yet
	f.parts[0] = &fed{id: 0, at: subjects.Version{Epoch: 1, Seq: 2}, commit: 2}
	f.on.Store(true)
	ask := func(prefix string) {
		data, _ := json.Marshal(subjects.NewFeedRequest([]byte(prefix), false))
		f.ask(data)
	}
	told := func(want string) {
		t.Helper()
		f.tell()
		if got := spans(t, reports); got != want {
			t.Errorf("%s is told, want %s", got, want)
		}
	}
	ask("k")
	told("2-2;")
	f.write(t, 2, "k3", "a", "k5", "a")
	told("2-6 k3 k5;")
	f.write(t, 6, "a", "a")
	f.tell()
	f.write(t, 8, "k9")
	told("6-9 k9;")
	f.write(t, 9, "a")
	ask("k") // again: the place of what is calm
	told("9-10;")
	f.lag = 2
	f.write(t, 10, "k11", "k12", "k13")
	f.tell() // too many
	f.write(t, 13, "k14")
	told("13-14 k14;")
	if f.lost.Load() != 3 || f.told.Load() != 4 {
		t.Errorf("%d were lost and %d told", f.lost.Load(), f.told.Load())
	}

	for i := range subjects.MaxFeeds {
		ask(fmt.Sprint(i)) // one too many with ours
	}
	if n := f.count(); n != subjects.MaxFeeds {
		t.Errorf("%d feeds", n)
	}
	f.forget(time.Now().Add(2 * subjects.FeedLasts))
	if f.count() != 0 || f.on.Load() || len(f.parts) > 0 {
		t.Error("they go on although nobody asks")
	}
	f.refuse(subjects.NewFeedRequest([]byte("k"), false))
	told("it tells as many feeds as it can already; end one, or wait for ten seconds")
}

// Requests that make no sense are no feeds.
func TestFeedRefuses(t *testing.T) {
	f, _ := testFeed(t)
	for _, text := range []string{"", "[]", `{"prefix":1}`, `{"prefix_base64":"!"}`, fmt.Sprintf(`{"prefix":"%0251d"}`, 0), string(make([]byte, feedRequest+1))} {
		f.ask([]byte(text))
	}
	if f.count() != 0 {
		t.Errorf("%d feeds", f.count())
	}
}

// BenchmarkFeed is what a commit costs at the core loop, besides.
func BenchmarkFeed(b *testing.B) {
	f := newFeed(&Server{})
	commit := func(id ring.Partition, seq uint64) { // as perform has it
		if f.on.Load() {
			f.committed(id, seq)
		}
	}
	b.Run("off", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			commit(7, uint64(i))
		}
	})
	f.parts[7] = &fed{id: 7}
	f.on.Store(true)
	b.Run("on", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			commit(7, uint64(i))
		}
	})
}

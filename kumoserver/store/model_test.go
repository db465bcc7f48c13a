package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// copyModel is what one copy should be.
type copyModel struct {
	promised   ring.Epoch
	outline    subjects.Outline
	tail, base subjects.Version
	commit     uint64
	incomplete bool
	cursor     string
	log        []*subjects.Entry // behind base
	vals       map[string]string
}

func newCopyModel() *copyModel {
	return &copyModel{outline: subjects.Outline{{}}, vals: map[string]string{}}
}

func (c *copyModel) clone() *copyModel {
	d := *c
	d.outline, d.log, d.vals = slices.Clone(c.outline), slices.Clone(c.log), maps.Clone(c.vals)
	return &d
}

func (c *copyModel) at(seq uint64) *subjects.Entry { return c.log[seq-c.base.Seq-1] }

func (c *copyModel) effect(e *subjects.Entry, in func(string) bool) {
	k := string(e.Key)
	switch {
	case e.Kind == subjects.EntryFlush:
		for k := range c.vals {
			if in(k) {
				delete(c.vals, k)
			}
		}
	case !in(k) || c.incomplete && k >= c.cursor:
	case e.Kind == subjects.EntryPut:
		c.vals[k] = string(e.Value)
	case e.Kind == subjects.EntryDelete:
		delete(c.vals, k)
	}
}

func (c *copyModel) commitTo(seq uint64) {
	for c.commit < min(seq, c.tail.Seq) {
		c.commit++
		c.effect(c.at(c.commit), func(string) bool { return true })
	}
}

// modelTest drives a store and its model alike.
type modelTest struct {
	s       *Store
	o       Options
	now     map[ring.Partition]*copyModel
	flushed map[ring.Partition]*copyModel
}

const modelPartitions = 3

func (m *modelTest) copyOf(t *rapid.T) (ring.Partition, *copyModel) {
	p := ring.Partition(rapid.IntRange(0, modelPartitions-1).Draw(t, "partition"))
	return p, m.now[p]
}

func modelKey(t *rapid.T) string {
	return fmt.Sprintf("k%02d", rapid.IntRange(0, 40).Draw(t, "key"))
}

func (m *modelTest) append(t *rapid.T) {
	p, c := m.copyOf(t)
	for range rapid.IntRange(1, 30).Draw(t, "entries") {
		e := &subjects.Entry{Partition: p, Prev: c.tail, Version: subjects.Version{Epoch: max(c.tail.Epoch, c.promised, 1), Seq: c.tail.Seq + 1}}
		e.Kind = rapid.SampledFrom([]subjects.EntryKind{
			subjects.EntryPut, subjects.EntryPut, subjects.EntryPut, subjects.EntryPut, subjects.EntryPut, subjects.EntryDelete,
			subjects.EntryDelete, subjects.EntryNoop, subjects.EntryAnswer, subjects.EntryFlush,
		}).Draw(t, "kind")
		if e.Kind != subjects.EntryFlush {
			e.Key = []byte(modelKey(t))
		}
		if e.Kind == subjects.EntryPut {
			e.Value = []byte(strings.Repeat("x", rapid.IntRange(0, 600).Draw(t, "size")) + e.Version.String())
		}
		if err := m.s.Append(encoded(e)); err != nil {
			t.Fatal(err)
		}
		c.log, c.tail, c.outline = append(c.log, e), e.Version, extend(c.outline, e.Version)
	}
}

func (m *modelTest) commit(t *rapid.T) {
	p, c := m.copyOf(t)
	seq := c.commit + uint64(rapid.IntRange(0, 40).Draw(t, "more"))
	m.s.Commit(p, seq)
	c.commitTo(seq)
}

func (m *modelTest) flush(t *rapid.T) {
	done := make(chan error, 1)
	if m.s.Flush(func(err error) { done <- err }) != Durable {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for p, c := range m.now {
		m.flushed[p] = c.clone()
	}
}

func (m *modelTest) promise(t *rapid.T) {
	p, c := m.copyOf(t)
	e := ring.Epoch(rapid.IntRange(0, 3).Draw(t, "epochs")) + c.promised
	m.s.Promise(p, e)
	c.promised = max(c.promised, e)
}

func (m *modelTest) cut(t *rapid.T) {
	p, c := m.copyOf(t)
	epoch := max(c.promised, c.tail.Epoch) + 1
	after := c.base
	if seq := rapid.Uint64Range(c.base.Seq, c.tail.Seq).Draw(t, "after"); seq > c.base.Seq {
		after = c.at(seq).Version
	}
	err := m.s.Cut(p, epoch, after)
	if after.Seq < c.commit {
		if !errors.Is(err, ErrBelowCommit) {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		if errors.Is(err, ErrNotShared) && len(c.outline) == subjects.MaxOutline {
			return
		}
		t.Fatalf("cut after %s of %v: %v", after, c.outline, err)
	}
	c.promised = max(c.promised, epoch)
	c.outline, _ = cutOutline(c.outline, after)
	c.tail, c.log = after, c.log[:after.Seq-c.base.Seq]
}

func (m *modelTest) reset(t *rapid.T) {
	p, c := m.copyOf(t)
	base := subjects.Version{Epoch: ring.Epoch(rapid.IntRange(0, 9).Draw(t, "epoch"))}
	if base.Epoch > 0 {
		base.Seq = rapid.Uint64Range(1, 80).Draw(t, "base")
	}
	epoch := max(c.promised, base.Epoch)
	if err := m.s.Reset(p, epoch, base); err != nil {
		t.Fatal(err)
	}
	*c = copyModel{promised: epoch, outline: subjects.Outline{base}, tail: base, base: base, commit: base.Seq, incomplete: true, vals: map[string]string{}}
}

// adopt makes what there is all that there is.
func (m *modelTest) adopt(t *rapid.T) {
	p, c := m.copyOf(t)
	if err := m.s.Adopt(p); err != nil {
		t.Fatal(err)
	}
	c.incomplete, c.cursor = false, ""
}

func (m *modelTest) rangeIn(t *rapid.T) {
	p, c := m.copyOf(t)
	r := &subjects.Range{Header: subjects.Header{Partition: p}, From: []byte(c.cursor)}
	if !c.incomplete {
		r.From = []byte(modelKey(t)) // a repair
	}
	to := modelKey(t)
	r.Last = to <= string(r.From) || rapid.IntRange(0, 3).Draw(t, "last") == 0
	if !r.Last {
		r.To = []byte(to)
	}
	r.Through = rapid.Uint64Range(c.base.Seq, c.tail.Seq+3).Draw(t, "through")
	in := func(k string) bool { return k >= string(r.From) && (r.Last || k < to) }
	keys := map[string]bool{}
	for range rapid.IntRange(0, 10).Draw(t, "records") {
		if k := modelKey(t); in(k) {
			keys[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		v := fmt.Sprint("range", rapid.Uint8().Draw(t, "value"))
		r.Records = append(r.Records, subjects.Record{Key: []byte(k), Value: []byte(v), Version: subjects.Version{Epoch: 1, Seq: 1}})
	}
	if err := m.s.Range(p, r); err != nil {
		if errors.Is(err, ErrGap) { // behind what is retained
			return
		}
		t.Fatal(err)
	}
	for k := range c.vals {
		if in(k) {
			delete(c.vals, k)
		}
	}
	for _, rec := range r.Records {
		c.vals[string(rec.Key)] = string(rec.Value)
	}
	switch {
	case r.Last:
		c.incomplete, c.cursor = false, ""
	case c.incomplete:
		c.cursor = to
	}
	for seq := r.Through + 1; seq <= c.commit; seq++ {
		c.effect(c.at(seq), in)
	}
}

func (m *modelTest) drop(t *rapid.T) {
	p, c := m.copyOf(t)
	if err := m.s.Drop(p); err != nil {
		t.Fatal(err)
	}
	d := newCopyModel()
	d.promised = c.promised
	m.now[p] = d
}

func (m *modelTest) settle(t *rapid.T) {
	m.flush(t)
	for began := time.Now(); ; {
		st := m.s.Stats()
		if st.Waiting == 0 {
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("not applied: %+v", st)
		}
		m.s.applier.kickNow()
		<-time.After(time.Millisecond)
	}
}

// scrub finds nothing wrong, whatever happens meanwhile.
func (m *modelTest) scrub(t *rapid.T) {
	if err := m.s.scrubber.pass(); err != nil {
		t.Fatal(err)
	}
	if n, bad := m.s.BadKeys(9); n > 0 || m.s.Broken() != nil || m.s.retireTo.Load() > 0 {
		t.Fatalf("%v %v %v", bad, m.s.Broken(), m.s.retireTo.Load())
	}
}

func (m *modelTest) crash(t *rapid.T) {
	m.s.CloseHard()
	for p, c := range m.flushed {
		m.now[p] = c.clone()
	}
	m.reopen(t)
}

func (m *modelTest) stop(t *rapid.T) {
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	for p, c := range m.now {
		m.flushed[p] = c.clone()
	}
	m.reopen(t)
	for p, c := range m.now {
		if got := m.s.State(p).Commit; got != c.commit {
			t.Fatalf("partition %d: commit %d after a clean stop, want %d", p, got, c.commit)
		}
	}
}

func (m *modelTest) reopen(t *rapid.T) {
	var err error
	if m.s, err = Open(m.o); err != nil {
		t.Fatal(err)
	}
	if len(m.s.Unclean()) > 0 || len(m.s.Damaged()) > 0 {
		t.Fatalf("unclean %v, damaged %v", m.s.Unclean(), m.s.Damaged())
	}
	for p, c := range m.now {
		// The commit index is told again by the primary.
		c.commitTo(m.s.State(p).Commit)
		m.s.Commit(p, c.commit)
	}
}

// check compares all that can be seen.
func (m *modelTest) check(t *rapid.T) {
	for p, c := range m.now {
		got := m.s.State(p)
		want := State{
			Promised: c.promised, Outline: c.outline, Tail: c.tail, Commit: c.commit, Base: c.base,
			Incomplete: c.incomplete, Cursor: []byte(c.cursor),
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("partition %d: %s", p, d)
		}
		var recs []string
		for from, last := []byte(nil), false; !last; {
			var list []subjects.Record
			var err error
			if list, from, last, err = m.s.Scan(p, from, 500); err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				recs = append(recs, string(r.Key)+"="+string(r.Value))
			}
		}
		var model []string
		for k, v := range c.vals {
			model = append(model, k+"="+v)
		}
		sort.Strings(model)
		if d := cmp.Diff(model, recs, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("partition %d: %s", p, d)
		}
		for i := range 41 {
			k := fmt.Sprintf("k%02d", i)
			rec, found, err := m.s.Get(p, []byte(k))
			v, ok := c.vals[k]
			if err != nil || found != ok || string(rec.Value) != v {
				t.Fatalf("get %d/%s: %q %v %v, want %q %v", p, k, rec.Value, found, err, v, ok)
			}
		}
		m.checkEntries(t, p, c)
	}
	if n, bad := m.s.BadKeys(9); n > 0 || m.s.failedWith() != nil {
		t.Fatal(bad, m.s.failedWith())
	}
}

func (m *modelTest) checkEntries(t *rapid.T, p ring.Partition, c *copyModel) {
	for seq := c.commit + 1; seq <= c.tail.Seq; {
		list, ok := m.s.Entries(p, seq, 4096)
		if !ok {
			t.Fatalf("partition %d: entry %d of %s is gone", p, seq, c.tail)
		}
		for i := range list {
			if d := cmp.Diff(*c.at(seq), list[i], cmpopts.EquateEmpty(), cmpopts.IgnoreFields(subjects.Entry{}, "Raw")); d != "" {
				t.Fatal(d)
			}
			seq++
		}
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "store-model")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		o := small(dir)
		o.SegmentBytes = int64(rapid.IntRange(4<<10, 16<<10).Draw(t, "segment"))
		o.RetainBytes = int64(rapid.SampledFrom([]int{-1, 8 << 10, 64 << 10}).Draw(t, "retain"))
		o.MemtableBytes = int64(rapid.SampledFrom([]int{8 << 10, 1 << 20}).Draw(t, "memory"))
		o.batch = rapid.SampledFrom([]int{2, 5, 256}).Draw(t, "batch")
		o.ScrubRate = 1 << 40
		o.compact = always
		o.Sync = rapid.SampledFrom([]SyncMode{SyncInterval, SyncAlways, SyncNone}).Draw(t, "sync")
		o.ApplyAfter = time.Duration(rapid.IntRange(100, 3000).Draw(t, "apply after")) * time.Microsecond
		m := &modelTest{o: o, now: map[ring.Partition]*copyModel{}, flushed: map[ring.Partition]*copyModel{}}
		for p := range ring.Partition(modelPartitions) {
			m.now[p], m.flushed[p] = newCopyModel(), newCopyModel()
		}
		if m.s, err = Open(o); err != nil {
			t.Fatal(err)
		}
		defer func() { m.s.Close(); m.s.CloseHard() }()
		t.Repeat(map[string]func(*rapid.T){
			"": m.check, "append": m.append, "append more": m.append, "commit": m.commit, "commit more": m.commit,
			"flush": m.flush, "flush again": m.flush, "promise": m.promise, "cut": m.cut, "reset": m.reset, "range": m.rangeIn,
			"range more": m.rangeIn, "drop": m.drop, "adopt": m.adopt, "settle": m.settle, "scrub": m.scrub, "crash": m.crash, "crash again": m.crash, "stop": m.stop,
		})
		if err := m.s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

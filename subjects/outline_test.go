package subjects_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// history is a log, all of it, with the outline that was kept beside it.
type history struct {
	log     []subjects.Version
	outline subjects.Outline
}

func (h *history) add(e ring.Epoch) {
	v := subjects.Version{Epoch: e, Seq: uint64(len(h.log) + 1)}
	h.log = append(h.log, v)
	h.outline = h.outline.Add(v)
}

func (h *history) cut(n int) {
	h.log = h.log[:n]
	var after subjects.Version
	if n > 0 {
		after = h.log[n-1]
	}
	h.outline = h.outline.Cut(after)
}

func (h *history) clone() *history {
	return &history{append([]subjects.Version(nil), h.log...), append(subjects.Outline(nil), h.outline...)}
}

// shared is the last version at which two logs are the same.
func shared(a, b *history) (v subjects.Version) {
	for i := 0; i < len(a.log) && i < len(b.log) && a.log[i] == b.log[i]; i++ {
		v = a.log[i]
	}
	return v
}

// drawHistories plays epochs among three logs as replication does: the primary
// of an epoch is one of them, the others cut after what they share with it and
// take a part of its log.
func drawHistories(t *rapid.T, epochs int) []*history {
	logs := []*history{{outline: subjects.Outline{{}}}, {outline: subjects.Outline{{}}}, {outline: subjects.Outline{{}}}}
	for e := range rapid.IntRange(1, epochs).Draw(t, "epochs") {
		primary := logs[rapid.IntRange(0, 2).Draw(t, "primary")]
		for range rapid.IntRange(0, 4).Draw(t, "entries") {
			primary.add(ring.Epoch(e + 1))
		}
		for _, l := range logs {
			if l == primary || rapid.Bool().Draw(t, "away") {
				continue
			}
			l.cut(int(shared(l, primary).Seq))
			for i := len(l.log); i < len(primary.log) && rapid.IntRange(0, 5).Draw(t, "more") > 0; i++ {
				l.add(primary.log[i].Epoch)
			}
		}
	}
	return logs
}

func TestOutlineKnowsItsLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logs := drawHistories(t, 12)
		for _, h := range logs {
			for i, v := range h.log {
				if got := h.outline.At(uint64(i + 1)); got != v || !h.outline.Holds(v) {
					t.Fatalf("%v has %s at %d, says %s, holds it: %v", h.outline, v, i+1, got, h.outline.Holds(v))
				}
			}
			for _, other := range logs {
				for _, v := range other.log {
					in := v.Seq <= uint64(len(h.log)) && h.log[v.Seq-1] == v
					if h.outline.Holds(v) != in {
						t.Fatalf("%v holds %s: says %v, is %v", h.outline, v, !in, in)
					}
				}
			}
			if len(h.log) > 0 && h.outline.Tail() != h.log[len(h.log)-1] {
				t.Fatalf("%v ends in %s", h.outline, h.log[len(h.log)-1])
			}
		}
	})
}

func TestOutlinesFindWhatLogsShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logs := drawHistories(t, 12)
		for _, a := range logs {
			for _, b := range logs {
				got, ok := a.outline.Shared(b.outline)
				if want := shared(a, b); !ok || got != want {
					t.Fatalf("%v and %v share %s; says %s, %v", a.outline, b.outline, want, got, ok)
				}
			}
		}
	})
}

func TestOutlineAfterCutIsThatOfTheShorterLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistories(t, 12)[0]
		n := rapid.IntRange(0, len(h.log)).Draw(t, "kept")
		short := &history{outline: subjects.Outline{{}}}
		for _, v := range h.log[:n] {
			short.add(v.Epoch)
		}
		c := h.clone()
		c.cut(n)
		for _, v := range h.log {
			if c.outline.Holds(v) != short.outline.Holds(v) {
				t.Fatalf("%v cut after %d is %v, not %v", h.outline, n, c.outline, short.outline)
			}
		}
		if c.outline.Tail() != short.outline.Tail() {
			t.Fatalf("%v cut after %d ends in %s, not %s", h.outline, n, c.outline.Tail(), short.outline.Tail())
		}
	})
}

// An outline forgets the oldest of many epochs. It may then not know what it
// shares with another log, but it never makes something up.
func TestLongOutlines(t *testing.T) {
	old := &history{outline: subjects.Outline{{}}}
	for e := range ring.Epoch(10) {
		old.add(e + 1)
	}
	long := old.clone()
	for e := ring.Epoch(11); e < 11+subjects.MaxOutline; e++ {
		long.add(e)
		if v, ok := long.outline.Shared(old.outline); ok && v != (subjects.Version{Epoch: 10, Seq: 10}) {
			t.Fatalf("at epoch %d: shares %s", e, v)
		}
	}
	if len(long.outline) != subjects.MaxOutline {
		t.Errorf("%d epochs are kept", len(long.outline))
	}
	if v, ok := long.outline.Shared(old.outline); ok {
		t.Errorf("epoch 10 is forgotten, and yet shared at %s", v)
	}
	if v, ok := (subjects.Outline)(nil).Shared(old.outline); ok {
		t.Errorf("a log that knows nothing shares %s", v)
	}
}

package kumoserver

import (
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

func TestRecent(t *testing.T) {
	const start = 1_700_000_000_000
	r := newRecent(start)
	at := func(s int64) int64 { return start + 1000*s }
	want := func(hash uint64, s int64, idle uint32, hit bool) {
		t.Helper()
		if i, h := r.read(hash, at(s), true); i != idle || h != hit {
			t.Errorf("after %d s: idle %d, hit %v; want %d, %v", s, i, h, idle, hit)
		}
	}
	const a = uint64(0xabcd_0000_0002_0000) // the lowest bit of the tag is set
	b := a ^ 1<<40                          // another key of the same slot
	far := a ^ 1<<63

	want(a, 5, 5, false) // never seen: at least as long as the process is there
	want(a, 7, 2, true)
	r.written(a, at(10))
	want(a, 11, 1, false)
	want(a, 11, 0, true)
	want(a, 9, 0, true) // the clock was set back
	want(far, 12, 12, false)

	want(b, 20, 11, false) // takes the slot
	want(b, 21, 1, true)
	want(a, 24, 3, false) // and the other is idle at least since then

	key := []byte("k")
	h := ring.Hash(key)
	for _, tt := range []struct {
		name string
		e    subjects.Entry
		idle uint32
		hit  bool
	}{
		{"set", subjects.Entry{Kind: subjects.EntryPut}, 5, false},
		{"delete", subjects.Entry{Kind: subjects.EntryDelete}, 5, false},
		{"made by a fetch", subjects.Entry{Kind: subjects.EntryPut, Returns: subjects.ReturnsValue}, 5, false},
		{"touch", subjects.Entry{Kind: subjects.EntryPut, Returns: subjects.ReturnsValue, Token: 9}, 10, true},
		{"answer", subjects.Entry{Kind: subjects.EntryAnswer}, 10, true},
		{"noop", subjects.Entry{Kind: subjects.EntryNoop}, 10, true},
	} {
		r.read(h, at(100), true)
		tt.e.Key = key
		r.logged(&tt.e, at(105))
		if i, hit := r.read(h, at(110), true); i != tt.idle || hit != tt.hit {
			t.Errorf("%s: idle %d, hit %v; want %d, %v", tt.name, i, hit, tt.idle, tt.hit)
		}
	}
}

func BenchmarkRecentRead(b *testing.B) {
	r, key := newRecent(0), []byte("a key of a usual length")
	b.ReportAllocs()
	for i := range b.N {
		key[0] = byte(i)
		r.read(ring.Hash(key), int64(i), true)
	}
}

// A look that does not count leaves everything as it was.
func TestPeek(t *testing.T) {
	var r recent
	h := ring.Hash([]byte("k"))
	r.written(h, 100_000)
	for range 2 {
		if idle, hit := r.read(h, 107_000, false); idle != 7 || hit {
			t.Errorf("idle %d, hit %v", idle, hit)
		}
	}
	r.read(h, 110_000, true)
	if idle, hit := r.read(h, 112_000, false); idle != 2 || !hit {
		t.Errorf("after a read: idle %d, hit %v", idle, hit)
	}
}

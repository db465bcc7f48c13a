package kumogateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumogateway/memcache"
)

// A gateway on which everything takes long is not made slower by noting it.
func TestSlowLogAllocatesNothing(t *testing.T) {
	l := newSlowLog(time.Millisecond, 8)
	o := &slowOp{at: time.Now(), took: time.Second, op: memcache.OpSet, nkey: 3}
	copy(o.key[:], "key")
	for range 8 {
		l.add(o)
	}
	if n := testing.AllocsPerRun(100, func() { l.add(o) }); n != 0 {
		t.Errorf("%v allocations for an operation", n)
	}
	if !l.slow(time.Millisecond) || l.slow(time.Millisecond-1) {
		t.Error("the threshold is not where it should be")
	}
}

// The ring has the last ones, whatever its size and however often it went round.
func TestSlowLogRing(t *testing.T) {
	for room := 1; room < 5; room++ {
		l := newSlowLog(1, room)
		for n := 1; n < 12; n++ {
			l.add(&slowOp{size: n})
			got := l.read(false)
			if got.Total != uint64(n) || len(got.Operations) != min(n, room) {
				t.Fatalf("%d of %d: %+v", n, room, got)
			}
			for i, o := range got.Operations {
				if o.Size != n-i {
					t.Fatalf("%d of %d: place %d has %d", n, room, i, o.Size)
				}
			}
			if n == 7 {
				l.read(true)
				if got := l.read(false); fmt.Sprint(got.Operations) != "[]" {
					t.Fatalf("%+v", got)
				}
				for i := range n { // to the same count again
					l.add(&slowOp{size: i + 1})
				}
			}
		}
	}
}

// Another size keeps the newest, and another threshold holds from then on.
func TestSlowLogChanges(t *testing.T) {
	l := newSlowLog(time.Millisecond, 4)
	sizes := func() (list []int) {
		for _, o := range l.read(false).Operations {
			list = append(list, o.Size)
		}
		return list
	}
	for n := 1; n <= 6; n++ {
		l.add(&slowOp{size: n})
	}
	for _, step := range []struct {
		room int
		add  int
		want string
	}{{3, 0, "[6 5 4]"}, {3, 7, "[7 6 5]"}, {5, 8, "[8 7 6 5]"}, {5, 9, "[9 8 7 6 5]"}, {5, 10, "[10 9 8 7 6]"}, {1, 0, "[10]"}, {0, 11, "[]"}, {2, 12, "[12]"}} {
		l.set(time.Millisecond, step.room)
		if step.add > 0 {
			l.add(&slowOp{size: step.add})
		}
		if got := fmt.Sprint(sizes()); got != step.want {
			t.Errorf("with room for %d and %d added: %s, want %s", step.room, step.add, got, step.want)
		}
	}
	l.set(time.Second, 2)
	if l.slow(time.Millisecond) || !l.slow(time.Second) {
		t.Error("the threshold stays as it was")
	}
	if l.set(time.Second, 0); l.slow(time.Hour) {
		t.Error("without room something is slow")
	}
}

func BenchmarkSlowLog(b *testing.B) {
	l := newSlowLog(1, 128)
	o := &slowOp{nkey: 30}
	b.ReportAllocs()
	for b.Loop() {
		l.add(o)
	}
}

package kumoserver

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/etolabo/kumofs/subjects"
)

// rangesOf makes ranges that begin at the letters, with a digest each.
func rangesOf(text string, digests ...subjects.Digest) (list []subjects.KeyRange) {
	for i, c := range text {
		r := subjects.KeyRange{From: []byte(string(c)), Count: 1, Digest: 1}
		if i == 0 {
			r.From = nil
		}
		if i < len(digests) {
			r.Digest = digests[i]
		}
		list = append(list, r)
	}
	for i := range list {
		if list[i].Last = i == len(list)-1; !list[i].Last {
			list[i].To = list[i+1].From
		}
	}
	return list
}

func TestDiffering(t *testing.T) {
	a := rangesOf("abce")
	for _, tt := range []struct {
		name string
		b    []subjects.KeyRange
		n    int
		from string
	}{
		{"the same", rangesOf("abce"), 0, ""},
		{"another digest", rangesOf("abce", 1, 1, 2), 1, "c"},
		{"the first", rangesOf("abce", 2), 1, ""},
		{"a boundary less", rangesOf("abe"), 2, "b"},
		{"another boundary", rangesOf("abde"), 3, "b"}, // of b, c and d
		{"nothing", nil, 4, ""},
	} {
		if n, from := differing(a, tt.b); n != tt.n || string(from) != tt.from {
			t.Errorf("%s: %d from %q, want %d from %q", tt.name, n, from, tt.n, tt.from)
		}
	}
}

func TestJudge(t *testing.T) {
	good, bad, worse := rangesOf("ab"), rangesOf("ab", 2), rangesOf("ab", 3)
	for _, tt := range []struct {
		name   string
		own    []subjects.KeyRange
		others []any // ranges, or an error
		want   []int // copies that differ; 0 is the primary's
	}{
		{"alone", good, nil, nil},
		{"all the same", good, []any{good, good}, nil},
		{"one of two others", good, []any{good, bad}, []int{2}},
		{"the only other", good, []any{bad}, []int{1}},
		{"the primary's, and two others agree", bad, []any{good, good}, []int{0}},
		{"all three", good, []any{bad, worse}, []int{1, 2}},
		{"one that cannot be read", good, []any{errors.New("no"), bad}, []int{2}},
		{"one that cannot be read, last", bad, []any{good, errors.New("no")}, []int{1}},
	} {
		rep := &subjects.CompareReport{Copies: make([]subjects.ComparedCopy, 1+len(tt.others))}
		var copies []*replicaCopy
		for _, o := range tt.others {
			c := &replicaCopy{}
			c.err, _ = o.(error)
			c.ranges, _ = o.([]subjects.KeyRange)
			copies = append(copies, c)
		}
		judge(rep, tt.own, copies)
		var got []int
		for i, c := range rep.Copies {
			if c.Differs > 0 {
				got = append(got, i)
			}
			if i > 0 && (c.Error != "") != (copies[i-1].err != nil) {
				t.Errorf("%s: copy %d: %q", tt.name, i, c.Error)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// No copy is made anew from the primary's where another, that is not in sync or
// differs elsewhere, may show that the primary's is the wrong one.
func TestUnsure(t *testing.T) {
	good, bad := rangesOf("abc"), rangesOf("abc", 2)
	for _, tt := range []struct {
		name   string
		own    []subjects.KeyRange
		others []any
		absent int
		want   bool
	}{
		{"equal, and one is absent", good, []any{good}, 1, false},
		{"two of two", bad, []any{good}, 0, false},
		{"two, and one is absent", bad, []any{good}, 1, true},
		{"two, and one cannot be read", bad, []any{good, errors.New("no")}, 0, true},
		{"one of three", good, []any{good, bad}, 0, false},
		{"one of four, and one is absent", good, []any{good, good, bad}, 1, false},
		{"the primary's", bad, []any{good, good}, 0, false},
		{"all, in one range", good, []any{bad, rangesOf("abc", 3)}, 0, false},
		{"the primary's and another, elsewhere", bad, []any{good, rangesOf("abc", 1, 1, 2)}, 0, true},
		{"two others, elsewhere", good, []any{bad, rangesOf("abc", 1, 1, 2)}, 0, false},
	} {
		rep := &subjects.CompareReport{Copies: make([]subjects.ComparedCopy, 1+len(tt.others)), Absent: tt.absent}
		var copies []*replicaCopy
		for _, o := range tt.others {
			c := &replicaCopy{}
			c.err, _ = o.(error)
			c.ranges, _ = o.([]subjects.KeyRange)
			copies = append(copies, c)
		}
		if judge(rep, tt.own, copies); (rep.Unsure != "") != tt.want {
			t.Errorf("%s: %q", tt.name, rep.Unsure)
		}
	}
}

func TestSamePoint(t *testing.T) {
	own := subjects.Version{Epoch: 2, Seq: 9}
	for _, tt := range []struct {
		at   subjects.Version
		want error
	}{
		{own, nil},
		{subjects.Version{Epoch: 2, Seq: 8}, subjects.ErrPassed},
		{subjects.Version{Epoch: 1, Seq: 9}, subjects.ErrInternal},
	} {
		if err := samePoint(own, &replicaCopy{frozen: subjects.FrozenCopy{At: tt.at}}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.at, err)
		}
	}
}

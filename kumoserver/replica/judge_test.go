package replica

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/etolabo/kumofs/subjects"
)

// now is 1,000 s after the Unix epoch, in milliseconds.
const now = 1000 * 1000

var (
	none = subjects.Record{}
	some = subjects.Record{Key: []byte("k"), Value: []byte("old"), Flags: 7, Expiry: 5000, Version: subjects.Version{Epoch: 1, Seq: 2}}
)

func number(s string) subjects.Record {
	r := some
	r.Value = []byte(s)
	return r
}

// made is what the table below tells of an entry.
type made struct {
	Kind   subjects.EntryKind
	Value  string
	Flags  uint32
	Expiry int64
}

// The outcomes are memcached's (1.6).
func TestJudge(t *testing.T) {
	token := some.Version.CAS()
	tests := []struct {
		name  string
		w     subjects.Write
		cur   subjects.Record // none: there is no value
		entry *made           // nil: none
		reply subjects.Reply
	}{
		{"set", subjects.Write{Verb: subjects.VerbSet, Value: []byte("v"), Flags: 3}, none, &made{Value: "v", Flags: 3}, ok("")},
		{"set over a value", subjects.Write{Verb: subjects.VerbSet, Value: []byte("v"), Flags: 3}, some, &made{Value: "v", Flags: 3}, ok("")},
		{"cas", subjects.Write{Verb: subjects.VerbSet, Value: []byte("v"), Cas: token}, some, &made{Value: "v"}, ok("")},
		{"cas of another", subjects.Write{Verb: subjects.VerbSet, Value: []byte("v"), Cas: token + 1}, some, nil, is(subjects.StatusExists)},
		{"cas of nothing", subjects.Write{Verb: subjects.VerbSet, Value: []byte("v"), Cas: token}, none, nil, is(subjects.StatusNotFound)},
		{"add", subjects.Write{Verb: subjects.VerbAdd, Value: []byte("v")}, none, &made{Value: "v"}, ok("")},
		{"add to a value", subjects.Write{Verb: subjects.VerbAdd, Value: []byte("v")}, some, nil, is(subjects.StatusNotStored)},
		{"replace", subjects.Write{Verb: subjects.VerbReplace, Value: []byte("v")}, some, &made{Value: "v"}, ok("")},
		{"replace nothing", subjects.Write{Verb: subjects.VerbReplace, Value: []byte("v")}, none, nil, is(subjects.StatusNotStored)},
		{"append keeps flags and expiry", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er"), Flags: 3, Exptime: 9}, some, &made{Value: "older", Flags: 7, Expiry: 5000}, ok("")},
		{"prepend", subjects.Write{Verb: subjects.VerbPrepend, Value: []byte("b")}, some, &made{Value: "bold", Flags: 7, Expiry: 5000}, ok("")},
		{"append to nothing", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er")}, none, nil, is(subjects.StatusNotStored)},
		{"append with a token", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er"), Cas: token + 1}, some, nil, is(subjects.StatusExists)},
		{"append up to the limit", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er"), MaxItem: 5}, some, &made{Value: "older", Flags: 7, Expiry: 5000}, ok("")},
		{"append beyond the limit", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er"), MaxItem: 4}, some, nil, is(subjects.StatusTooLarge)},
		{"append beyond 1 MiB", subjects.Write{Verb: subjects.VerbAppend, Value: make([]byte, 1<<20-2)}, some, nil, is(subjects.StatusTooLarge)},
		{"delete", subjects.Write{Verb: subjects.VerbDelete}, some, &made{Kind: subjects.EntryDelete}, ok("")},
		{"delete nothing", subjects.Write{Verb: subjects.VerbDelete}, none, nil, is(subjects.StatusNotFound)},
		{"delete with a token", subjects.Write{Verb: subjects.VerbDelete, Cas: token + 1}, some, nil, is(subjects.StatusExists)},
		{"touch", subjects.Write{Verb: subjects.VerbTouch, Exptime: 60}, some, &made{Value: "old", Flags: 7, Expiry: 1060}, subjects.Reply{Status: subjects.StatusOK, Value: []byte("old"), Flags: 7, Expiry: 1060}},
		{"touch nothing", subjects.Write{Verb: subjects.VerbTouch, Exptime: 60}, none, nil, is(subjects.StatusNotFound)},
		{"incr", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number("9"), &made{Value: "10", Flags: 7, Expiry: 5000}, ok("10")},
		{"incr wraps and keeps its length", subjects.Write{Verb: subjects.VerbIncr, Delta: 2}, number("18446744073709551615"), &made{Value: "1" + strings.Repeat(" ", 19), Flags: 7, Expiry: 5000}, ok("1")},
		{"decr keeps its length", subjects.Write{Verb: subjects.VerbDecr, Delta: 1}, number("10"), &made{Value: "9 ", Flags: 7, Expiry: 5000}, ok("9")},
		{"decr of a padded one", subjects.Write{Verb: subjects.VerbDecr, Delta: 1}, number("9 "), &made{Value: "8 ", Flags: 7, Expiry: 5000}, ok("8")},
		{"incr of a padded one", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number("9 "), &made{Value: "10", Flags: 7, Expiry: 5000}, ok("10")},
		{"incr of leading zeros", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number("007"), &made{Value: "8  ", Flags: 7, Expiry: 5000}, ok("8")},
		{"decr stops at 0", subjects.Write{Verb: subjects.VerbDecr, Delta: math.MaxUint64}, number("5"), &made{Value: "0", Flags: 7, Expiry: 5000}, ok("0")},
		{"incr of text", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number("12a"), nil, is(subjects.StatusNonNumeric)},
		{"incr of an empty value", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number(""), nil, is(subjects.StatusNonNumeric)},
		{"incr of too many digits", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number("18446744073709551616"), nil, is(subjects.StatusNonNumeric)},
		{"incr of nothing", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, none, nil, is(subjects.StatusNotFound)},
		{"incr makes one", subjects.Write{Verb: subjects.VerbIncr, Delta: 1, Options: subjects.OptionVivify, Initial: 40, Exptime: 60}, none, &made{Value: "40", Expiry: 1060}, ok("40")},
		{"incr with a token", subjects.Write{Verb: subjects.VerbIncr, Delta: 1, Cas: token + 1}, number("1"), nil, is(subjects.StatusExists)},
		{"no verb", subjects.Write{}, some, nil, is(subjects.StatusBad)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.w.Key = []byte("k")
			before := string(tt.cur.Value)
			e, reply := judge(&tt.w, tt.cur, tt.cur.Key != nil, now)
			if d := cmp.Diff(tt.reply, reply, cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
			if string(tt.cur.Value) != before {
				t.Errorf("the value in the store was changed to %q", tt.cur.Value)
			}
			switch {
			case tt.entry == nil && e != nil:
				t.Errorf("makes entry %+v", e)
			case tt.entry != nil && e == nil:
				t.Error("makes no entry")
			case e != nil:
				if tt.entry.Kind == 0 {
					tt.entry.Kind = subjects.EntryPut
				}
				got := made{e.Kind, string(e.Value), e.Flags, e.Expiry}
				if d := cmp.Diff(*tt.entry, got); d != "" || string(e.Key) != "k" {
					t.Error(string(e.Key), d)
				}
			}
		})
	}
}

func is(s subjects.Status) subjects.Reply { return subjects.Reply{Status: s} }

func ok(value string) subjects.Reply {
	return subjects.Reply{Status: subjects.StatusOK, Value: []byte(value)}
}

// What is over already is gone at once, and yet it is stored and touched as far
// as the client is told.
func TestJudgeWhatIsOver(t *testing.T) {
	for _, verb := range []subjects.Verb{subjects.VerbSet, subjects.VerbReplace, subjects.VerbTouch} {
		e, reply := judge(&subjects.Write{Verb: verb, Key: []byte("k"), Exptime: -1}, some, true, now)
		if e == nil || e.Kind != subjects.EntryDelete || reply.Status != subjects.StatusOK {
			t.Errorf("verb %d: %+v, %+v", verb, e, reply)
		}
	}
}

func TestAbsolute(t *testing.T) {
	const month = 60 * 60 * 24 * 30
	const today = int64(1_700_000_000)
	for _, tt := range []struct{ in, want int64 }{
		{0, 0},
		{-1, -1},
		{math.MinInt64, -1},
		{1, today + 1},
		{month, today + month},
		{month + 1, -1}, // of 1970
		{today - 1, -1},
		{today, -1},
		{today + 1, today + 1},
		{math.MaxInt64, math.MaxInt64},
	} {
		if got := Absolute(tt.in, today*1000+999); got != tt.want {
			t.Errorf("%d: %d, want %d", tt.in, got, tt.want)
		}
	}
	rec := subjects.Record{Expiry: 1000}
	if Expired(&rec, 999_999) || !Expired(&rec, 1000_000) || Expired(&subjects.Record{}, math.MaxInt64) {
		t.Error("a record is over from its time of expiry on, and not without one")
	}
}

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

// made is what the tables below tell of an entry.
type made struct {
	Kind   subjects.EntryKind
	Value  string
	Flags  uint32
	Expiry int64
	Bits   uint32
	Token  uint64
}

// outcome is a line of a table of what memcached (1.6) makes of a request.
type outcome struct {
	name  string
	w     subjects.Write
	cur   subjects.Record // none: there is no value
	entry *made           // nil: nothing is changed
	reply subjects.Reply  // Cas is filled in where the value has a new token
}

func (tt *outcome) check(t *testing.T) {
	tt.w.Key = []byte("k")
	before := string(tt.cur.Value)
	e := judge(&tt.w, tt.cur, tt.cur.Key != nil, now)
	e.Version = subjects.Version{Epoch: 4, Seq: 9}
	if tt.reply.Status == subjects.StatusOK && tt.reply.Cas == 0 {
		tt.reply.Cas = e.Version.CAS()
	}
	if d := cmp.Diff(tt.reply, told(e.Recorded(), 0), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	if string(tt.cur.Value) != before {
		t.Errorf("the value in the store was changed to %q", tt.cur.Value)
	}
	if string(e.Key) != "k" {
		t.Errorf("the entry is of %q", e.Key)
	}
	switch {
	case tt.entry == nil && e.Kind != subjects.EntryAnswer:
		t.Errorf("makes entry %+v", e)
	case tt.entry != nil && e.Kind == subjects.EntryAnswer:
		t.Error("makes no entry")
	case tt.entry != nil:
		if tt.entry.Kind == 0 {
			tt.entry.Kind = subjects.EntryPut
		}
		if d := cmp.Diff(*tt.entry, made{e.Kind, string(e.Value), e.Flags, e.Expiry, e.Bits, e.Token}); d != "" {
			t.Error(d)
		}
	}
}

// The outcomes are memcached's (1.6).
func TestJudge(t *testing.T) {
	token := some.Version.CAS()
	tests := []outcome{
		{"set", subjects.Write{Verb: subjects.VerbSet, Value: []byte("v"), Flags: 3}, none, &made{Value: "v", Flags: 3}, size(1)},
		{"set over a value", subjects.Write{Verb: subjects.VerbSet, Value: []byte("v"), Flags: 3}, some, &made{Value: "v", Flags: 3}, size(1)},
		{"cas", subjects.Write{Verb: subjects.VerbSet, Value: []byte("v"), Cas: token}, some, &made{Value: "v"}, size(1)},
		{"cas of another", subjects.Write{Verb: subjects.VerbSet, Value: []byte("v"), Cas: token + 1}, some, nil, is(subjects.StatusExists)},
		{"cas of nothing", subjects.Write{Verb: subjects.VerbSet, Value: []byte("v"), Cas: token}, none, nil, is(subjects.StatusNotFound)},
		{"add", subjects.Write{Verb: subjects.VerbAdd, Value: []byte("v")}, none, &made{Value: "v"}, size(1)},
		{"add to a value", subjects.Write{Verb: subjects.VerbAdd, Value: []byte("v")}, some, nil, is(subjects.StatusNotStored)},
		{"replace", subjects.Write{Verb: subjects.VerbReplace, Value: []byte("v")}, some, &made{Value: "v"}, size(1)},
		{"replace nothing", subjects.Write{Verb: subjects.VerbReplace, Value: []byte("v")}, none, nil, is(subjects.StatusNotStored)},
		{"append keeps flags and expiry", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er"), Flags: 3, Exptime: 9}, some, &made{Value: "older", Flags: 7, Expiry: 5000}, size(5)},
		{"prepend", subjects.Write{Verb: subjects.VerbPrepend, Value: []byte("b")}, some, &made{Value: "bold", Flags: 7, Expiry: 5000}, size(4)},
		{"append to nothing", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er")}, none, nil, is(subjects.StatusNotStored)},
		{"append with a token", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er"), Cas: token + 1}, some, nil, is(subjects.StatusExists)},
		{"append up to the limit", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er"), MaxItem: 5}, some, &made{Value: "older", Flags: 7, Expiry: 5000}, size(5)},
		{"append beyond the limit", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er"), MaxItem: 4}, some, nil, is(subjects.StatusTooLarge)},
		{"append beyond 1 MiB", subjects.Write{Verb: subjects.VerbAppend, Value: make([]byte, 1<<20-2)}, some, nil, is(subjects.StatusTooLarge)},
		{"delete", subjects.Write{Verb: subjects.VerbDelete}, some, &made{Kind: subjects.EntryDelete}, size(0)},
		{"delete nothing", subjects.Write{Verb: subjects.VerbDelete}, none, nil, is(subjects.StatusNotFound)},
		{"delete with a token", subjects.Write{Verb: subjects.VerbDelete, Cas: token + 1}, some, nil, is(subjects.StatusExists)},
		{"touch", subjects.Write{Verb: subjects.VerbTouch, Exptime: 60}, some, &made{Value: "old", Flags: 7, Expiry: 1060, Token: token}, value("old", 1060, 0)},
		{"touch nothing", subjects.Write{Verb: subjects.VerbTouch, Exptime: 60}, none, nil, is(subjects.StatusNotFound)},
		{"incr", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number("9"), &made{Value: "10", Flags: 7, Expiry: 5000}, counted("10", 2, 5000)},
		{"incr wraps and keeps its length", subjects.Write{Verb: subjects.VerbIncr, Delta: 2}, number("18446744073709551615"), &made{Value: "1" + strings.Repeat(" ", 19), Flags: 7, Expiry: 5000}, counted("1", 20, 5000)},
		{"decr keeps its length", subjects.Write{Verb: subjects.VerbDecr, Delta: 1}, number("10"), &made{Value: "9 ", Flags: 7, Expiry: 5000}, counted("9", 2, 5000)},
		{"decr of a padded one", subjects.Write{Verb: subjects.VerbDecr, Delta: 1}, number("9 "), &made{Value: "8 ", Flags: 7, Expiry: 5000}, counted("8", 2, 5000)},
		{"incr of a padded one", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number("9 "), &made{Value: "10", Flags: 7, Expiry: 5000}, counted("10", 2, 5000)},
		{"incr of leading zeros", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number("007"), &made{Value: "8  ", Flags: 7, Expiry: 5000}, counted("8", 3, 5000)},
		{"decr stops at 0", subjects.Write{Verb: subjects.VerbDecr, Delta: math.MaxUint64}, number("5"), &made{Value: "0", Flags: 7, Expiry: 5000}, counted("0", 1, 5000)},
		{"incr of text", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number("12a"), nil, is(subjects.StatusNonNumeric)},
		{"incr of an empty value", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number(""), nil, is(subjects.StatusNonNumeric)},
		{"incr of too many digits", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, number("18446744073709551616"), nil, is(subjects.StatusNonNumeric)},
		{"incr of nothing", subjects.Write{Verb: subjects.VerbIncr, Delta: 1}, none, nil, is(subjects.StatusNotFound)},
		{"incr makes one", subjects.Write{Verb: subjects.VerbIncr, Delta: 1, Options: subjects.OptionVivify, Initial: 40, Vivify: 60}, none, &made{Value: "40", Expiry: 1060}, counted("40", 2, 1060)},
		{"incr with a token", subjects.Write{Verb: subjects.VerbIncr, Delta: 1, Cas: token + 1}, number("1"), nil, is(subjects.StatusExists)},
		{"no verb", subjects.Write{}, some, nil, is(subjects.StatusBad)},
	}
	for _, tt := range tests {
		t.Run(tt.name, tt.check)
	}
}

func is(s subjects.Status) subjects.Reply { return subjects.Reply{Status: s} }

// size is the answer to what leaves a value of n bytes.
func size(n uint32) subjects.Reply { return subjects.Reply{Status: subjects.StatusOK, Size: n} }

// counted is the answer with a counter of a size that is over at a time.
func counted(digits string, n uint32, expiry int64) subjects.Reply {
	return subjects.Reply{Status: subjects.StatusOK, Value: []byte(digits), Size: n, Expiry: expiry}
}

// What is over already is gone at once, and yet it is stored and touched as far
// as the client is told.
func TestJudgeWhatIsOver(t *testing.T) {
	for _, verb := range []subjects.Verb{subjects.VerbSet, subjects.VerbReplace, subjects.VerbTouch} {
		e := judge(&subjects.Write{Verb: verb, Key: []byte("k"), Exptime: -1}, some, true, now)
		if e.Kind != subjects.EntryDelete || e.Answer != subjects.StatusOK {
			t.Errorf("verb %d: %+v", verb, e)
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

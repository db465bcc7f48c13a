package replica

import (
	"testing"

	"github.com/etolabo/kumofs/subjects"
)

// marked is the value of the tables with marks.
func marked(bits uint32) subjects.Record {
	r := some
	r.Bits = bits
	return r
}

// value is the answer to what returns the value of the tables under its token.
func value(v string, expiry int64, marks uint32) subjects.Reply {
	return subjects.Reply{
		Status: subjects.StatusOK, Value: []byte(v), Flags: some.Flags, Expiry: expiry,
		Cas: some.Version.CAS(), Marks: marks, Size: uint32(len(v)),
	}
}

const (
	stale = subjects.MarkStale
	sent  = subjects.MarkSent
	won   = subjects.MarkSent | subjects.MarkWon
)

// What a fetch does are memcached's outcomes of mg (1.6).
func TestJudgeFetch(t *testing.T) {
	token := some.Version.CAS()
	get := func(options uint32) subjects.Write { return subjects.Write{Verb: subjects.VerbFetch, Options: options} }
	touch := get(subjects.OptionTouch)
	touch.Exptime = 60
	vivify := get(subjects.OptionVivify)
	vivify.Vivify = 30
	named := vivify
	named.Options |= subjects.OptionToken
	named.Token = 77
	recache := func(at int64) subjects.Write {
		w := get(subjects.OptionRecache)
		w.Recache = at
		return w
	}
	both := recache(4001)
	both.Options |= subjects.OptionTouch
	both.Exptime = 60
	renewed := func(exptime, at int64) subjects.Write {
		w := recache(at)
		w.Options |= subjects.OptionTouch | subjects.OptionRenewed
		w.Exptime = exptime
		return w
	}
	expired := get(subjects.OptionTouch)
	expired.Exptime = -1
	forever := marked(0)
	forever.Expiry = 0
	tests := []outcome{
		{"of nothing", get(0), none, nil, is(subjects.StatusNotFound)},
		{"of a value", get(0), some, nil, value("old", 5000, 0)},
		{"makes one", vivify, none, &made{Expiry: 1030, Bits: won}, subjects.Reply{Status: subjects.StatusOK, Expiry: 1030, Marks: won}},
		{"makes one with a token", named, none, &made{Expiry: 1030, Bits: won, Token: 77}, subjects.Reply{Status: subjects.StatusOK, Expiry: 1030, Marks: won, Cas: 77}},
		{"makes none where there is one", named, some, nil, value("old", 5000, 0)},
		{"waits where somebody else makes it", vivify, marked(sent), nil, value("old", 5000, sent)},
		{"touches", touch, some, &made{Value: "old", Flags: 7, Expiry: 1060, Token: token}, value("old", 1060, 0)},
		{"touches what is being made", touch, marked(sent), &made{Value: "old", Flags: 7, Expiry: 1060, Bits: sent, Token: token}, value("old", 1060, sent)},
		{"ends the value", expired, some, &made{Kind: subjects.EntryDelete, Value: "old", Flags: 7, Token: token}, value("old", 0, 0)},
		{"of a stale value wins", get(0), marked(stale), &made{Value: "old", Flags: 7, Expiry: 5000, Bits: stale | won, Token: token}, value("old", 5000, stale|won)},
		{"of a stale value that was won", get(0), marked(stale | sent), nil, value("old", 5000, stale|sent)},
		{"in time", recache(4000), some, nil, value("old", 5000, 0)},
		{"soon over wins", recache(5001), some, &made{Value: "old", Flags: 7, Expiry: 5000, Bits: won, Token: token}, value("old", 5000, won)},
		{"over just then", recache(4000), some, nil, value("old", 5000, 0)},
		{"soon over, won by another", recache(5001), marked(sent), nil, value("old", 5000, sent)},
		{"never over", recache(5001), forever, nil, value("old", 0, 0)},
		{"before no time", recache(0), some, nil, value("old", 5000, 0)},
		{"before a time that is over", recache(-1), some, nil, value("old", 5000, 0)},
		{"judges the time that it sets", renewed(6000, 4001), some, &made{Value: "old", Flags: 7, Expiry: 7000, Token: token}, value("old", 7000, 0)},
		{"judges a time that it takes away", renewed(0, 4001), some, &made{Value: "old", Flags: 7, Token: token}, value("old", 0, 0)},
		{"wins by the time that it sets", renewed(60, 61), marked(0), &made{Value: "old", Flags: 7, Expiry: 1060, Bits: won, Token: token}, value("old", 1060, won)},
		{"ends the value, before no time", renewed(-1, 0), some, &made{Kind: subjects.EntryDelete, Value: "old", Flags: 7, Token: token}, value("old", 0, 0)},
		{"judges the time that there was", both, some, &made{Value: "old", Flags: 7, Expiry: 1060, Bits: won, Token: token}, value("old", 1060, won)},
	}
	for _, tt := range tests {
		t.Run(tt.name, tt.check)
	}
	touched := marked(stale)
	e := judge(&subjects.Write{Verb: subjects.VerbTouch, Key: []byte("k"), Exptime: 60}, touched, true, now)
	if e.Bits != stale {
		t.Errorf("a touch of a stale value leaves marks %b", e.Bits)
	}
	named.Key, named.Options = []byte("k"), subjects.OptionTouch|subjects.OptionToken
	if e := judge(&named, some, true, now); e.Token != token {
		t.Errorf("a fetch gives a value that is there another token, %d", e.Token)
	}
}

// Deletes and sets that leave marks, and what takes them away.
func TestJudgeMarks(t *testing.T) {
	token := some.Version.CAS()
	set := func(cas uint64, options uint32) subjects.Write {
		return subjects.Write{Verb: subjects.VerbSet, Value: []byte("new"), Flags: 3, Exptime: 60, Cas: cas, Options: options, Token: 77}
	}
	del := func(options uint32) subjects.Write {
		return subjects.Write{Verb: subjects.VerbDelete, Exptime: 60, Options: options, Token: 77}
	}
	const staleOption, emptyOption, touchOption, tokenOption = subjects.OptionStale, subjects.OptionEmpty, subjects.OptionTouch, subjects.OptionToken
	replace := set(token-1, staleOption)
	replace.Verb = subjects.VerbReplace
	add := set(token-1, staleOption)
	add.Verb = subjects.VerbAdd
	older := set(0, 0)
	older.Verb, older.Cas, older.Options = subjects.VerbAppend, token-1, staleOption
	incr := subjects.Write{Verb: subjects.VerbIncr, Delta: 1}
	nine, ninety := number("9"), number("90")
	nine.Bits, ninety.Bits = stale|sent, stale|sent
	digit, digits := counted("10", 2, 5000), counted("91", 2, 5000)
	digits.Marks = stale | sent
	staleAnswer := size(3)
	staleAnswer.Marks = stale
	emptied := size(0)
	emptied.Cas = token
	withMarks := func(r subjects.Reply, m uint32, cas uint64) subjects.Reply {
		r.Marks, r.Cas = m, cas
		return r
	}
	tests := []outcome{
		{"set ends marks", set(0, 0), marked(stale | sent), &made{Value: "new", Flags: 3, Expiry: 1060}, size(3)},
		{"cas of the winner", set(token, staleOption), marked(sent), &made{Value: "new", Flags: 3, Expiry: 1060}, size(3)},
		{"late set is stale and lives no longer", set(token-1, staleOption), some, &made{Value: "new", Flags: 3, Expiry: 5000, Bits: stale}, staleAnswer},
		{"late set of what another makes", set(token-1, staleOption), marked(stale | sent), &made{Value: "new", Flags: 3, Expiry: 5000, Bits: stale | sent}, withMarks(size(3), stale|sent, 0)},
		{"late replace", replace, some, &made{Value: "new", Flags: 3, Expiry: 5000, Bits: stale}, staleAnswer},
		{"late add", add, some, nil, is(subjects.StatusNotStored)},
		{"late append", older, some, nil, is(subjects.StatusExists)},
		{"early set", set(token+1, staleOption), some, nil, is(subjects.StatusExists)},
		{"late set of nothing", set(token-1, staleOption), none, nil, is(subjects.StatusNotFound)},
		{"set with a token", set(0, tokenOption), some, &made{Value: "new", Flags: 3, Expiry: 1060, Token: 77}, withMarks(size(3), 0, 77)},
		{"append ends marks", subjects.Write{Verb: subjects.VerbAppend, Value: []byte("er"), Token: 77, Options: tokenOption}, marked(stale | sent), &made{Value: "older", Flags: 7, Expiry: 5000, Token: 77}, withMarks(size(5), 0, 77)},
		{"incr in place keeps marks", incr, ninety, &made{Value: "91", Flags: 7, Expiry: 5000, Bits: stale | sent}, digits},
		{"incr that grows ends marks", incr, nine, &made{Value: "10", Flags: 7, Expiry: 5000}, digit},
		{"delete", del(touchOption), marked(stale), &made{Kind: subjects.EntryDelete}, size(0)},
		{"stale delete", del(staleOption), marked(sent), &made{Value: "old", Flags: 7, Expiry: 5000, Bits: stale}, withMarks(size(3), stale, 0)},
		{"stale delete with time and token", del(staleOption | touchOption | tokenOption), some, &made{Value: "old", Flags: 7, Expiry: 1060, Bits: stale, Token: 77}, withMarks(size(3), stale, 77)},
		{"stale delete of nothing", del(staleOption), none, nil, is(subjects.StatusNotFound)},
		{"empty delete", del(emptyOption), marked(stale | sent), &made{Token: token}, emptied},
		{"empty delete with time and token", del(emptyOption | touchOption | tokenOption), some, &made{Expiry: 1060, Token: 77}, withMarks(size(0), 0, 77)},
		{"empty stale delete", del(emptyOption | staleOption), some, &made{Bits: stale}, withMarks(size(0), stale, 0)},
		{"empty delete of nothing", del(emptyOption), none, nil, is(subjects.StatusNotFound)},
	}
	for _, tt := range tests {
		t.Run(tt.name, tt.check)
	}
}

// Tokens that writes ask for, and what they find instead.
func TestJudgeTokens(t *testing.T) {
	named := some
	named.Token = 77
	empty := number("")
	other := func(v subjects.Verb, options uint32) subjects.Write {
		return subjects.Write{Verb: v, Value: []byte("v"), Delta: 1, Initial: 40, Cas: 76, Vivify: 60, Options: options}
	}
	const vivify = subjects.OptionVivify
	is77 := other(subjects.VerbSet, 0)
	is77.Cas = 77
	version := is77
	version.Cas = some.Version.CAS()
	touched := other(subjects.VerbIncr, vivify|subjects.OptionTouch)
	touched.Cas, touched.Exptime = 0, 90
	tests := []outcome{
		{"set of an explicit token", is77, named, &made{Value: "v"}, size(1)},
		{"the version is not its token", version, named, nil, is(subjects.StatusExists)},
		{"append", other(subjects.VerbAppend, 0), some, nil, is(subjects.StatusExists)},
		{"prepend", other(subjects.VerbPrepend, vivify), some, nil, is(subjects.StatusExists)},
		{"incr", other(subjects.VerbIncr, vivify), number("1"), nil, is(subjects.StatusExists)},
		{"decr", other(subjects.VerbDecr, 0), number("1"), nil, is(subjects.StatusExists)},
		{"incr of an empty value", other(subjects.VerbIncr, 0), empty, nil, is(subjects.StatusNonNumeric)},
		{"incr of text", other(subjects.VerbIncr, 0), some, nil, is(subjects.StatusExists)},
		{"delete", other(subjects.VerbDelete, subjects.OptionStale), some, nil, is(subjects.StatusExists)},
		{"touch", other(subjects.VerbTouch, 0), some, nil, is(subjects.StatusExists)},
		{"fetch", other(subjects.VerbFetch, vivify), some, nil, is(subjects.StatusExists)},
		{"add asks none", other(subjects.VerbAdd, 0), none, &made{Value: "v"}, size(1)},
		{"add to a value", other(subjects.VerbAdd, 0), some, nil, is(subjects.StatusNotStored)},
		{"replace of nothing", other(subjects.VerbReplace, 0), none, nil, is(subjects.StatusNotFound)},
		{"append to nothing", other(subjects.VerbAppend, 0), none, nil, is(subjects.StatusNotStored)},
		{"append makes one", other(subjects.VerbAppend, vivify), none, &made{Value: "v", Expiry: 1060}, size(1)},
		{"prepend makes one", other(subjects.VerbPrepend, vivify), none, &made{Value: "v", Expiry: 1060}, size(1)},
		{"decr makes one", other(subjects.VerbDecr, vivify), none, &made{Value: "40", Expiry: 1060}, counted("40", 2, 1060)},
		{"incr touches", touched, number("1"), &made{Value: "2", Flags: 7, Expiry: 1090}, counted("2", 1, 1090)},
		{"incr that makes one does not", touched, none, &made{Value: "40", Expiry: 1060}, counted("40", 2, 1060)},
	}
	for _, tt := range tests {
		t.Run(tt.name, tt.check)
	}
}

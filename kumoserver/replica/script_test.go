package replica_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv/sim"
)

var update = flag.Bool("update", false, "write the effects that scripts have now as those that they should have")

// TestScripts plays testdata/*.txt: lines of events, a line of dashes, and the
// effects that they must have. Lines that begin with # are for the reader.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(b))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(strings.Split(string(b), "\n"), strings.Split(got, "\n")); d != "" {
				t.Error(d)
			}
		})
	}
}

// play returns the script with the effects that its events have.
func play(t *testing.T, text string) string {
	t.Helper()
	out := &strings.Builder{}
	s := &script{t: t, now: 1e9, grants: true, peers: map[ring.NodeID]ring.Process{}, options: replica.Defaults()}
	s.options.Silence, s.options.Stall = 500e6, 0
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		events, _, _ := strings.Cut(block+"\n", "----\n")
		out.WriteString(events)
		var effects []string
		for _, line := range strings.Split(strings.TrimSpace(events), "\n") {
			if line != "" && !strings.HasPrefix(line, "#") {
				effects = append(effects, s.line(line)...)
				s.events++
			}
		}
		if s.events > 0 {
			s.events = 0
			out.WriteString("----\n" + strings.Join(append(effects, ""), "\n"))
		}
		out.WriteString("\n")
	}
	return strings.TrimSpace(out.String()) + "\n"
}

// script is one machine at one store.
type script struct {
	t      *testing.T
	m      *replica.Replica
	store  *memory
	self   ring.Process
	now    int64
	events int
	args   args
	// grants: leases are granted at once, and not shown, unless a script begins
	// with "leases".
	grants bool
	peers  map[ring.NodeID]ring.Process // the newest process of each store
	// options are the defaults with short silences; time passes in one tick, which
	// is an excuse for nobody unless a script begins with other options.
	options replica.Options
}

// line plays one event and lists its effects.
func (s *script) line(line string) (effects []string) {
	s.t.Helper()
	words := strings.Fields(line)
	s.args = args{t: s.t, line: line, words: words[1:]}
	switch words[0] {
	case "begin":
		s.begin()
		return nil
	case "status":
		st := s.m.Status()
		line := fmt.Sprintf("promised %d tail %s commit %d leading %v serving %v incomplete %v waiting %d", st.Promised, st.Tail, st.Commit, st.Leading, st.Serving, st.Incomplete, st.Waiting)
		if st.Unclean {
			line += " unclean"
		}
		if st.Damaged {
			line += " damaged"
		}
		return []string{line}
	case "flip": // a stored record
		s.store.bad = map[string]bool{s.args.text("key"): true}
		return nil
	case "trim":
		s.store.trim(s.args.number("to"))
		return nil
	case "leases":
		s.grants = false
		return nil
	case "options":
		s.options.Stall = int64(s.args.number("stall")) * 1e6
		s.options.Replay = s.args.number("replay")
		s.options.Chunk = int(s.args.number("chunk"))
		return nil
	case "tick": // passes time first
		s.now += int64(s.args.number("ms")) * 1e6
	}
	var wanted []replica.WantLease
	if by := s.args.text("by"); by != "" {
		p := s.args.process("by")
		s.peers[p.Store] = p
	}
	for _, e := range s.m.Step(s.event(words[0])) {
		if w, ok := e.(replica.WantLease); ok && s.grants {
			wanted = append(wanted, w)
			continue
		}
		effects = append(effects, sim.Show(e))
		s.store.do(s.t, e)
	}
	for _, w := range wanted { // everybody grants what is asked
		for _, e := range s.m.Step(replica.Granted{From: s.peers[w.To], Epoch: w.Epoch, Sent: s.now, Length: subjects.DefaultLease, Now: s.now}) {
			if serve, ok := e.(replica.Serve); ok && words[0] == "tick" && serve.On {
				continue // renewed
			}
			effects = append(effects, sim.Show(e))
			s.store.do(s.t, e)
		}
	}
	return effects
}

// begin starts a process, on the store that there is if nothing is said.
func (s *script) begin() {
	a := s.args
	s.self = a.process("self")
	if outline := a.outline("log"); s.store == nil || outline != nil || a.has("incomplete") {
		s.store = newMemory(s.self, outline)
		s.store.state.Promised = ring.Epoch(a.number("promised"))
		s.store.state.Commit = a.number("commit")
		if a.has("incomplete") && outline == nil {
			s.store.state.Outline = nil
		}
		s.store.state.Incomplete, s.store.state.Unclean = a.has("incomplete"), a.has("unclean")
		for _, e := range s.store.entries {
			if e.Version.Seq <= s.store.state.Commit {
				s.store.apply(e)
			}
		}
	}
	o := s.options
	o.Confirm = a.has("confirming")
	s.m = replica.New(0, s.self, s.begun(), s.store, o)
}

// begun is the state of a store at the start of a process.
func (s *script) begun() replica.State {
	st := s.store.recovered()
	st.Now = s.now
	if s.grants { // what the process before granted is long over
		st.Now -= 10e9
	}
	return st
}

func (s *script) event(kind string) replica.Event {
	a := s.args
	switch kind {
	case "configure":
		return replica.Configure{Config: ring.Config{Epoch: ring.Epoch(a.number("e")), Primary: a.process("primary"), ISR: a.nodes("isr"), Learners: a.nodes("learners"), Unclean: a.nodes("uncleans"), Forced: a.has("forced"), Target: a.nodes("target")}, Now: s.now}
	case "propose":
		return s.propose()
	case "expire":
		return &replica.Expire{ID: a.number("id"), Key: []byte(a.text("key")), Now: s.now, Clock: s.clock()}
	case "asked":
		return replica.LeaseAsked{From: a.process("by"), Epoch: ring.Epoch(a.number("e")), Now: s.now}
	case "granted":
		length := int64(a.number("length")) * 1e6
		if length == 0 {
			length = subjects.DefaultLease
		}
		return replica.Granted{From: a.process("by"), Epoch: ring.Epoch(a.number("e")), Sent: s.now - int64(a.number("ago"))*1e6, Length: length, Now: s.now}
	case "confirm":
		return &replica.Confirm{ID: a.number("id"), Epoch: ring.Epoch(a.number("e")), Reply: subjects.Reply{Status: subjects.StatusOK, Value: []byte(a.text("value"))}, Now: s.now}
	case "damaged":
		return replica.Damaged{Now: s.now}
	case "died":
		return replica.Died{Process: a.process("by"), Now: s.now}
	case "logged":
		l := replica.Logged{Tail: a.version("tail"), Promised: s.m.Status().Promised}
		if a.has("promised") {
			l.Promised = ring.Epoch(a.number("promised"))
		}
		return l
	case "turn":
		return replica.Turn{}
	case "tick":
		return replica.Tick{Now: s.now, Held: a.has("held")}
	case "range-read":
		return replica.RangeRead{
			To: ring.NodeID(a.number("to")), Epoch: ring.Epoch(a.number("e")), From: []byte(a.text("from")), Next: []byte(a.text("next")),
			Last: a.has("last"), Through: a.number("through"), Records: a.records(),
		}
	}
	return replica.Receive{Msg: s.message(kind), Now: s.now}
}

// clock is the wall clock, a second after the Unix epoch at the start, unless
// the line gives another.
func (s *script) clock() int64 {
	if c := s.args.number("clock"); c != 0 {
		return int64(c)
	}
	return s.now / 1e6
}

var verbs = map[string]subjects.Verb{
	"set": subjects.VerbSet, "add": subjects.VerbAdd, "replace": subjects.VerbReplace, "append": subjects.VerbAppend,
	"delete": subjects.VerbDelete, "incr": subjects.VerbIncr, "decr": subjects.VerbDecr, "touch": subjects.VerbTouch, "flush": subjects.VerbFlush,
	"fetch": subjects.VerbFetch,
}

// options are written with a + before them, for a word of the same name is a verb.
var options = map[string]uint32{"+vivify": subjects.OptionVivify, "+stale": subjects.OptionStale, "+touch": subjects.OptionTouch, "+token": subjects.OptionToken}

func (s *script) propose() *replica.Propose {
	a := s.args
	w := &subjects.Write{
		Key: []byte(a.text("key")), Value: []byte(a.text("value")), Cas: a.version("cas").CAS(),
		Op:      subjects.OpID{Boot: ring.BootID(a.number("gateway")), N: a.number("n"), Lowest: a.number("lowest")},
		Attempt: uint32(a.number("attempt")),
		Exptime: int64(a.number("exptime")), Delta: a.number("delta"), Epoch: ring.Epoch(a.number("e")),
		Vivify: int64(a.number("vivify")), Token: a.number("token"),
	}
	for _, word := range a.words {
		if v, ok := verbs[word]; ok {
			w.Verb = v
		}
		w.Options |= options[word]
	}
	return &replica.Propose{ID: a.number("id"), Write: w, Now: s.now, Clock: s.clock()}
}

func (s *script) message(kind string) any {
	a := s.args
	h := subjects.Header{Epoch: ring.Epoch(a.number("e")), From: a.process("by"), Commit: a.number("commit")}
	answer := subjects.AnswerOK
	for word, is := range map[string]subjects.Answer{"gap": subjects.AnswerGap, "refused": subjects.AnswerRefused, "fault": subjects.AnswerFault} {
		if a.has(word) {
			answer = is
		}
	}
	switch kind {
	case "prepare":
		m := &subjects.Prepare{Header: h, Entries: a.entries()}
		if len(m.Entries) > 0 {
			m.Prev = m.Entries[0].Prev
		} else {
			m.Prev = a.version("prev")
		}
		return m
	case "prepare-reply":
		return &subjects.PrepareReply{Header: h, Answer: answer, Tail: a.version("tail")}
	case "epoch-start":
		return &subjects.EpochStart{Header: h, Outline: a.outline("outline"), ISR: a.nodes("isr"), Learners: a.nodes("learners"), Restart: a.has("restart"), Base: a.version("base")}
	case "epoch-reply":
		m := &subjects.EpochReply{Header: h, Answer: answer, Outline: a.outline("outline"), Incomplete: a.has("incomplete"), Cursor: []byte(a.text("cursor")), Try: 1 << 32}
		if a.has("try") { // else it answers the newest
			m.Try = a.number("try")
		}
		return m
	case "range":
		return &subjects.Range{Header: h, From: []byte(a.text("from")), To: []byte(a.text("next")), Last: a.has("last"), Through: a.number("through"), Records: a.records()}
	case "range-reply":
		return &subjects.RangeReply{Header: h, Answer: answer, Cursor: []byte(a.text("cursor")), Complete: a.has("complete")}
	}
	s.t.Fatalf("%q: no such event", a.line)
	return nil
}

// args are the words of a line: name=value, or a bare name.
type args struct {
	t     *testing.T
	line  string
	words []string
}

func (a args) has(name string) bool { return slices.Contains(a.words, name) }

func (a args) text(name string) string {
	for _, w := range a.words {
		if v, ok := strings.CutPrefix(w, name+"="); ok {
			return v
		}
	}
	return ""
}

func (a args) list(name string) []string {
	if s := a.text(name); s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

func (a args) must(v uint64, err error) uint64 {
	a.t.Helper()
	if err != nil {
		a.t.Fatalf("%q: %v", a.line, err)
	}
	return v
}

func (a args) number(name string) uint64 {
	a.t.Helper()
	s := a.text(name)
	if s == "" {
		return 0
	}
	return a.must(strconv.ParseUint(s, 10, 64))
}

func (a args) version(name string) subjects.Version { return a.parse(a.text(name)) }

func (a args) parse(s string) subjects.Version {
	a.t.Helper()
	if s == "" {
		return subjects.Version{}
	}
	epoch, seq, _ := strings.Cut(s, ".")
	return subjects.Version{Epoch: ring.Epoch(a.must(strconv.ParseUint(epoch, 10, 64))), Seq: a.must(strconv.ParseUint(seq, 10, 64))}
}

func (a args) process(name string) ring.Process {
	a.t.Helper()
	store, boot, _ := strings.Cut(a.text(name), "/")
	return ring.Process{Store: ring.NodeID(a.must(strconv.ParseUint(store, 10, 64))), Boot: ring.BootID(a.must(strconv.ParseUint(boot, 10, 64)))}
}

func (a args) nodes(name string) (ids []ring.NodeID) {
	for _, s := range a.list(name) {
		ids = append(ids, ring.NodeID(a.must(strconv.ParseUint(s, 10, 64))))
	}
	return ids
}

func (a args) outline(name string) (o subjects.Outline) {
	for _, s := range a.list(name) {
		o = append(o, a.parse(s))
	}
	return o
}

// records reads key:value@version.
func (a args) records() (recs []subjects.Record) {
	for _, s := range a.list("records") {
		key, rest, _ := strings.Cut(s, ":")
		value, version, _ := strings.Cut(rest, "@")
		recs = append(recs, subjects.Record{Key: []byte(key), Value: []byte(value), Version: a.parse(version)})
	}
	return recs
}

// entries reads version:key:value, the first after prev; without a value a key
// is deleted.
func (a args) entries() (es []*subjects.Entry) {
	prev := a.version("prev")
	for _, s := range a.list("entries") {
		part := strings.Split(s, ":")
		e := &subjects.Entry{Version: a.parse(part[0]), Prev: prev, Kind: subjects.EntryDelete, Key: []byte(part[1]), Answer: subjects.StatusOK}
		if len(part) > 2 {
			e.Kind, e.Value = subjects.EntryPut, []byte(part[2])
		}
		e.Encode(nil)
		es, prev = append(es, e), e.Version
	}
	return es
}

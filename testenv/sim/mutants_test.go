package sim_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var mutants = flag.Bool("mutants", false, "break the replication machine in known ways and see that seeds convict each")

// mutant is one line of the machine made wrong. None is ever part of the
// product: the compiler is given another file in place of its own.
type mutant struct {
	name     string
	file     string // in kumoserver/replica
	old, new string
}

var breaks = []mutant{
	{"a commit does not wait for every replica", "lead.go",
		`	for _, p := range l.peers {
		if !l.required(p) {
			continue
		}
		if p.state == starting {`,
		`	for i, p := range l.peers {
		if !l.required(p) || i == 1 {
			continue
		}
		if p.state == starting {`},
	{"who was asked for is not required", "lead.go",
		`return !p.learner || p.joining || slices.Contains(l.asked, p.id)`,
		`return !p.learner || p.joining && l.ask == nil`},
	{"a joining learner is not required", "lead.go",
		`return !p.learner || p.joining || slices.Contains(l.asked, p.id)`,
		`return !p.learner`},
	{"a learner is certified before it has caught up", "lead.go",
		`p.complete && p.match >= p.joinAt &&`, `p.complete &&`},
	{"an incomplete learner is certified", "peer.go",
		`if !p.learner || p.state != replicating || !p.complete || p.silent {
		return
	}`, `if !p.learner || p.state != replicating || p.silent {
		return
	}
	p.complete = true`},
	{"a replica does not cut", "backup.go",
		`		r.cut(m.Epoch, shared)`, `		r.promise(m.Epoch)`},
	{"a replica cuts again at a late EpochStart", "backup.go",
		`case r.tail.Epoch == m.Epoch:`, `case false:`},
	{"a late order to begin anew is obeyed", "backup.go",
		`(!ok || shared.Seq < m.Base.Seq)`, `true`},
	{"entries are visible at replicas before they commit", "backup.go",
		`r.commitTo(min(m.Commit, r.tail.Seq))`, `r.commitTo(r.tail.Seq)`},
	{"a range is not brought up to date", "backup.go",
		`if r.catchUp(m) {`, `if true {`},
	{"messages of an older epoch are taken", "backup.go",
		`if h.Epoch == r.promised && h.From == r.leader && r.lead == nil && !r.faulty {`, `if r.lead == nil {`},
	{"a lower epoch is promised again", "backup.go",
		`if m.Epoch < r.promised || m.Epoch == r.promised`, `if m.Epoch == r.promised`},
	{"a gap is filled with whatever comes", "backup.go",
		`case e.Prev != r.tail:`, `case e.Prev.Seq > r.tail.Seq+1:`},
	{"a primary acknowledges what is not durable", "lead.go",
		`commit := r.durable`, `commit := r.tail.Seq`},
	{"a replica acknowledges what is not durable", "replica.go",
		`Tail: r.tail}, true)
	}
}`, `Tail: r.tail}, false)
	}
}`},
	{"a new primary shows what is of unknown fate", "lead.go",
		`		l.hide()`, `		l.hidden = nil`},
	{"leases are not looked at", "lease.go",
		`until = min(until, p.lease)`, `until = max(until, p.lease)`},
	{"a grant does not bind its giver", "lease.go",
		`if g.to != r.self && r.now < g.until {`, `if g.to != r.self && r.now < 0 {`},
	{"a restarted process forgets what it granted", "replica.go",
		`if s.Promised > 0 {`, `if s.Promised > 0 && o.Lease == 0 {`},
	{"all grants end with an answer to EpochStart", "peer.go",
		`r.release(func(g grant) bool { return g.to.Store == p.id })`, `r.grants = nil`},
	{"a lease counts from its answer and lasts as long as its grant", "lease.go",
		`p.lease = max(p.lease, ev.Sent+r.o.Lease)`, `p.lease = max(p.lease, ev.Now+r.o.Grant)`},
	{"a replica that does not follow grants", "lease.go",
		`if r.lead != nil || ev.Epoch != r.promised || ev.From != r.leader || r.faulty || r.unclean {`, `if r.lead != nil {`},
	{"a new primary does not ask its replicas", "lead.go",
		`if p.state == starting {
			commit = 0`, `if p.state == starting {
			continue`},
	{"a write is judged against what has committed", "judge.go",
		`if e, ok := r.lead.newest[string(key)]; ok {`, `if e, ok := r.lead.newest[string(key)]; ok && false {`},
	{"a failing answer does not wait", "judge.go",
		`	case open:
		l.wait(`, `	case open && r.p > 99:
		l.wait(`},
	{"a repeat of what is prepared is taken again", "judge.go",
		`if e := l.byOp[opKey{op.Boot, op.N}]; e != nil {`, `if e := l.byOp[opKey{op.Boot, op.N}]; e != nil && r.p > 99 {`},
	{"a repeat of what has committed is taken again", "judge.go",
		`	return past != subjects.PastUnknown`, `	return false`},
	{"what is over takes effect", "judge.go",
		`	case subjects.PastOver:
		r.answer(ev.ID, subjects.StatusUnknown)`, `	case subjects.PastOver:
		past = subjects.PastUnknown`},
	{"a failure of a later attempt is not recorded", "judge.go",
		`case w.Attempt > 1 && w.Op.Boot != 0:`, `case w.Attempt > 99:`},
	{"a new primary forgets who made what it rolls forward", "lead.go",
		`				l.prepared(e)`, `				l.prepared(e)
				clear(l.byOp)`},
	{"answers do not travel with the data", "peer.go",
		`m.Sessions = r.log.Sessions()`, `m.Sessions = (&subjects.Sessions{}).Append(nil)`},
	{"a late report of a complete stream counts", "peer.go",
		`if p == nil || !p.learner || p.complete || m.Commit < p.base.Seq {`, `if p == nil || !p.learner || p.complete {`},
	{"a restarted process does not say hello", "lease.go",
		`		r.hello(ev.From)`, ``},
	{"a commit index is told once", "peer.go",
		`|| p.knows < r.commit && r.now-p.toldAt >= r.o.Resend)`, `)`},
	{"a learner begins anew after what is not committed", "peer.go",
		`r.outline.At(r.commit), false`, `r.tail, false`},
}

var convicted = regexp.MustCompile(`(?m)^\s*(seed \d+ \([\w, ]+\), at .*)$`)

func TestMutants(t *testing.T) {
	if !*mutants {
		t.Skip("no -mutants given")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range breaks {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			path := filepath.Join(root, "kumoserver/replica", m.file)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(src), m.old) != 1 {
				t.Fatalf("%s has the line to break %d times", m.file, strings.Count(string(src), m.old))
			}
			dir := t.TempDir()
			broken := filepath.Join(dir, m.file)
			write(t, broken, []byte(strings.Replace(string(src), m.old, m.new, 1)))
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "overlay.json"), overlay)
			cmd := exec.Command("go", "test", "-count=1", "-overlay="+filepath.Join(dir, "overlay.json"), "-run", "TestSeeds$", ".", "-seeds=20000")
			out, err := cmd.CombinedOutput()
			found := convicted.FindSubmatch(out)
			switch {
			case err == nil:
				t.Error("nothing found it")
			case found == nil:
				t.Errorf("not convicted but broken:\n%s", out)
			default:
				t.Logf("%s", found[1])
			}
		})
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// Options say what run to make. Start from Defaults.
type Options struct {
	Seed     uint64
	Duration time.Duration // of the trouble
	Shape
	Clients    int
	Keys       int           // in use at a time
	Rate       int           // operations a second, of all clients together
	Rotate     time.Duration // until other keys are used
	Partitions int
	Dir        string   // for the cluster; left if the run fails
	Leave      bool     // or in any case
	Result     string   // file for the result, from the beginning on
	Net        *Network // nil: nothing is cut
	Plan       []Event  // nil: drawn from the seed
	// Flat looks at what the daemons use all along, and has the run fail if that
	// grows.
	Flat bool
}

// Defaults draw the cluster's shape from the seed.
func Defaults(seed uint64) Options {
	rng := rand.New(rand.NewPCG(seed, 1<<32))
	return Options{
		Seed: seed, Duration: time.Minute, Clients: 32, Keys: 32, Rate: 1600, Rotate: 5 * time.Second, Partitions: 32,
		Shape: Shape{Managers: 2 + rng.IntN(2), Servers: 3 + rng.IntN(2), Gateways: 2},
	}
}

// Bounds of what comes after the trouble.
const (
	healWithin  = 2 * time.Minute // until all is in sync, once nothing is broken any more
	afterwards  = 2 * time.Second // that clients go on for
	auditWithin = time.Minute
	checkKey    = 30 * time.Second // porcupine, for one key
	checkSome   = 5 * time.Second  // and for a key without some of what is open
	auditors    = 4
	checkers    = 2
	baseKeys    = 400 // that are written once, before the trouble
)

// run is one run.
type run struct {
	t       testing.TB
	o       Options
	cluster *testenv.Cluster
	clients *clients
	nemeses *nemeses
	result  *Result
}

// Run starts a cluster, lets clients work on it while a plan is carried out,
// heals everything, reads back all that was written and judges what the clients
// saw. The test fails if anything is not as it must be.
func Run(t testing.TB, o Options) *Result {
	t.Helper()
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	o.Shape.Net = o.Net != nil
	r := &run{t: t, o: o, result: &Result{Seed: o.Seed, Shape: o.Shape.String(), Nemeses: map[Kind]int{}}}
	t.Cleanup(func() {
		if !t.Failed() && r.result.Undecided == 0 && !o.Leave {
			os.RemoveAll(o.Dir)
		}
	})
	options := []testenv.Option{testenv.Processes(), testenv.Partitions(o.Partitions), testenv.Folder(o.Dir)}
	if o.Net != nil {
		options = append(options, testenv.Namespaces(&o.Net.layout, o.Net.Prefix))
	} else {
		options = append(options, testenv.Managers(o.Managers), testenv.Servers(o.Servers), testenv.Gateways(o.Gateways))
	}
	if o.Flat {
		options = append(options, smallBounds()...)
	}
	r.cluster = testenv.New(t, options...)
	r.cluster.EventuallyWhole()
	plan := o.Plan
	if plan == nil {
		plan = Plan(o.Seed, o.Duration, o.Shape)
	}
	r.keepPlan(plan)
	for _, e := range plan {
		r.result.Nemeses[e.Kind]++
	}
	r.save("hang or crash") // unless it says otherwise below
	r.work(plan)
	r.check()
	r.report()
	r.save(r.result.Verdict)
	return r.result
}

// problem notes what is wrong. The first one is the verdict.
func (r *run) problem(verdict, format string, args ...any) {
	r.t.Helper()
	text := fmt.Sprintf(format, args...)
	if r.result.Verdict == "" {
		r.result.Verdict = verdict
	}
	r.result.Problems = append(r.result.Problems, verdict+": "+text)
	r.t.Errorf("%s: %s", verdict, text)
}

// work has clients at work through the plan, the healing and some time after.
func (r *run) work(plan []Event) {
	layout := r.cluster.Layout()
	if r.o.Flat {
		defer r.warm()()
	}
	began := time.Now()
	r.clients = &clients{o: &r.o, gateways: layout.Addrs(subjects.RoleGateway), began: began, history: &History{}, busy: make([]atomic.Int32, r.o.Keys)}
	r.nemeses = newNemeses(r.cluster.Cluster, r.o.Net, r.o.Shape, began)
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for i := range r.o.Clients {
		w := r.clients.worker(i)
		working.Go(func() { w.base(ctx); w.run(ctx) })
	}
	stop := sync.OnceFunc(func() {
		cancel()
		working.Wait()
		r.result.Duration = time.Since(began)
	})
	defer stop()

	if r.o.Flat {
		defer r.watch()()
	}
	if err := r.nemeses.play(ctx, plan); err != nil {
		r.problem("misbehaviour", "%v", err)
	}
	pause(ctx, time.Until(began.Add(r.o.Duration))) // the last fault may be long ago
	if err := r.nemeses.heal(); err != nil {
		r.problem("misbehaviour", "%v", err)
	}
	r.nemeses.say("all is healed")
	healed := time.Now()
	if why := r.whole(); why != "" {
		r.problem("hang", "not in sync within %s of the healing: %s", healWithin, why)
		r.stacks()
		return
	}
	r.nemeses.say("all is in sync")
	r.result.Healing = time.Since(healed)
	before := r.clients.answered.Load()
	pause(ctx, afterwards)
	if n := r.clients.answered.Load() - before; n == 0 {
		r.problem("hang", "no operation was answered in %s after all was in sync", afterwards)
		r.stacks()
		return
	}
	stop()
	r.audit()
}

// base writes a client's share of the keys that stay as they are.
func (w *worker) base(ctx context.Context) {
	for i := w.n; i < baseKeys && ctx.Err() == nil; i += w.o.Clients {
		if w.conn != nil || w.dial() {
			w.do(&Op{Verb: "set", Key: fmt.Sprint("base-", i), Value: fmt.Sprintf("%d:%01000d", i, i)})
		}
	}
}

// whole waits until every node is up and every partition has its copies in
// sync, where they belong. It returns why not.
func (r *run) whole() (why string) {
	ctx, cancel := context.WithTimeout(context.Background(), healWithin)
	defer cancel()
	for {
		why = r.lacks(ctx)
		if why == "" || !pause(ctx, 100*time.Millisecond) {
			return why
		}
	}
}

func (r *run) lacks(ctx context.Context) string {
	short, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	st, err := r.cluster.Admin().Status(short)
	if err != nil {
		return err.Error()
	}
	up := 0
	for _, n := range st.Nodes {
		switch n.State {
		case "up":
			up++
		case "new":
			if _, err := r.cluster.Admin().Attach(short, n.Addr); err != nil {
				return err.Error()
			}
		}
		if n.State != "up" && !(n.Role == subjects.RoleGateway && n.State == "down") {
			return n.Name + " is " + n.State
		}
	}
	p := st.Partitions
	switch {
	case up < len(r.o.all()):
		return fmt.Sprintf("%d of %d nodes are up", up, len(r.o.all()))
	case p.Total == 0 || p.Full < p.Total || st.Moves.Pending > 0:
		return fmt.Sprintf("%d of %d partitions are whole, %d copies not where they should be", p.Full, p.Total, st.Moves.Pending)
	case p.Loss > 0:
		return fmt.Sprintf("possible loss in %d partitions", p.Loss)
	}
	return ""
}

// stacks keeps what the cluster says of itself, and lets every daemon print what
// its goroutines do, and end.
func (r *run) stacks() {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	st, err := r.cluster.Admin().Status(ctx)
	text, _ := json.MarshalIndent(st, "", " ")
	r.keep("status.txt", fmt.Sprintf("%s\nerror: %v\n", text, err))
	for _, name := range r.o.all() {
		if pid := r.cluster.PID(name); pid != 0 {
			if err := syscall.Kill(pid, syscall.SIGQUIT); err == nil {
				<-r.cluster.Ended(name)
			}
		}
	}
}

// audit reads every key that was ever used; what it reads is part of the key's
// history.
func (r *run) audit() {
	ctx, cancel := context.WithTimeout(context.Background(), auditWithin)
	defer cancel()
	keys := make(chan string)
	var wg sync.WaitGroup
	for i := range auditors {
		w := r.clients.worker(r.o.Clients + i)
		wg.Go(func() {
			defer w.hangUp()
			for key := range keys {
				if err := w.read(ctx, key); err != nil {
					r.clients.complain(err.Error())
				}
			}
		})
	}
	for _, key := range r.clients.history.Keys() {
		keys <- key
	}
	close(keys)
	wg.Wait()
}

// check judges all histories.
func (r *run) check() {
	c := r.clients
	for _, s := range c.wrong {
		r.problem("wrong answer", "%s", s)
	}
	r.result.Operations, r.result.Unknown, r.result.Refused = c.asked.Load(), c.unknown.Load(), c.refused.Load()
	r.result.Longest, r.result.Silence = time.Duration(c.longest.Load()), time.Duration(c.silence.Load())
	v := Judge(c.history)
	r.result.Undecided = len(v.Undecided)
	for _, key := range slices.Concat(v.Illegal, v.Undecided) {
		r.keep("history-"+key+".txt", Tell(c.history.ops[key]))
	}
	for _, key := range v.Illegal {
		path := filepath.Join(r.o.Dir, "history-"+key+".html")
		verdict := Explain(c.history.ops[key], r.o.Clients, path)
		r.problem(verdict, "%s; its history, drawn in %s:\n%s", key, path, Tell(c.history.ops[key]))
	}
}

// save leaves the result so far, with a verdict, for whoever started the run.
func (r *run) save(verdict string) {
	if r.o.Result == "" {
		return
	}
	res := *r.result
	res.Verdict = verdict
	if err := res.save(r.o.Result); err != nil {
		r.t.Errorf("save the result: %v", err)
	}
}

// keepPlan leaves the plan where a shorter one can be made of it by hand.
func (r *run) keepPlan(plan []Event) {
	text, err := json.MarshalIndent(plan, "", " ")
	if err != nil {
		r.t.Fatal(err)
	}
	r.keep("plan.json", string(text))
}

func (r *run) keep(name, text string) {
	if err := os.WriteFile(filepath.Join(r.o.Dir, name), []byte(text), 0o644); err != nil {
		r.t.Errorf("keep %s: %v", name, err)
	}
}

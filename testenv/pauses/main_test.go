package pauses_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
	"github.com/etolabo/kumofs/testenv/pauses"
)

var (
	measure     = flag.Bool("measure", false, "run the scenarios, which take minutes")
	results     = flag.String("results", pauses.Results, "the file that reports are appended to; empty for none")
	times       = flag.Int("times", 0, "how often each fault is made; 0 for as often as the scenario's bar asks")
	duration    = flag.Duration("duration", 0, "how long a long scenario lasts; 0 for as long as its bar asks")
	size        = flag.Int64("size", 1<<30, "bytes on each node in TestFullRestart")
	rate        = flag.Int("rate", 3000, "operations a second in TestJoin")
	managers    = flag.Int("managers", 3, "managers of the cluster")
	partitions  = flag.Int("partitions", 64, "partitions of the cluster")
	serverArgs  = flag.String("server-args", "", "further options of the servers, as in --failover=lease")
	managerArgs = flag.String("manager-args", "", "further options of the managers")
	gatewayArgs = flag.String("gateway-args", "", "further options of the gateways")
	patience    = flag.Int("patience", 10, "how many stretches of 3 s to wait for one without stalls before a fault")
	keep        = flag.String("keep", "", "an empty folder for the cluster, which is kept")
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// scenario is one measurement under way.
type scenario struct {
	*testing.T
	c      *testenv.Cluster
	p      *pauses.Prober
	report pauses.Report
	loud   int // faults that were made although the machine stalled before
}

// begin starts a cluster of processes, for tests that were asked to measure.
func begin(t *testing.T, name string, options ...testenv.Option) *scenario {
	t.Helper()
	if !*measure {
		t.Skip("measures, which takes minutes: -measure")
	}
	options = append([]testenv.Option{
		testenv.Processes(), testenv.Managers(*managers), testenv.Gateways(2), testenv.Partitions(*partitions),
		testenv.Args(subjects.RoleServer, strings.Fields(*serverArgs)...),
		testenv.Args(subjects.RoleManager, strings.Fields(*managerArgs)...),
		testenv.Args(subjects.RoleGateway, strings.Fields(*gatewayArgs)...),
		func(o *local.Options) {
			if *keep != "" {
				o.Dir = *keep
			}
		},
	}, options...)
	s := &scenario{T: t, c: testenv.New(t, options...)}
	s.c.EventuallyWhole()
	s.settle()
	s.report.Scenario = name
	s.report.Cluster = fmt.Sprintf("%d managers, %d servers, %d gateways, %d partitions", len(s.c.Names(subjects.RoleManager)),
		len(s.c.Names(subjects.RoleServer)), len(s.c.Names(subjects.RoleGateway)), *partitions)
	for _, args := range []string{*serverArgs, *managerArgs, *gatewayArgs} {
		if args != "" {
			s.report.Cluster += ", " + args
		}
	}
	t.Cleanup(func() {
		if s.loud > 0 {
			s.report.Cluster += fmt.Sprintf("; %d faults on a machine that stalled", s.loud)
		}
		if *results == "" {
			return
		}
		if err := s.report.Append(*results, time.Now()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// add takes a row into the report.
func (s *scenario) add(f pauses.Figure) {
	s.Helper()
	s.report.Add(s.T, f)
}

// settle waits until all copies are there and every partition is led by the
// node that is wished for.
func (s *scenario) settle() {
	s.Helper()
	s.c.EventuallyWhole()
	s.c.Eventually("every lead is where it should be", func() bool {
		t := s.c.Table()
		for _, c := range t.Partitions {
			if len(c.Target) == 0 || c.Primary.Store != c.Target[0] || !t.Alive(c.Primary) {
				return false
			}
		}
		return true
	})
}

// afterFault is how long clients are watched behind a fault, and before it.
const afterFault = 3 * time.Second

// calm waits for a stretch without stalls, so that a pause that follows is the
// fault's and not the machine's. It does not wait for ever: a busy machine is
// measured too, and said to be one. It returns what was seen meanwhile.
func (s *scenario) calm() {
	s.Helper()
	for range *patience {
		now := time.Now()
		s.p.Wait(now.Add(afterFault))
		if w := s.p.Before(now.Add(afterFault), afterFault, pauses.Everywhere); max(w.Reads, w.Writes) <= calmBelow {
			return
		}
	}
	s.loud++
}

// calmBelow is the latency that a calm machine does not exceed.
const calmBelow = 60 * ms

// roles are the partitions that a node leads, and those that it follows.
func roles(t *ring.Table, addr string) (leads, follows func(ring.Partition) bool) {
	n, _ := t.NodeNamed(addr)
	leads = func(p ring.Partition) bool { return t.Partitions[p].Primary.Store == n.ID }
	follows = func(p ring.Partition) bool { return t.Partitions[p].HasISR(n.ID) && !leads(p) }
	return leads, follows
}

// epochs counts all changes of configurations so far.
func epochs(t *ring.Table) (sum int) {
	for _, c := range t.Partitions {
		sum += int(c.Epoch)
	}
	return sum
}

// repeats is how often to do what the bar wants done n times.
func repeats(n int) int {
	if *times > 0 {
		return *times
	}
	return n
}

// lasting is how long to do what the bar wants done for d.
func lasting(d time.Duration) time.Duration {
	if *duration > 0 {
		return *duration
	}
	return d
}

const ms = time.Millisecond

// leaseOnly reports whether the servers are told not to trust proofs of death.
func leaseOnly() bool { return strings.Contains(*serverArgs, "failover=lease") }

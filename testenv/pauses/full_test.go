package pauses_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
	"github.com/etolabo/kumofs/testenv/pauses"
)

// TestFullRestart ends every process, with SIGKILL and in good order, and
// measures how long it takes from the start of the first until every partition
// is read and written again, without a command.
func TestFullRestart(t *testing.T) {
	s := begin(t, "full restart")
	const value = 10_000
	s.fill(int(*size/value), value)
	s.report.Cluster += fmt.Sprintf(", %d MB on each node", *size/1_000_000)
	var nodes []string
	for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer, subjects.RoleGateway} {
		nodes = append(nodes, s.c.Names(role)...)
	}
	keys := s.keys()
	for _, how := range []struct {
		what string
		end  func()
	}{
		{"every process was killed", func() { s.c.Kill(nodes...) }},
		{"every process was stopped in good order", func() { s.stopAll(nodes) }},
	} {
		var took pauses.Series
		var lost atomic.Int64
		for i := range repeats(3) {
			s.check(keys, func(m *testenv.Client, key string) error { return m.Set(key, fmt.Sprint(how.what, i)) })
			how.end()
			began := time.Now()
			s.c.Start(nodes...)
			s.check(keys, func(m *testenv.Client, key string) error {
				v, err := m.Get(key)
				if err == nil && v != fmt.Sprint(how.what, i) {
					lost.Add(1)
				}
				return err
			})
			reads := time.Since(began)
			s.check(keys, func(m *testenv.Client, key string) error { return m.Set(key, "again") })
			took = append(took, time.Since(began))
			t.Logf("%s: reads after %s, writes after %s", how.what, reads, took[len(took)-1])
			s.c.Ready()
			s.settle()
		}
		s.add(pauses.Pause(how.what+": until all is served again", took, nil, pauses.Bar{Worst: 10 * time.Second}))
		s.add(pauses.Count(how.what+": acknowledged writes lost", len(took), int(lost.Load()), 0, 0))
	}
}

// keys are one of each partition.
func (s *scenario) keys() []string {
	t := s.c.Table()
	keys := make([]string, t.Size())
	for n, left := 0, len(keys); left > 0; n++ {
		key := fmt.Sprint("restart-", n)
		if p := t.Of([]byte(key)); keys[p] == "" {
			keys[p] = key
			left--
		}
	}
	return keys
}

// check does something with every key, each through a connection of its own, and
// again until it works.
func (s *scenario) check(keys []string, do func(*testenv.Client, string) error) {
	s.Helper()
	var wg sync.WaitGroup
	var failed atomic.Int64
	l := s.c.Layout()
	addr := l.Addrs(subjects.RoleGateway)[0]
	end := time.Now().Add(testenv.Patience)
	for _, key := range keys {
		wg.Go(func() {
			if !untilServed(addr, end, func(m *testenv.Client) error { return do(m, key) }) {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if n := failed.Load(); n > 0 {
		s.Fatalf("%d of %d keys were not served within %s", n, len(keys), testenv.Patience)
	}
}

// untilServed repeats something until it works, each time through a new
// connection.
func untilServed(addr string, end time.Time, do func(*testenv.Client) error) bool {
	tick := time.NewTicker(10 * ms)
	defer tick.Stop()
	for ; time.Now().Before(end); <-tick.C {
		m, err := testenv.DialMemcached(addr)
		if err != nil {
			continue
		}
		err = do(m)
		m.Close()
		if err == nil {
			return true
		}
	}
	return false
}

// stopAll stops nodes in good order, gateways first and managers last.
func (s *scenario) stopAll(nodes []string) {
	s.Helper()
	for i := range nodes {
		s.c.Stop(nodes[len(nodes)-1-i])
	}
}

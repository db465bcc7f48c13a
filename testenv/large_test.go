package testenv_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// Daemons need not agree on --max-item-size: a server that is told less than before
// still hands out what it has, and a gateway that takes more than the servers gathers
// what they all take.
func TestLargestValuesDiffer(t *testing.T) {
	const keys = 24
	more := []string{"--max-item-size", fmt.Sprint(4 << 20)}
	c := testenv.New(t, testenv.Processes(), testenv.Args(subjects.RoleServer, more...), testenv.Args(subjects.RoleGateway, more...))
	large, small := strings.Repeat("l", 3<<20), strings.Repeat("s", 300<<10)
	for i := range keys {
		c.Set(fmt.Sprint("large-", i), large)
	}
	servers := c.Names(subjects.RoleServer)
	c.SetArgs(subjects.RoleServer)
	c.Stop(servers...)
	c.Start(servers...)
	c.EventuallyWhole()
	for i := range keys {
		if v := c.Get(fmt.Sprint("large-", i)); v != large {
			t.Errorf("large-%d has %d bytes", i, len(v))
		}
	}
	m := c.Client(0)
	if err := m.Set("large-0", large); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("3 MiB where servers take 1 MiB: %v", err)
	}
	// At once, so that they wait for each other.
	done := make(chan error, keys)
	for i := range keys {
		m := c.Client(0)
		go func() { done <- m.Set(fmt.Sprint("small-", i), small) }()
	}
	for range keys {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

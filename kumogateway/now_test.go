package kumogateway_test

import (
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/subjects"
)

// Reads that are answered within the process keep the order of answers, and do not
// wait for what the client asked next.
func TestReadsWithinTheProcess(t *testing.T) {
	hub := bus.NewHub()
	nodes, servers := startNodesOn(t, hub, 2)
	c := dial(t, openGateway(t, servers, func(o *kumogateway.Options) {
		o.Hub, o.EnableFlushAll, o.OpTimeout = hub, true, 10*time.Minute
	}))
	c.send("set a 1 0 1\r\nx\r\nget a\r\nget b\r\nset b 2 0 2\r\nyz\r\nget a b c\r\nmg a v\r\ndelete a\r\nget a\r\n")
	c.expect("STORED\r\nVALUE a 1 1\r\nx\r\nEND\r\nEND\r\nSTORED\r\nVALUE a 1 1\r\nx\r\nVALUE b 2 2\r\nyz\r\nEND\r\n")
	c.expect("VA 1\r\nx\r\nDELETED\r\nEND\r\n")
	for _, n := range nodes {
		n.misbehave(func(write bool, _ string) *subjects.Status {
			if write {
				return told(0)
			}
			return nil
		})
	}
	c.send("get b\r\nflush_all\r\n") // which nobody answers
	c.expect("VALUE b 2 2\r\nyz\r\nEND\r\n")
}

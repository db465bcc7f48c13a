package testenv_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// Clients that ask for far more than they read must not keep a server from
// answering others.
func TestClientsThatNeverRead(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Servers(1), testenv.Gateways(2))
	c.Set("big", strings.Repeat("v", 1<<20))
	c.Set("small", "value")
	l := c.Layout()
	gateway := l.Addrs(subjects.RoleGateway)[0]
	ask := []byte(strings.Repeat("get big\r\n", 2000))
	for i := range 30 {
		nc, err := net.Dial("tcp", gateway)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(time.Second))
		if _, err := nc.Write(ask); err != nil {
			t.Logf("client %d: %v", i, err)
		}
	}
	for g := range 2 {
		m := c.Client(g)
		for i := range 50 {
			before := time.Now()
			if v, err := m.Get("small"); err != nil || v != "value" {
				t.Fatalf("get %d through gateway %d: %.10q, %v", i, g, v, err)
			}
			if took := time.Since(before); took > 5*time.Second {
				t.Fatalf("get %d through gateway %d took %s", i, g, took)
			}
		}
		if err := m.Set(fmt.Sprint("key-", g), "v"); err != nil {
			t.Fatal(err)
		}
	}
}

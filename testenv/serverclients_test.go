package testenv_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// A server that is given -t takes memcached clients itself, also for what others
// hold, and until the end of its good order.
func TestServerTakesClients(t *testing.T) {
	dir, err := os.MkdirTemp("", "kumo") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := testenv.New(t, testenv.Processes(), testenv.Servers(2), testenv.Replicas(2), testenv.Gateways(1))
	socket := filepath.Join(dir, "memcached")
	c.SetArgs(subjects.RoleServer, "-t", "unix:"+socket)
	third := c.AddServer()
	c.EventuallyState(third, "new")
	talk := func(lines string, answer string) {
		t.Helper()
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, lines)
		if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || got != answer {
			t.Fatalf("%q is answered %q, %v; want %q", lines, got, err, answer)
		}
	}
	for i := range 50 { // the server holds nothing yet
		talk(fmt.Sprintf("set k%d 0 0 1\r\n%d\r\n", i, i%10), "STORED\r\n")
	}
	c.Attach()
	c.EventuallyWhole()
	for i := range 50 { // and now a part
		talk(fmt.Sprintf("get k%d\r\n", i), fmt.Sprintf("VALUE k%d 0 1\r\n", i))
		talk(fmt.Sprintf("append k%d 0 0 1\r\n!\r\n", i), "STORED\r\n")
	}
	c.Stop(third)
	if got := c.Get("k7"); got != "7!" {
		t.Errorf("%q by a gateway, after the server stopped", got)
	}
}

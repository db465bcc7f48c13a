package local

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/etolabo/kumofs/subjects"
)

// options for a cluster that is never started, on an address of its own.
func options(t *testing.T, host string) Options {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs many loopback addresses")
	}
	o := Defaults()
	o.Dir, o.Host, o.MemcachedPort = t.TempDir(), host, 0
	return o
}

func open(t *testing.T, o Options) *Cluster {
	t.Helper()
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestLayoutIsKept(t *testing.T) {
	o := options(t, "127.0.17.1")
	o.Managers = 2
	c := open(t, o)
	first := c.Layout()
	want := []string{"127.0.17.1:19700", "127.0.17.1:19690", "127.0.17.1:19801", "127.0.17.1:19802", "127.0.17.1:19803"}
	got := append(first.Addrs(subjects.RoleManager), first.Addrs(subjects.RoleServer)...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	o.Managers, o.Servers, o.Host = 1, 4, "127.0.17.1"
	second := open(t, o).Layout()
	got = append(second.Addrs(subjects.RoleManager), second.Addrs(subjects.RoleServer)...)
	if diff := cmp.Diff(append(want, "127.0.17.1:19804"), got); diff != "" {
		t.Error(diff)
	}
}

func TestNewClusterEvadesTakenPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.17.2:19790") // the manager's route port
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	layout := open(t, options(t, "127.0.17.2")).Layout()
	if got := layout.Addrs(subjects.RoleManager)[0]; got != "127.0.17.2:20700" {
		t.Errorf("manager at %s", got)
	}
	if got := layout.Addrs(subjects.RoleServer)[0]; got != "127.0.17.2:20801" {
		t.Errorf("server at %s", got)
	}
}

func TestTakenPortsAreNamed(t *testing.T) {
	o := options(t, "127.0.17.3")
	c := open(t, o)
	c.Close()
	for _, tt := range []struct{ taken, node string }{
		{"127.0.17.3:19802", "server2"},
		{"127.0.17.3:19799", "manager1"},
	} {
		l, err := net.Listen("tcp", tt.taken)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(o)
		l.Close()
		var taken *PortError
		if !errors.As(err, &taken) || taken.Addr != tt.taken || taken.Node.Name != tt.node || !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s taken: %v", tt.taken, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.17.3:11211")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o.MemcachedPort = 11211
	var taken *PortError
	if _, err := Open(o); !errors.As(err, &taken) || taken.Node.Role != subjects.RoleGateway {
		t.Errorf("memcached port taken: %v", err)
	}
}

// A gateway that may have any port gets one that no outgoing connection takes
// before it listens, and no other node has.
func TestAnyMemcachedPort(t *testing.T) {
	l := &Layout{}
	l.addServer("127.0.17.6", firstFreePort-firstServerPort)
	for range 200 {
		n, err := l.addGateway("127.0.17.6", 0)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(n.Addr)
		if p, _ := strconv.Atoi(port); p < firstFreePort || p > lastFreePort {
			t.Errorf("port %s", port)
		}
	}
	seen := map[string]string{}
	for _, n := range l.Nodes {
		for _, addr := range n.ports() {
			if other := seen[addr]; other != "" {
				t.Errorf("%s is that of %s and %s", addr, other, n.Name)
			}
			seen[addr] = n.Name
		}
	}
}

func TestFolderIsLocked(t *testing.T) {
	o := options(t, "127.0.17.4")
	c := open(t, o)
	if _, err := Open(o); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), o.Dir) {
		t.Errorf("second: %v", err)
	}
	c.Close()
	open(t, o)
}

func TestDamagedLayout(t *testing.T) {
	o := options(t, "127.0.17.5")
	if err := os.WriteFile(filepath.Join(o.Dir, layoutFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), layoutFile) {
		t.Errorf("damaged layout: %v", err)
	}
}

// A node's process may live behind a prefix, at an address that is not this
// machine's.
func TestPrefix(t *testing.T) {
	o := options(t, "")
	o.Layout = &Layout{Cluster: "blue"}
	o.Layout.addManager("192.0.2.6", 0)
	o.Layout.addServer("192.0.2.7", 0)
	o.Servers, o.Managers, o.Gateways = 0, 0, 0
	o.Program = []string{"/bin/sh", "-c", "echo at $PLACE"}
	o.Prefix = func(n Node) []string { return []string{"/usr/bin/env", "PLACE=" + n.Name + "/" + n.Addr} }
	c := open(t, o)
	if err := c.StartNode("server1"); err != nil {
		t.Fatal(err)
	}
	<-c.Ended("server1")
	said, err := os.ReadFile(filepath.Join(o.Dir, "server1.log"))
	if want := "at server1/192.0.2.7:19801\n"; err != nil || string(said) != want {
		t.Errorf("it said %q (%v), want %q", said, err, want)
	}
	if _, err := c.AddServer(); err != nil {
		t.Errorf("add a server elsewhere: %v", err)
	}
}

func TestCommandLines(t *testing.T) {
	l := &Layout{Cluster: "blue"}
	l.addManager("10.0.0.1", 0)
	l.addManager("10.0.0.1", 0)
	l.addServer("10.0.0.1", 0)
	if _, err := l.addGateway("10.0.0.1", 11211); err != nil {
		t.Fatal(err)
	}
	s := Settings{Replicas: 2, Partitions: 64, Sync: "always", EnableFlushAll: true, Verbose: true,
		Args: map[subjects.Role][]string{subjects.RoleServer: {"--sync-every", "1"}}}
	want := []string{
		"manager --cluster blue --log-format text -v -l 10.0.0.1:19700 -s /d/manager1 -p 10.0.0.1:19690 --replicas 2 --partitions 64",
		"manager --cluster blue --log-format text -v -l 10.0.0.1:19690 -s /d/manager2 -p 10.0.0.1:19700 --replicas 2 --partitions 64",
		"server --cluster blue --log-format text -v -l 10.0.0.1:19801 -m 10.0.0.1:19700,10.0.0.1:19690 -s /d/server1 -L 19901 --sync always --sync-every 1",
		"gateway --cluster blue --log-format text -v -m 10.0.0.1:19700,10.0.0.1:19690 -m 10.0.0.1:19801 -t 10.0.0.1:11211 --enable-flush-all",
	}
	var got []string
	for _, n := range l.Nodes {
		got = append(got, strings.Join(s.command(l, n, "/d"), " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

package kumogateway_test

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumogateway"
)

// dialAt connects to one of a gateway's addresses, as they are listed.
func dialAt(t *testing.T, addr string) *client {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	nc, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { nc.Close() })
	return &client{t: t, nc: nc, r: bufio.NewReader(nc)}
}

// One gateway listens in several places at once: what is stored through one is
// read through the others.
func TestSeveralListeners(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	path := filepath.Join(t.TempDir(), "sock")
	listen := []string{"127.0.0.1:0", "127.0.0.1:0", "unix:" + path}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		listen = append(listen, "[::1]:0")
	}
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.Listen, o.SocketMode = listen, 0o640 })
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("the socket: %v, %v", fi, err)
	}
	first := dialAt(t, g.Addrs()[0])
	first.do("set k 0 0 1\r\nx\r\n", "STORED\r\n")
	for _, addr := range g.Addrs() {
		c := dialAt(t, addr)
		c.do("get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n")
		// A client that ends its half gets its answer.
		c.send("get k\r\nget none\r\n")
		c.nc.(interface{ CloseWrite() error }).CloseWrite()
		c.expect("VALUE k 0 1\r\nx\r\nEND\r\nEND\r\n")
	}
	if got := first.stats(" settings")["domain_socket"]; got != path {
		t.Errorf("domain_socket is %q", got)
	}
	g.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// The socket of a gateway that died is replaced; one that is in use, and a file,
// are not.
func TestUnixSocketThatIsThere(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	dir := t.TempDir()
	stale, used, file := filepath.Join(dir, "stale"), filepath.Join(dir, "used"), filepath.Join(dir, "file")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	other, err := net.Listen("unix", used)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.Listen = []string{"unix:" + stale} })
	dialAt(t, g.Addrs()[0]).do("get none\r\n", "END\r\n")
	o := kumogateway.Defaults()
	o.Cluster, o.Managers = "test", servers
	for path, want := range map[string]string{used: syscall.EADDRINUSE.Error(), file: "no socket", filepath.Join(dir, "no", "where"): "no such file"} {
		o.Listen = []string{"unix:" + path}
		if g, err := kumogateway.Open(o); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			if err == nil {
				g.Close()
			}
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if b, err := os.ReadFile(file); string(b) != "x" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

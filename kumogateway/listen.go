package kumogateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// unixPrefix begins an address that is a socket's path.
const unixPrefix = "unix:"

// listen opens one address: host:port, or unix:PATH, both as Options.Listen has
// them. The socket of a gateway that died is replaced, one that somebody answers on
// is not. Whoever can open a Unix socket is on this machine: it goes without TLS.
func listen(addr string, mode fs.FileMode) (entrance, error) {
	fail := func(err error) (entrance, error) {
		return entrance{}, fmt.Errorf("listen for memcached clients on %s: %w", addr, cause(err))
	}
	at, plain := strings.CutPrefix(addr, plainPrefix)
	path, ok := strings.CutPrefix(at, unixPrefix)
	if !ok {
		l, err := net.Listen("tcp", at)
		if err != nil {
			return fail(err)
		}
		return entrance{l, !plain}, nil
	}
	if err := removeStale(path); err != nil {
		return fail(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fail(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return fail(err)
	}
	return entrance{l, false}, nil
}

// removeStale removes a socket that nobody listens on any more.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file of that name, which is no socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return cause(err)
}

// address prints an address as options and statistics have it.
func address(a net.Addr) string {
	if a.Network() == "unix" {
		return unixPrefix + a.String()
	}
	return a.String()
}

// Addrs are the addresses that are listened on, in the order of Listen.
func (g *Gateway) Addrs() []string {
	addrs := make([]string, len(g.listeners))
	for i, l := range g.listeners {
		addrs[i] = address(l.Addr())
	}
	return addrs
}

// port is that of the first address that has one, "0" without.
func port(addrs []string) string {
	for _, a := range addrs {
		if _, p, err := net.SplitHostPort(a); err == nil && !strings.HasPrefix(a, unixPrefix) {
			return p
		}
	}
	return "0"
}

// socket is the path of the first Unix socket, "NULL" without, as memcached says.
func socket(addrs []string) string {
	for _, a := range addrs {
		if path, ok := strings.CutPrefix(a, unixPrefix); ok {
			return path
		}
	}
	return "NULL"
}

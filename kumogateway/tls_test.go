package kumogateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/testenv/certs"
)

// tlsGateway serves with TLS on its first address, without on its second and on a
// Unix socket.
func tlsGateway(t *testing.T, change func(*kumogateway.Options)) (*kumogateway.Gateway, *certs.Authority) {
	t.Helper()
	noLeaks(t)
	_, servers := startNodes(t, 1)
	a := certs.New(t)
	cert, key := a.Issue("gateway")
	dir, err := os.MkdirTemp("", "kumo") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return openGateway(t, servers, func(o *kumogateway.Options) {
		o.Listen = []string{"127.0.0.1:0", "notls:127.0.0.1:0", "unix:" + filepath.Join(dir, "s")}
		o.TLS = kumogateway.TLS{Cert: cert, Key: key}
		if change != nil {
			change(o)
		}
	}), a
}

// dialTLS connects to the first address; the error is that of the first answer, as
// a server's refusal of a certificate comes with that.
func dialTLS(t *testing.T, g *kumogateway.Gateway, config *tls.Config) (*client, error) {
	t.Helper()
	nc, err := net.Dial("tcp", g.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	c := tls.Client(nc, config)
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	cl := &client{t: t, nc: c, r: bufio.NewReader(c)}
	if _, err := io.WriteString(c, "mn\r\n"); err != nil {
		return nil, err
	}
	if line, err := cl.r.ReadString('\n'); err != nil || line != "MN\r\n" {
		return nil, fmt.Errorf("%q: %w", line, err)
	}
	return cl, nil
}

func mustDialTLS(t *testing.T, g *kumogateway.Gateway, config *tls.Config) *client {
	t.Helper()
	c, err := dialTLS(t, g, config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Ports with TLS and without stand side by side, and show the same.
func TestTLS(t *testing.T) {
	g, a := tlsGateway(t, nil)
	c := mustDialTLS(t, g, a.Client("", ""))
	c.do("set a 0 0 5\r\nhello\r\n", "STORED\r\n")
	for _, addr := range g.Addrs()[1:] {
		plain := dialAt(t, addr)
		plain.do("get a\r\n", "VALUE a 0 5\r\nhello\r\nEND\r\n")
		if s := plain.stats(""); s["ssl_connections"] != "1" || s["ssl_handshake_errors"] != "0" || s["curr_connections"] == "1" {
			t.Errorf("%v", s)
		}
		plain.nc.Close()
	}
	s := c.stats(" settings")
	if s["ssl_enabled"] != "yes" || s["ssl_verify_mode"] != "0" || s["ssl_min_version"] != "tlsv1.2" || s["tcpport"] == "0" {
		t.Errorf("%v", s)
	}
	// Large values go in many records, and pipelines.
	value := strings.Repeat("v", 1_000_000)
	c.do(fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
	c.do(strings.Repeat("get big\r\n", 5)+"get a\r\n", strings.Repeat(fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value), 5)+"VALUE a 0 5\r\nhello\r\nEND\r\n")
	// Byte by byte, and the end of our half.
	for _, b := range "get a\r\nget none\r\nquit\r\n" {
		c.send("%c", b)
	}
	c.expect("VALUE a 0 5\r\nhello\r\nEND\r\nEND\r\n")
	if got := c.rest(); got != "" {
		t.Errorf("after quit: %q", got)
	}
	c = mustDialTLS(t, g, a.Client("", ""))
	c.send("get a\r\n")
	c.nc.(*tls.Conn).CloseWrite()
	c.expect("VALUE a 0 5\r\nhello\r\nEND\r\n")
	if got := c.rest(); got != "" {
		t.Errorf("after the client's end: %q", got)
	}
}

// Old versions of TLS, clients without TLS, and those that say nothing come to
// nothing, and to nobody's harm.
func TestTLSRefuses(t *testing.T) {
	log := new(syncBuffer)
	g, a := tlsGateway(t, func(o *kumogateway.Options) { o.Log = slog.New(slog.NewTextHandler(log, nil)) })
	old := a.Client("", "")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := dialTLS(t, g, old); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	silent := dialAt(t, g.Addrs()[0])
	plain := dialAt(t, g.Addrs()[0])
	plain.send("get a\r\n")
	plain.expect("CLIENT_ERROR this port wants TLS\r\n")
	if s := dialAt(t, g.Addrs()[1]).stats(""); s["ssl_handshake_errors"] != "2" {
		t.Errorf("%s handshakes failed", s["ssl_handshake_errors"])
	}
	eventually(t, "the log says so", func() bool { // after the client was told
		return strings.Contains(log.String(), "does not begin with TLS")
	})
	// The converse is told by the port without.
	nc := dialAt(t, g.Addrs()[1])
	if err := tls.Client(nc.nc, a.Client("", "")).Handshake(); err == nil {
		t.Error("the port without TLS speaks it")
	}
	mustDialTLS(t, g, a.Client("", "")).do("get a\r\n", "END\r\n")
	g.Close() // which the silent one does not hold up
	silent.nc.Close()
}

// With --tls-client-ca only those come in whom the authority knows.
func TestMutualTLS(t *testing.T) {
	clients := certs.New(t)
	g, a := tlsGateway(t, func(o *kumogateway.Options) { o.TLS.ClientCA = clients.Path })
	for name, from := range map[string]*certs.Authority{"nobody": nil, "a stranger": certs.New(t), "the gateway's own": a} {
		cert, key := "", ""
		if from != nil {
			cert, key = from.Issue("client")
		}
		if _, err := dialTLS(t, g, a.Client(cert, key)); err == nil {
			t.Errorf("%s comes in", name)
		}
	}
	cert, key := clients.Issue("client")
	c := mustDialTLS(t, g, a.Client(cert, key))
	c.do("get a\r\n", "END\r\n")
	if s := c.stats(" settings"); s["ssl_verify_mode"] != "2" || s["ssl_ca_cert"] != clients.Path {
		t.Errorf("%v", s)
	}
}

// New certificates hold for who comes; files that make no sense change nothing, and
// who is there stays.
func TestTLSReload(t *testing.T) {
	g, a := tlsGateway(t, nil)
	there := mustDialTLS(t, g, a.Client("", ""))
	serial := func() string {
		return mustDialTLS(t, g, a.Client("", "")).nc.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	cert, _ := a.Issue("gateway")
	g.Reload()
	second := serial()
	if first == second {
		t.Error("the certificate is the old one")
	}
	if err := os.WriteFile(cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Reload()
	if serial() != second {
		t.Error("another certificate holds than before the file was damaged")
	}
	there.do("mn\r\n", "MN\r\n")
}

// A client that takes nothing is ended through TLS as well, and holds up nobody.
func TestTLSClientThatNeverReads(t *testing.T) {
	g, a := tlsGateway(t, func(o *kumogateway.Options) { o.MaxAnswers, o.StallTimeout = 256<<10, 100*time.Millisecond })
	good, bad := dialAt(t, g.Addrs()[1]), mustDialTLS(t, g, a.Client("", ""))
	value := strings.Repeat("v", 20_000)
	good.do(fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
	bad.nc.(*tls.Conn).NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
	bad.send("%s", strings.Repeat("get big\r\n", 1000))
	eventually(t, "the stalled client is ended", func() bool {
		good.do("get big\r\n", fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value))
		s := good.stats("")
		return s["idle_kicks"] == "1" && s["answer_bytes_held"] == "0" && s["ssl_connections"] == "0"
	})
}

func TestWrongTLSFiles(t *testing.T) {
	a := certs.New(t)
	cert, key := a.Issue("gateway")
	_, other := a.Issue("other")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, files := range map[string]kumogateway.TLS{
		"TLS needs a certificate and its key":  {Cert: cert},
		"TLS needs a certificate and its key ": {ClientCA: cert},
		"no such file":                         {Cert: cert, Key: key + "x"},
		"private key does not match":           {Cert: cert, Key: other},
		empty + ": no certificate in it":       {Cert: cert, Key: key, ClientCA: empty},
	} {
		o := kumogateway.Defaults()
		o.TLS = files
		if g, err := kumogateway.Open(o); err == nil {
			g.Close()
			t.Errorf("%+v is taken", files)
		} else if !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%+v: %v, want %q", files, err, want)
		}
	}
}

package kumogateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/kumogateway/memcache"
)

// TLS says with what files clients are served with TLS. With the zero value all
// are served without.
type TLS struct {
	Cert     string // PEM: the certificate, and those between it and its authority
	Key      string // PEM: its key
	ClientCA string // PEM: authorities, one of which must have signed each client's certificate; "": clients need none
}

// plainPrefix begins an address on which clients come without TLS although there
// is a certificate, as memcached's -l has it.
const plainPrefix = "notls:"

const (
	// handshakeFor is how long a client may take to begin with TLS.
	handshakeFor = 10 * time.Second
	// firstRead is how much of what an idle client sends is read before there is a
	// buffer for it: most requests.
	firstRead = 512
)

func (t TLS) on() bool { return t != TLS{} }

func (t TLS) check() error {
	if t.on() && (t.Cert == "" || t.Key == "") {
		return errors.New("TLS needs a certificate and its key")
	}
	return nil
}

// config reads the files.
func (t TLS) config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w", t.Cert, t.Key, err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if t.ClientCA == "" {
		return c, nil
	}
	text, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("TLS authorities of clients: %w", err)
	}
	c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !c.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("TLS authorities of clients: %s: no certificate in it", t.ClientCA)
	}
	return c, nil
}

// secure is TLS as it is in force.
type secure struct {
	files  TLS
	config atomic.Pointer[tls.Config] // for connections that come; never changed once stored
	failed atomic.Uint64              // handshakes
	open   atomic.Int64               // connections
	said   sometimes
}

// read reads the files; if they make no sense, all stays as it was.
func (s *secure) read() error {
	c, err := s.files.config()
	if err == nil {
		s.config.Store(c)
	}
	return err
}

// reload is read for files that are there to be changed.
func (s *secure) reload(log *slog.Logger) {
	if err := s.read(); err != nil {
		log.Warn("the TLS files cannot be read again: what they said before holds", "err", err)
		return
	}
	log.Info("read the TLS files again", "cert", s.files.Cert, "expires", s.expires())
}

// expires is when the certificate does, the zero time without TLS.
func (s *secure) expires() time.Time {
	if c := s.config.Load(); c != nil && c.Certificates[0].Leaf != nil {
		return c.Certificates[0].Leaf.NotAfter
	}
	return time.Time{}
}

// seal makes a connection one with TLS, before it is served.
func (c *conn) seal() {
	c.sealed = tls.Server(c.sock, c.g.secure.config.Load())
	c.nc, c.first = c.sealed, new([firstRead]byte)
}

// handshake begins with TLS and tells whether the client did, too.
func (c *conn) handshake() bool {
	c.g.secure.open.Add(1)
	c.mu.Lock()
	if !c.closing { // otherwise it has its deadline
		c.sock.SetDeadline(time.Now().Add(handshakeFor))
	}
	c.mu.Unlock()
	err := c.sealed.Handshake()
	if err == nil {
		c.sock.SetWriteDeadline(time.Time{})
		c.limited = true // deadline takes back that for reading
		return true
	}
	c.g.secure.failed.Add(1)
	plain := tls.RecordHeaderError{}
	if errors.As(err, &plain) && plain.Conn != nil && memcache.Sniff(plain.RecordHeader[0]) == memcache.SyntaxText {
		c.sock.Write([]byte(memcache.StatusWantsTLS.String() + "\r\n")) // who types or tests should not have to guess
	}
	c.g.secure.said.note(func(unsaid int) {
		c.g.o.Log.Warn("a client does not begin with TLS: connection closed", "client", c.sock.RemoteAddr(), "err", err, "unlogged", unsaid)
	})
	return false
}

// receiveSealed is receive through TLS. Where a connection is idle there is no
// telling whether something has come but to read it.
func (c *conn) receiveSealed() (int, error) {
	if c.w > 0 || len(c.buf) > readBuffer {
		return c.sealed.Read(c.buf[c.w:])
	}
	c.use(nil)
	n, err := c.sealed.Read(c.first[:])
	if n > 0 {
		c.use(c.g.buffers.Get().(*readBuf)[:])
		copy(c.buf, c.first[:n])
	}
	return n, err
}

// entrance is where clients come.
type entrance struct {
	net.Listener
	tls bool
}

// Reload reads the files again that may change while a gateway runs: certificates,
// which hold for connections that come, and users, which hold for all. What makes
// no sense is logged, and what there was before holds.
func (g *Gateway) Reload() {
	if g.secure.files.on() {
		g.secure.reload(g.o.Log)
	}
	if g.users != nil {
		g.users.reload()
	}
}

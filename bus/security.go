package bus

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Credentials are what a process shows to others, and by what it knows them. All
// connections are TLS with a certificate on both sides then; who connects to a
// member's client port shows an identity, too, which says what it may send and hear.
type Credentials struct {
	// Certificate is shown to whoever is at the other end of a client connection,
	// and Authorities sign what is shown there. A member's is for MemberName too,
	// whatever its address is.
	Certificate tls.Certificate
	Authorities *x509.CertPool
	MemberName  string
	Seed        []byte // of the NKey that this process connects with
	Inbox       string // begins the subjects where answers to its requests come
	Member      *MemberCredentials
}

// MemberCredentials are what a member needs beyond those of a client.
type MemberCredentials struct {
	// Certificate is shown to other members, whose are signed by Authorities, are for
	// MemberName and have a public key that Keys lists (PublicKey). No client has one
	// that these authorities signed.
	Certificate tls.Certificate
	Authorities *x509.CertPool
	Keys        []string
	Identities  []Identity // of clients
}

// Identity is who may connect: by the private key of an NKey, or by a password.
type Identity struct {
	Key      string // public NKey
	User     string // instead of Key
	Password string // of User: bcrypt's hash
	Rights   Rights
}

// Rights are the subjects on which somebody may send and hear; patterns as in
// Subscribe.
type Rights struct {
	Send, Hear []string
	NotHear    []string // of what Hear says
}

// PublicKey is how MemberCredentials.Keys name a certificate's public key: SHA-256
// in hex, as NATS pins certificates.
func PublicKey(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// Security holds the credentials of a process, which its connections and its member
// of the mesh share. They can be replaced while it runs.
type Security struct {
	now atomic.Pointer[held]

	replacing sync.Mutex
	mu        sync.Mutex
	buses     map[*Bus]struct{} // guarded by mu
}

// held are credentials that were checked.
type held struct {
	Credentials
	key    nkeys.KeyPair
	public string
	until  time.Time
}

// NewSecurity checks credentials.
func NewSecurity(c Credentials) (*Security, error) {
	h, err := hold(c)
	if err != nil {
		return nil, err
	}
	s := &Security{buses: map[*Bus]struct{}{}}
	s.now.Store(h)
	return s, nil
}

func hold(c Credentials) (*held, error) {
	key, err := nkeys.FromSeed(c.Seed)
	if err != nil {
		return nil, fmt.Errorf("the NKey's seed: %w", err)
	}
	public, err := key.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return nil, errors.New("the NKey's seed is not a user's")
	}
	h := &held{Credentials: c, key: key, public: public}
	certificates := []*tls.Certificate{&h.Certificate}
	if c.Member != nil {
		m := *c.Member
		h.Member = &m
		certificates = append(certificates, &m.Certificate)
	}
	for _, cert := range certificates {
		if len(cert.Certificate) == 0 {
			return nil, errors.New("a certificate is missing")
		}
		if cert.Leaf == nil {
			if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
				return nil, err
			}
		}
		if h.until.IsZero() || cert.Leaf.NotAfter.Before(h.until) {
			h.until = cert.Leaf.NotAfter
		}
	}
	return h, nil
}

// Until is when the first of the certificates expires; zero without a Security.
func (s *Security) Until() time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.now.Load().until
}

// Expires is Until in Unix seconds; 0 without a Security.
func (s *Security) Expires() int64 {
	if s == nil {
		return 0
	}
	return s.Until().Unix()
}

// Public is the public NKey of the process.
func (s *Security) Public() string { return s.now.Load().public }

// Replace has everything of the process go on with other credentials. A member takes
// them over as it runs: connections stay, but for those whose identity or key is not
// listed any more. Clients connect anew, once somebody has accepted the new
// credentials; if nobody does, the old ones stay in force and the error says why.
func (s *Security) Replace(c Credentials) error {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	was := s.now.Load()
	next, err := hold(c)
	if err != nil {
		return err
	}
	if was.sameAs(next) {
		return nil
	}
	s.mu.Lock()
	buses := make([]*Bus, 0, len(s.buses))
	for b := range s.buses {
		buses = append(buses, b)
	}
	s.mu.Unlock()
	// A member first: a client in this process may need what it is told.
	slices.SortFunc(buses, func(a, b *Bus) int { return rank(a) - rank(b) })
	for i, b := range buses {
		if err := b.try(next); err != nil {
			for _, undo := range buses[:i] {
				err = errors.Join(err, undo.try(was))
			}
			return fmt.Errorf("the new credentials are not used: %w", err)
		}
	}
	s.now.Store(next)
	if was.sameClient(next) {
		return nil
	}
	for _, b := range buses {
		b.reconnect()
	}
	return nil
}

func rank(b *Bus) int {
	if b.srv != nil {
		return 0
	}
	return 1
}

// sameClient tells whether others see no difference.
func (h *held) sameClient(o *held) bool {
	return h.public == o.public && sameCertificate(h.Certificate, o.Certificate) &&
		h.Authorities.Equal(o.Authorities) && h.MemberName == o.MemberName
}

func (h *held) sameAs(o *held) bool {
	if !h.sameClient(o) || (h.Member == nil) != (o.Member == nil) {
		return false
	}
	if h.Member == nil {
		return true
	}
	a, b := h.Member, o.Member
	return sameCertificate(a.Certificate, b.Certificate) && a.Authorities.Equal(b.Authorities) &&
		slices.Equal(a.Keys, b.Keys) && slices.EqualFunc(a.Identities, b.Identities, Identity.equal)
}

func sameCertificate(a, b tls.Certificate) bool {
	return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
}

func (i Identity) equal(o Identity) bool {
	return i.Key == o.Key && i.User == o.User && i.Password == o.Password &&
		slices.Equal(i.Rights.Send, o.Rights.Send) && slices.Equal(i.Rights.Hear, o.Rights.Hear) &&
		slices.Equal(i.Rights.NotHear, o.Rights.NotHear)
}

func (s *Security) join(b *Bus) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buses[b] = struct{}{}
}

func (s *Security) leave(b *Bus) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.buses, b)
}

// try has a member take credentials over, and a client find out whether they are
// accepted.
func (b *Bus) try(h *held) error {
	if b.srv != nil {
		return b.reload(func() { b.secure(b.srvOptions, h) })
	}
	trial := &Security{buses: map[*Bus]struct{}{}}
	trial.now.Store(h)
	d := newDialer(b.dialCtx, trial)
	opts := append(d.options(), nats.Name(b.name), nats.Timeout(dialTimeout))
	nc, err := dialNATS(b.nc.Servers(), opts)
	if err != nil {
		return fmt.Errorf("none of %v takes them: %w", b.nc.Servers(), err)
	}
	nc.Close()
	return nil
}

// reconnect has connections that leave the process be made anew.
func (b *Bus) reconnect() {
	if b.srv == nil {
		b.log.Info("bus: connecting anew with other credentials")
		if err := b.nc.ForceReconnect(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			b.log.Warn("bus: connection", "err", err)
		}
	}
	for _, c := range b.everyCaller() {
		c.mu.RLock()
		links := make([]*link, 0, len(c.links))
		for _, l := range c.links {
			links = append(links, l)
		}
		c.mu.RUnlock()
		for _, l := range links {
			l.reconnect()
		}
	}
}

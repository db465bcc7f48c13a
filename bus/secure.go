package bus

import (
	"crypto/tls"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// tlsTimeout is how long a handshake may take, in seconds: busy machines take long.
const tlsTimeout = 5

// inProcessOnly is NATS's word for a connection that does not leave the process.
const inProcessOnly = "IN_PROCESS"

// inboxes begin all subjects on which requests are answered. A member answers
// nowhere else, so that nobody has it speak in its own name to others.
const inboxes = "_INBOX"

// ownIdentity is that of a member's own connections: of a key that nobody else has, and
// that is made anew by each process, so that it outlives any change of credentials.
type ownIdentity struct {
	key    nkeys.KeyPair
	public string
}

func newOwnIdentity() (*ownIdentity, error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	public, err := key.PublicKey()
	return &ownIdentity{key, public}, err
}

// options are those of the in-process connection.
func (o *ownIdentity) options() []nats.Option {
	return []nats.Option{nats.Nkey(o.public, o.key.Sign)}
}

// secure puts credentials into the embedded server's options.
func (b *Bus) secure(so *server.Options, h *held) {
	m := h.Member
	so.TLSConfig = &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{h.Certificate},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              h.Authorities,
		SessionTicketsDisabled: true, // a ticket would outlive what it was given for
	}
	// Before the handshake nothing is said, not even what speaks here.
	so.TLSHandshakeFirst = true
	so.TLSTimeout = tlsTimeout
	so.Cluster.TLSConfig = &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{m.Certificate},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              m.Authorities,
		RootCAs:                m.Authorities,
		ServerName:             h.MemberName,
		SessionTicketsDisabled: true,
	}
	so.Cluster.TLSTimeout = tlsTimeout
	so.Cluster.TLSPinnedCerts = server.PinnedCertSet{}
	for _, k := range m.Keys {
		so.Cluster.TLSPinnedCerts[k] = struct{}{}
	}
	within := map[string]struct{}{inProcessOnly: {}}
	so.Nkeys = []*server.NkeyUser{
		{Nkey: b.own.public, AllowedConnectionTypes: within},
		{Nkey: b.answers.own.public, AllowedConnectionTypes: within, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{inboxes + ".>"}},
		}},
	}
	so.Users = nil
	for _, i := range m.Identities {
		if i.Key != "" {
			so.Nkeys = append(so.Nkeys, &server.NkeyUser{Nkey: i.Key, Permissions: i.Rights.permissions()})
		} else {
			so.Users = append(so.Users, &server.User{Username: i.User, Password: i.Password, Permissions: i.Rights.permissions()})
		}
	}
}

// permissions are NATS's.
func (r Rights) permissions() *server.Permissions {
	p := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: r.Send},
		Subscribe: &server.SubjectPermission{Allow: r.Hear, Deny: r.NotHear},
	}
	// NATS takes an empty list for everything.
	if len(r.Send) == 0 {
		p.Publish = &server.SubjectPermission{Deny: []string{">"}}
	}
	if len(r.Hear) == 0 {
		p.Subscribe = &server.SubjectPermission{Deny: []string{">"}}
	}
	return p
}

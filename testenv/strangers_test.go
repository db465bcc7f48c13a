package testenv_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoctl/credentials"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// Who has no credentials, those of another cluster, or half of some, gets in nowhere.
func TestStrangers(t *testing.T) {
	t.Parallel()
	dir, other := newCredentials(t), newCredentials(t)
	store, err := credentials.Open(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.SetPassword("observer", "watcher", "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	c := small(t, dir)
	addr := c.Addr("server1")
	ours, theirs := loaded(t, dir, subjects.RoleObserver), loaded(t, other, subjects.RoleObserver)
	mixed := tlsOf(ours) // their certificate, and our authorities: it takes us for what we are
	mixed.Certificates = tlsOf(theirs).Certificates

	for name, options := range map[string][]nats.Option{
		"no NKey":                        {nats.Secure(tlsOf(ours))},
		"NKey of another cluster":        {nats.Secure(tlsOf(ours)), nkeyOf(t, theirs)},
		"certificate of another cluster": {nats.Secure(mixed), nkeyOf(t, ours)},
		"no certificate": {nats.Secure(&tls.Config{RootCAs: ours.Credentials().Authorities, ServerName: credentials.MemberName}),
			nkeyOf(t, ours)},
		"wrong password":      {nats.Secure(tlsOf(ours)), nats.UserInfo("watcher", "wrong horse battery")},
		"unknown name":        {nats.Secure(tlsOf(ours)), nats.UserInfo("nobody", "correct horse battery")},
		"hash for a password": {nats.Secure(tlsOf(ours)), nats.UserInfo("watcher", hashIn(t, dir))},
	} {
		if g, err := newGuest(t, addr, name, options...); err == nil {
			t.Errorf("%s: got in: %v", name, g.nc.ConnectedUrl())
		}
	}
	// The other way round, a client does not take somebody else's member for ours.
	if _, err := newGuest(t, addr, "wrong authority", nats.Secure(tlsOf(theirs)), nkeyOf(t, theirs)); err == nil {
		t.Error("a client of another cluster takes this one's member for its own")
	}
	g := comesIn(t, c, "the right password", nats.Secure(tlsOf(ours)), nats.UserInfo("watcher", "correct horse battery"))
	s := g.subscribe("kumo.kumo.heartbeat.*")
	if _, err := s.NextMsg(testenv.Patience); err != nil {
		t.Errorf("the right password hears nothing: %v", err)
	}
	g.subscribe("kumodata.>")
	g.done()
	g.refused("hear kumodata.>")
}

// hashIn is the hash of the only password in the list of identities.
func hashIn(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "manager", "identities"))
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(text), "$2a$1")
	if at < 0 {
		t.Fatalf("no hash in %s", text)
	}
	return strings.TrimSpace(string(text[at:]))
}

// Without TLS nobody is told anything, not even that NATS speaks here, and nothing
// that he says is heard.
func TestPlainConnectionsSeeNothing(t *testing.T) {
	t.Parallel()
	dir := newCredentials(t)
	c := small(t, dir)
	member := comeAs(t, c, dir, subjects.RoleServer)
	s := member.subscribe("kumo.kumo.event.*")
	member.done()
	for _, addr := range []string{c.Addr("server1"), c.Addr("manager1"), routeAddr(t, c, "server1")} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(testenv.Patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "CONNECT {\"verbose\":false}\r\nPUB kumo.kumo.event.x 2\r\nhi\r\nSUB > 1\r\n"); err != nil {
			t.Fatal(err)
		}
		// What comes is an alert of TLS's at most.
		if said, err := io.ReadAll(conn); strings.ContainsAny(string(said), "{}") || len(said) > 20 {
			t.Errorf("%s says %q, %v to a plain connection", addr, said, err)
		}
	}
	if err := member.nc.Publish("kumo.kumo.event.last", []byte("last")); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := s.NextMsg(testenv.Patience)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) == "hi" {
			t.Errorf("a message without TLS was heard")
		}
		if string(m.Data) == "last" {
			return
		}
	}
}

// routeAddr is where a server's routes connect.
func routeAddr(t *testing.T, c *testenv.Cluster, name string) string {
	t.Helper()
	for _, n := range c.Layout().Nodes {
		if n.Name == name {
			host, _, _ := net.SplitHostPort(n.Addr)
			return net.JoinHostPort(host, strconv.Itoa(n.Port))
		}
	}
	t.Fatalf("no node is called %s", name)
	return ""
}

// A member of the mesh needs a certificate of the mesh's authority that is listed. The
// others' let nobody in there, nor does one that was retired.
func TestRoutesNeedAMembersCertificate(t *testing.T) {
	t.Parallel()
	dir := newCredentials(t)
	old := loaded(t, dir, subjects.RoleServer).Credentials()
	store, err := credentials.Open(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Rotate("server"); err != nil {
		t.Fatal(err)
	}
	if n, err := store.Retire("server"); n != 2 || err != nil {
		t.Fatalf("%d retired, %v; want NKey and certificate", n, err)
	}
	c := small(t, dir)
	server, gateway := loaded(t, dir, subjects.RoleServer).Credentials(), loaded(t, dir, subjects.RoleGateway).Credentials()
	for name, tt := range map[string]struct {
		cert tls.Certificate
		in   bool
	}{
		"a server's":           {server.Member.Certificate, true},
		"a gateway's":          {gateway.Certificate, false},
		"an admin's":           {loaded(t, dir, subjects.RoleAdmin).Credentials().Certificate, false},
		"a server's, clients'": {server.Certificate, false},
		"a retired one":        {old.Member.Certificate, false},
		"none":                 {tls.Certificate{}, false},
	} {
		err := joinMesh(routeAddr(t, c, "server1"), tt.cert, server)
		if (err == nil) != tt.in {
			t.Errorf("with %s certificate: %v", name, err)
		}
	}
	// A whole member with them does not come in either.
	stranger := server
	member := *server.Member
	member.Certificate, member.Keys = gateway.Certificate, append(member.Keys, bus.PublicKey(gateway.Certificate.Leaf))
	stranger.Member = &member
	s, err := bus.NewSecurity(stranger)
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ := net.SplitHostPort(c.Addr("server1"))
	b, err := bus.Open(bus.Options{
		Name: "stranger", Mesh: subjects.DefaultCluster, Listen: host + ":0", RouteListen: host + ":0",
		Routes: []string{routeAddr(t, c, "server1")}, Security: s,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c.Fill(50) // in which time it tries
	c.VerifyFill(50)
	if peers := b.Peers(); len(peers) > 0 {
		t.Errorf("a stranger has routes to %v", peers)
	}
}

// joinMesh makes a connection for routes and waits until the member says INFO.
func joinMesh(addr string, cert tls.Certificate, as bus.Credentials) error {
	config := &tls.Config{RootCAs: as.Member.Authorities, ServerName: credentials.MemberName}
	if cert.Certificate != nil {
		config.Certificates = []tls.Certificate{cert}
	}
	d := net.Dialer{Timeout: testenv.Patience}
	conn, err := tls.DialWithDialer(&d, "tcp", addr, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testenv.Patience)); err != nil {
		return err
	}
	said := make([]byte, 5)
	if _, err := io.ReadFull(conn, said); err != nil {
		return err
	}
	if string(said) != "INFO " {
		return fmt.Errorf("it says %q", said)
	}
	return nil
}

// Whoever asks cannot have a member speak in its name where he may not: answers go to
// inboxes, and those of reads to gateways' subjects.
func TestAnswersGoToInboxesOnly(t *testing.T) {
	t.Parallel()
	dir := newCredentials(t)
	c := small(t, dir)
	gateway, member := comeAs(t, c, dir, subjects.RoleGateway), comeAs(t, c, dir, subjects.RoleServer)
	ring, events := member.subscribe("kumo.kumo.ring"), member.subscribe("kumo.kumo.event.*")
	member.done()
	for _, subject := range []string{"kumo.kumo.ring.get", "kumo.kumo.ring.latest", "kumo.kumo.admin.status"} {
		for _, reply := range []string{"kumo.kumo.ring", "kumo.kumo.event.x"} {
			if err := gateway.nc.PublishRequest(subject, reply, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		c.Eventually(subject+" is answered", func() bool { // what came before was worked on, then
			_, err := gateway.nc.Request(subject, nil, time.Second)
			return err == nil
		})
	}
	gateway.notRefused("asks")
	// Nor can it lend itself the right to answer.
	if err := gateway.nc.PublishRequest("kumo.kumo.heartbeat.gw.x", "kumo.kumo.ring", nil); err != nil {
		t.Fatal(err)
	}
	gateway.done()
	if err := gateway.nc.Publish("kumo.kumo.ring", []byte("forged")); err != nil {
		t.Fatal(err)
	}
	gateway.done()
	gateway.refused("send on kumo.kumo.ring")
	if err := member.nc.Publish("kumo.kumo.event.last", []byte("last")); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := events.NextMsg(testenv.Patience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == "kumo.kumo.event.x" {
			t.Errorf("an answer came as an event: %.80s", m.Data)
		}
		if m.Subject == "kumo.kumo.event.last" {
			break
		}
	}
	for n, _, _ := ring.Pending(); n > 0; n, _, _ = ring.Pending() {
		m, err := ring.NextMsg(testenv.Patience)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(m.Data), `"update"`) || strings.Contains(string(m.Data), `"data"`) || string(m.Data) == "forged" {
			t.Errorf("an answer came as a table: %.80s", m.Data)
		}
	}
}

// Whoever asks with a reply subject of his choice lends the right to send there to
// nobody: not to NATS's own answers about services, and not to a gateway.
func TestQuestionsLendNoRights(t *testing.T) {
	t.Parallel()
	dir := newCredentials(t)
	c := small(t, dir)
	asks, gateway := comeAs(t, c, dir, subjects.RoleReadonly), comeAs(t, c, dir, subjects.RoleGateway)
	member := comeAs(t, c, dir, subjects.RoleServer)
	events := member.subscribe("kumo.kumo.event.*")
	questions := gateway.subscribe("kumo.kumo.gw.x.admin.stat")
	member.done()
	gateway.done()
	ask := func(subject, reply string) {
		t.Helper()
		if err := asks.nc.PublishRequest(subject, reply, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		for _, name := range []string{"", ".kumo-server", ".kumo-manager"} {
			ask("$SRV."+verb+name, "kumo.kumo.event.forged")
			c.Eventually(verb+name+" is answered", func() bool { // and what was asked before
				_, err := asks.nc.Request("$SRV."+verb+name, nil, time.Second)
				return err == nil
			})
		}
	}
	c.Eventually("the gateway hears the question", func() bool {
		ask("kumo.kumo.gw.x.admin.stat", "kumo.kumo.event.forged")
		_, err := questions.NextMsg(time.Second)
		return err == nil
	})
	if err := gateway.nc.Publish("kumo.kumo.event.forged", []byte("forged")); err != nil {
		t.Fatal(err)
	}
	gateway.done()
	gateway.refused("send on kumo.kumo.event.forged")
	asks.notRefused("asks")
	if err := member.nc.Publish("kumo.kumo.event.last", []byte("last")); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := events.NextMsg(testenv.Patience)
		switch {
		case err != nil:
			t.Fatal(err)
		case m.Subject == "kumo.kumo.event.forged":
			t.Errorf("an answer came as an event: %.80s", m.Data)
		case m.Subject == "kumo.kumo.event.last":
			return
		}
	}
}

// A client that may not do something is told so, and need not wait.
func TestForbiddenRequestsFailAtOnce(t *testing.T) {
	t.Parallel()
	dir := newCredentials(t)
	c := small(t, dir)
	s, err := bus.NewSecurity(loaded(t, dir, subjects.RoleReadonly).Credentials())
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.Dial(bus.DialOptions{Name: "readonly", URLs: []string{c.Addr("manager1")}, Security: s})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Request(t.Context(), "kumo.kumo.admin.status", nil); err != nil {
		t.Errorf("status: %v", err)
	}
	if _, err := b.Request(t.Context(), "kumo.kumo.admin.attach", nil); !errors.Is(err, bus.ErrForbidden) {
		t.Errorf("attach: %v, want %v", err, bus.ErrForbidden)
	}
}

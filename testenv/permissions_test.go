package testenv_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/etolabo/kumofs/kumoctl/credentials"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// newCredentials makes a folder of credentials for a cluster on loopback addresses.
func newCredentials(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "credentials")
	if err := credentials.Init(dir, subjects.DefaultCluster, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// small is a cluster with credentials that costs little: one server.
func small(t *testing.T, dir string) *testenv.Cluster {
	t.Helper()
	return testenv.New(t, testenv.Servers(1), testenv.Replicas(1), testenv.Partitions(4), testenv.Credentials(dir))
}

// loaded reads a role's folder.
func loaded(t *testing.T, dir string, role subjects.Role) *credentials.Folder {
	t.Helper()
	f, err := credentials.Load(filepath.Join(dir, string(role)), role)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// tlsOf is how a program of its own shows a folder's certificate.
func tlsOf(f *credentials.Folder) *tls.Config {
	c := f.Credentials()
	return &tls.Config{Certificates: []tls.Certificate{c.Certificate}, RootCAs: c.Authorities, ServerName: credentials.MemberName}
}

func nkeyOf(t *testing.T, f *credentials.Folder) nats.Option {
	t.Helper()
	key, err := nkeys.FromSeed(f.Credentials().Seed)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return nats.Nkey(public, key.Sign)
}

// guest is somebody on the bus, by NATS's own client.
type guest struct {
	t        *testing.T
	name     string
	nc       *nats.Conn
	refusals chan error
}

func newGuest(t *testing.T, addr, name string, options ...nats.Option) (*guest, error) {
	g := &guest{t: t, name: name, refusals: make(chan error, 100)}
	options = append(options, nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.Timeout(testenv.Patience),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { g.refusals <- err }))
	var err error
	if g.nc, err = nats.Connect("nats://"+addr, options...); err != nil {
		return nil, err
	}
	t.Cleanup(g.nc.Close)
	return g, nil
}

// comeAs connects with a role's credentials.
func comeAs(t *testing.T, c *testenv.Cluster, dir string, role subjects.Role) *guest {
	t.Helper()
	f := loaded(t, dir, role)
	return comesIn(t, c, string(role), nats.Secure(tlsOf(f)), nkeyOf(t, f), nats.CustomInboxPrefix(f.Credentials().Inbox))
}

// comesIn connects with what must be accepted. A member that is slow to look at it may
// send a PING meanwhile, which NATS's client takes amiss.
func comesIn(t *testing.T, c *testenv.Cluster, name string, options ...nats.Option) (g *guest) {
	t.Helper()
	c.Eventually(name+" gets in", func() bool {
		var err error
		if g, err = newGuest(t, c.Addr("server1"), name, options...); err != nil {
			t.Logf("%s: %v", name, err)
		}
		return err == nil
	})
	return g
}

// done waits until the member has seen everything that the guest did. What it refuses
// it says before it answers.
func (g *guest) done() {
	g.t.Helper()
	if err := g.nc.FlushTimeout(testenv.Patience); err != nil {
		g.t.Fatalf("%s: %v", g.name, err)
	}
}

// refused waits for NATS to say that something was not allowed.
func (g *guest) refused(what string) {
	g.t.Helper()
	select {
	case err := <-g.refusals:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			g.t.Errorf("%s %s: %v, want a permissions violation", g.name, what, err)
		}
	case <-time.After(testenv.Patience):
		g.t.Errorf("%s may %s, and must not", g.name, what)
	}
}

func (g *guest) notRefused(what string) {
	g.t.Helper()
	select {
	case err := <-g.refusals:
		g.t.Errorf("%s %s: %v", g.name, what, err)
	default:
	}
}

// subscribe listens on a subject.
func (g *guest) subscribe(subject string) *nats.Subscription {
	g.t.Helper()
	s, err := g.nc.SubscribeSync(subject)
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

// hears waits for one message, apart from what the cluster says itself.
func (g *guest) hears(s *nats.Subscription, text string) {
	g.t.Helper()
	for end := time.Now().Add(testenv.Patience); ; {
		m, err := s.NextMsg(time.Until(end))
		if err != nil {
			g.t.Errorf("%s does not hear %q on %s: %v", g.name, text, s.Subject, err)
			return
		}
		if string(m.Data) == text {
			return
		}
	}
}

// tries are subjects to try, one for each pattern of the table and some that are
// nobody's, with who may send and hear.
func tries() map[string]subjects.Right {
	cluster := subjects.Cluster(subjects.DefaultCluster)
	concrete := func(pattern string) string {
		pattern = strings.ReplaceAll(pattern, ">", "PING")
		return strings.ReplaceAll(pattern, "*", "x")
	}
	all := map[string]subjects.Right{
		"foo": {}, "kumo.other.ring": {}, "kumodata.kumo.x": {}, "kumodata.other.srv.x.part.x.read": {},
		"$SYS.REQ.SERVER.PING": {}, "$JS.API.INFO": {}, "kumo.kumo.srv.x.admin.x.y": {},
	}
	for _, right := range subjects.RightsTable {
		for _, p := range right.Subjects(cluster) {
			all[concrete(p)] = subjects.Right{}
		}
	}
	for subject := range all {
		sum := subjects.Right{}
		for _, right := range subjects.RightsTable {
			for _, p := range right.Subjects(cluster) {
				if matches(p, subject) {
					sum.Send, sum.Hear = sum.Send+right.Send, sum.Hear+right.Hear
				}
			}
		}
		all[subject] = sum
	}
	// Since people listen to kumo.>; nobody sends there.
	all["kumo.other.ring"] = subjects.Right{Hear: "ARO"}
	// Members answer everybody, gateways those who may ask them, and nobody hears
	// another's answers.
	for _, role := range subjects.IdentityRoles {
		send := "MS"
		if role == subjects.RoleAdmin || role == subjects.RoleReadonly {
			send = "MSG"
		}
		all["_INBOX."+string(role)+".x"] = subjects.Right{Send: send, Hear: letter(role)}
	}
	return all
}

func letter(role subjects.Role) string { return strings.ToUpper(string(role)[:1]) }

// matches tells whether a subject is of a pattern.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i := range p {
		if p[i] == ">" {
			return len(s) > i
		}
		if i >= len(s) || p[i] != "*" && p[i] != s[i] {
			return false
		}
	}
	return len(p) == len(s)
}

// Every identity tries every subject of a running cluster: exactly what the table
// allows works, and NATS says so of everything else.
func TestPermissions(t *testing.T) {
	t.Parallel()
	dir := newCredentials(t)
	c := small(t, dir)
	others := map[string]*guest{"M": comeAs(t, c, dir, subjects.RoleManager), "S": comeAs(t, c, dir, subjects.RoleServer)}
	for _, role := range []subjects.Role{subjects.RoleGateway, subjects.RoleAdmin, subjects.RoleReadonly, subjects.RoleObserver} {
		others[letter(role)] = comeAs(t, c, dir, role)
	}
	// pick is somebody who may: there is always one, or nobody may.
	pick := func(letters string) *guest {
		if letters == "" {
			return nil
		}
		return others[letters[:1]]
	}
	for _, role := range subjects.IdentityRoles {
		g := comeAs(t, c, dir, role)
		for subject, right := range tries() {
			text := fmt.Sprintf("a try of %s on %s", role, subject)
			listener := pick(right.Hear)
			var heard *nats.Subscription
			if listener != nil {
				heard = listener.subscribe(subject)
				listener.done()
			}
			if err := g.nc.Publish(subject, []byte(text)); err != nil {
				t.Fatal(err)
			}
			g.done()
			switch may := strings.Contains(right.Send, letter(role)); {
			case !may:
				g.refused("send on " + subject)
			case listener != nil:
				g.notRefused("sends on " + subject)
				listener.hears(heard, text)
			}
			s := g.subscribe(subject)
			g.done()
			if !strings.Contains(right.Hear, letter(role)) {
				g.refused("hear " + subject)
			} else if speaker := pick(right.Send); speaker != nil {
				g.notRefused("hears " + subject)
				text = "for " + text
				if err := speaker.nc.Publish(subject, []byte(text)); err != nil {
					t.Fatal(err)
				}
				g.hears(s, text)
			}
			if heard != nil {
				_ = heard.Unsubscribe()
			}
			_ = s.Unsubscribe() // one that was refused is none
		}
	}
	c.Set("k", "v")
	if got := c.Get("k"); got != "v" {
		t.Errorf("k is %q after all that", got)
	}
}

// Who listens to kumo.> hears what he may and nothing else of it, and nobody but
// managers and servers listens to everything.
func TestWideSubscriptions(t *testing.T) {
	t.Parallel()
	dir := newCredentials(t)
	c := small(t, dir)
	cluster := subjects.Cluster(subjects.DefaultCluster)
	member := comeAs(t, c, dir, subjects.RoleServer)
	for _, role := range []subjects.Role{subjects.RoleAdmin, subjects.RoleReadonly, subjects.RoleObserver} {
		g := comeAs(t, c, dir, role)
		s := g.subscribe("kumo.>")
		g.done()
		g.notRefused("hears kumo.>")
		for subject, right := range tries() {
			if strings.HasPrefix(subject, "kumo.kumo.") && !strings.Contains(right.Hear, letter(role)) {
				if err := member.nc.Publish(subject, []byte("secret")); err != nil {
					t.Fatal(err)
				}
			}
		}
		// The last of them all, so that nothing is still to come.
		last := fmt.Sprintf("the last for %s", role)
		if err := member.nc.Publish(cluster.Event("x"), []byte(last)); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(testenv.Patience); ; {
			m, err := s.NextMsg(time.Until(end))
			if err != nil {
				t.Fatalf("%s: %v", role, err)
			}
			if string(m.Data) == "secret" {
				t.Errorf("%s hears %s", role, m.Subject)
			}
			if string(m.Data) == last {
				break
			}
		}
	}
	for _, role := range []subjects.Role{subjects.RoleGateway, subjects.RoleAdmin, subjects.RoleReadonly, subjects.RoleObserver} {
		g := comeAs(t, c, dir, role)
		for _, wide := range []string{">", "*.>", "kumodata.>", "kumodata.kumo.>", "_INBOX.>", "$SYS.>", "$SRV.>"} {
			g.subscribe(wide)
			g.done()
			g.refused("hear " + wide)
		}
	}
}

package testenv_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/etolabo/kumofs/kumoctl/credentials"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// A cluster with credentials does what one without does: it fails over, grows, and
// loses nothing, with daemons as processes that have nothing but their own folder.
func TestSecuredCluster(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes(), testenv.Credentials(newCredentials(t)))
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	c.Kill(c.PrimaryOf("k"))
	load.GoesOn()
	added := c.AddServer()
	c.EventuallyState(added, "new")
	c.Attach()
	c.EventuallyState(added, "up")
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()
}

// Credentials of every role are made anew, one after the other, while clients go on:
// none of them sees an error, and then the old ones open nothing.
func TestRotation(t *testing.T) {
	t.Parallel()
	dir := newCredentials(t)
	c := testenv.New(t, testenv.Processes(), testenv.Credentials(dir))
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	// All daemons read their parts of one folder: first those that are to know the
	// new ones, and then those that have them.
	taken := func() {
		t.Helper()
		reread(t, c, subjects.RoleManager)
		reread(t, c, subjects.RoleServer)
		reread(t, c, subjects.RoleGateway)
		load.GoesOn()
	}
	begin := func(what string) *credentials.Store {
		t.Helper()
		store, err := credentials.Open(dir, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Rotate(what); err != nil {
			t.Fatal(err)
		}
		taken()
		return store
	}
	finish := func(store *credentials.Store, what string, want int) {
		t.Helper()
		if n, err := store.Retire(what); n != want || err != nil {
			t.Fatalf("retire %s: %d, %v; want %d", what, n, err, want)
		}
		taken()
	}
	rotate := func(what string, want int) {
		t.Helper()
		finish(begin(what), what, want)
	}
	old := loaded(t, dir, subjects.RoleGateway)
	comesIn(t, c, "the first", nats.Secure(tlsOf(old)), nkeyOf(t, old))
	rotate("gateway", 1)
	if _, err := newGuest(t, c.Addr("server1"), "gateway", nats.Secure(tlsOf(old)), nkeyOf(t, old)); err == nil {
		t.Error("the retired identity gets in")
	}
	comeAs(t, c, dir, subjects.RoleGateway)
	rotate("server", 2)
	rotate("manager", 2)
	if !testing.Short() { // the authorities, and with them everything that they signed
		store := begin(credentials.Authorities)
		for _, role := range subjects.IdentityRoles {
			if role == subjects.RoleManager || role == subjects.RoleServer {
				rotate(string(role), 2)
			} else {
				rotate(string(role), 1)
			}
		}
		finish(store, credentials.Authorities, 2)
		comeAs(t, c, dir, subjects.RoleObserver)
	}
	load.Stop()
	load.NoErrors()
	load.Verify()
}

// reread has all daemons of a role read their credentials, and waits for them.
func reread(t *testing.T, c *testenv.Cluster, role subjects.Role) {
	t.Helper()
	const done = "read the configuration again"
	for _, name := range c.Names(role) {
		before := strings.Count(c.LogOf(name), done)
		if err := syscall.Kill(c.PID(name), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		c.Eventually(name+" has read its credentials", func() bool {
			log := c.LogOf(name)
			if strings.Contains(log, "cannot be read again") {
				t.Fatalf("%s: %s", name, log)
			}
			return strings.Count(log, done) > before
		})
	}
}

// What a daemon cannot use it does not take over: it goes on with what it had.
func TestBadCredentialsAreNotTakenOver(t *testing.T) {
	t.Parallel()
	dir := newCredentials(t)
	c := testenv.New(t, testenv.Processes(), testenv.Credentials(dir))
	refuses := func(name, why string) {
		t.Helper()
		if err := syscall.Kill(c.PID(name), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		c.Eventually(name+" says that "+why, func() bool { return strings.Contains(c.LogOf(name), why) })
		c.Set("k", name)
		if got := c.Get("k"); got != name {
			t.Errorf("k is %q", got)
		}
	}
	// New ones that the members were not told of.
	store, err := credentials.Open(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Rotate("gateway"); err != nil {
		t.Fatal(err)
	}
	refuses("gateway1", "none of")
	list := filepath.Join(dir, "server", "identities")
	if err := os.WriteFile(list, []byte("everybody welcome\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses("server1", "identities:1")
}

// A certificate that is soon over is in the status, and so in kumoctl check, and in
// the daemon's log.
func TestExpiryIsTold(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "credentials")
	if err := credentials.Init(dir, subjects.DefaultCluster, nil, time.Now().AddDate(0, 0, -350)); err != nil {
		t.Fatal(err)
	}
	c := testenv.New(t, testenv.Processes(), testenv.Servers(1), testenv.Replicas(1), testenv.Credentials(dir))
	c.Eventually("alarms for each node", func() bool {
		return strings.Count(strings.Join(c.Status().Alarms, "\n"), "a certificate expires in 14 days") == 3
	})
	for _, name := range []string{"manager1", "server1", "gateway1"} {
		c.Eventually(name+" warns", func() bool { return strings.Contains(c.LogOf(name), "expires soon") })
	}
}

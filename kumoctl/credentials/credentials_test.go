package credentials_test

import (
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/credentials"
	"github.com/etolabo/kumofs/subjects"
)

func newStore(t *testing.T, hosts ...string) (string, *credentials.Store) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "credentials")
	if err := credentials.Init(dir, "kumo", hosts, time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir, open(t, dir)
}

func open(t *testing.T, dir string) *credentials.Store {
	t.Helper()
	s, err := credentials.Open(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Nobody but the owner can read what was made, nothing is overwritten, and members
// alone have the mesh's certificates and the list.
func TestInit(t *testing.T) {
	dir, store := newStore(t)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := credentials.Init(dir, "kumo", nil, time.Now()); err == nil {
		t.Error("a folder was made over another")
	}
	for _, role := range subjects.IdentityRoles {
		f, err := credentials.Load(dir, role)
		if err != nil {
			t.Fatal(err)
		}
		member := role == subjects.RoleManager || role == subjects.RoleServer
		if f.Role != role || f.Cluster != "kumo" || (f.Credentials().Member != nil) != member {
			t.Errorf("%s: %+v", role, f)
		}
		if _, err := os.Stat(filepath.Join(dir, string(role), "mesh.key")); (err == nil) != member {
			t.Errorf("%s: mesh.key: %v", role, err)
		}
		if role == subjects.RoleGateway {
			continue
		}
		if _, err := credentials.Load(filepath.Join(dir, string(role)), subjects.RoleGateway); err == nil {
			t.Errorf("a gateway starts with a %s's credentials", role)
		}
	}
	list, err := store.Show()
	if err != nil || len(list) != 2+6+2 {
		t.Errorf("%d lines, %v: %+v", len(list), err, list)
	}
}

// Certificates do for their end of a connection only: a gateway's cannot stand for a
// member.
func TestCertificatesAreForTheirUse(t *testing.T) {
	dir, _ := newStore(t, "svr1", "10.0.0.7")
	for _, role := range subjects.IdentityRoles {
		f, err := credentials.Load(dir, role)
		if err != nil {
			t.Fatal(err)
		}
		c := f.Credentials()
		serves := role == subjects.RoleManager || role == subjects.RoleServer
		for _, name := range []string{credentials.MemberName, "svr1", "10.0.0.7"} {
			_, err = c.Certificate.Leaf.Verify(x509.VerifyOptions{Roots: c.Authorities, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			if (err == nil) != serves {
				t.Errorf("%s as %s: %v", role, name, err)
			}
		}
		if _, err = c.Certificate.Leaf.Verify(x509.VerifyOptions{Roots: c.Authorities, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s as a client: %v", role, err)
		}
		if serves {
			if _, err := c.Certificate.Leaf.Verify(x509.VerifyOptions{Roots: c.Member.Authorities}); err == nil {
				t.Errorf("%s: the mesh's authority vouches for a client's certificate", role)
			}
		}
	}
}

// A host that was added to one role's certificate is in the next ones, too.
func TestHostsAreKept(t *testing.T) {
	dir, store := newStore(t, "svr1")
	store.AddHosts([]string{"svr4"})
	if err := store.Rotate("server"); err != nil {
		t.Fatal(err)
	}
	for _, role := range []subjects.Role{subjects.RoleServer, subjects.RoleManager} {
		if err := open(t, dir).Rotate(string(role)); err != nil {
			t.Fatal(err)
		}
		f, err := credentials.Load(dir, role)
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"svr1", "svr4", credentials.MemberName} {
			if err := f.Credentials().Certificate.Leaf.VerifyHostname(host); err != nil {
				t.Errorf("%s: %v", role, err)
			}
		}
	}
}

// Old authorities count until every certificate is of a new one.
func TestAuthoritiesAreRotated(t *testing.T) {
	dir, store := newStore(t)
	was, err := credentials.Load(dir, subjects.RoleGateway)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Rotate(credentials.Authorities); err != nil {
		t.Fatal(err)
	}
	store = open(t, dir)
	if _, err := store.Retire(credentials.Authorities); err == nil || !strings.Contains(err.Error(), "auth rotate") {
		t.Errorf("authorities whose certificates are in use were retired: %v", err)
	}
	verify := func(f, with *credentials.Folder) error {
		_, err := f.Credentials().Certificate.Leaf.Verify(x509.VerifyOptions{Roots: with.Credentials().Authorities, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return err
	}
	server := func() *credentials.Folder {
		f, err := credentials.Load(dir, subjects.RoleServer)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if err := verify(was, server()); err != nil {
		t.Errorf("a certificate of before, while both count: %v", err)
	}
	for _, role := range subjects.IdentityRoles {
		if err := store.Rotate(string(role)); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Retire(string(role)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := store.Retire(credentials.Authorities); n != 2 || err != nil {
		t.Errorf("retired %d, %v; want 2", n, err)
	}
	if verify(was, server()) == nil {
		t.Error("a certificate of a retired authority counts")
	}
	now, err := credentials.Load(dir, subjects.RoleGateway)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(now, server()); err != nil {
		t.Errorf("a new certificate: %v", err)
	}
}

// A rotation that ended between taking a folder away and putting another into its place
// has lost nothing.
func TestInterruptedRotation(t *testing.T) {
	dir, _ := newStore(t)
	for _, name := range []string{"manager", "gateway", "ca"} {
		path := filepath.Join(dir, name)
		if err := os.Rename(path, filepath.Join(dir, "."+name+"-new-123-old")); err != nil {
			t.Fatal(err)
		}
		store := open(t, dir)
		if err := store.Rotate(name); err != nil {
			t.Errorf("rotate %s: %v", name, err)
		}
		if _, err := store.Show(); err != nil {
			t.Errorf("show after %s: %v", name, err)
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(subjects.IdentityRoles)+1 {
		t.Errorf("there is left: %v", list)
	}
	// Of several nobody knows which it was.
	for _, name := range []string{".gateway-new-1-old", ".gateway-new-2-old"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "gateway")); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir).Show(); err == nil {
		t.Error("a folder is there that nobody made")
	}
}

func TestPasswords(t *testing.T) {
	dir, store := newStore(t)
	for _, bad := range [][3]string{{"observer", "a", "short"}, {"server", "a", "long enough for it"}, {"nobody", "a", "long enough for it"}, {"observer", "a b", "long enough for it"}} {
		if err := store.SetPassword(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	for _, password := range []string{"correct horse battery", "another one altogether"} {
		if err := store.SetPassword("observer", "watcher", password); err != nil {
			t.Fatal(err)
		}
	}
	for _, role := range []string{"manager", "server"} {
		text, err := os.ReadFile(filepath.Join(dir, role, "identities"))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "\nobserver password watcher $2a$"); n != 1 {
			t.Errorf("%s knows it %d times:\n%s", role, n, text)
		}
	}
	if err := store.SetPassword("observer", "watcher", ""); err != nil {
		t.Error(err)
	}
	if err := store.SetPassword("observer", "watcher", ""); err == nil {
		t.Error("it was taken back twice")
	}
}

// What is wrong with a list of identities is said with its line.
func TestBadIdentities(t *testing.T) {
	dir, _ := newStore(t)
	path := filepath.Join(dir, "server", "identities")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Count(string(good), "\n") + 1
	key := strings.Fields(string(good)[strings.Index(string(good), "\nobserver nkey "):])[2]
	for bad, want := range map[string]string{
		"everybody nkey x":                                "everybody",
		"gateway nkey":                                    "ROLE KIND VALUE",
		"gateway nkey " + key + " more":                   "4 words",
		"gateway nkey UNSINN":                             "UNSINN",
		"admin nkey " + key:                               "twice",
		"gateway member " + strings.Repeat("0", 64):       "mesh",
		"server member 12":                                "SHA-256",
		"observer password a secret":                      "bcrypt",
		"server password a " + "$2a$10$" + key:            "password",
		"observer certificate " + strings.Repeat("0", 64): "certificate",
	} {
		if err := os.WriteFile(path, append(good[:len(good):len(good)], bad+"\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := credentials.Load(dir, subjects.RoleServer)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprintf("identities:%d:", line)) {
			t.Errorf("%s: %v; want %q and line %d", bad, err, want, line)
		}
	}
	if err := os.WriteFile(path, []byte("# nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := credentials.Load(dir, subjects.RoleServer); err == nil {
		t.Error("a member that its own list does not know starts")
	}
}

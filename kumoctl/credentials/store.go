package credentials

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
)

// Authorities is what Rotate and Retire call the authorities, beside the roles.
const Authorities = "ca"

// authoritiesDir is the folder of the authorities below that of a Store.
const authoritiesDir = "ca"

// Store is the folder of all credentials of a cluster.
type Store struct {
	dir     string
	cluster string
	hosts   []string
	clients *authority
	mesh    *authority
	now     time.Time
}

// Init makes a folder with credentials of every role. hosts are the names and
// addresses of managers and servers for programs that look at them, as the nats
// command does; ours need none. A folder that holds anything is refused.
func Init(dir, cluster string, hosts []string, now time.Time) (err error) {
	if err := subjects.Cluster(cluster).Check(); err != nil {
		return err
	}
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(list) > 0 {
		return fmt.Errorf("%s is not empty: nothing is overwritten", dir)
	}
	s := &Store{dir: dir, cluster: cluster, hosts: hosts, now: now}
	if s.clients, err = newAuthority(authorityClients, cluster, now); err != nil {
		return err
	}
	if s.mesh, err = newAuthority(authorityMesh, cluster, now); err != nil {
		return err
	}
	made := make(map[subjects.Role]*made)
	var identities []Identity
	for _, role := range subjects.IdentityRoles {
		if made[role], err = s.make(role); err != nil {
			return err
		}
		identities = append(identities, made[role].identities...)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := s.writeAuthorities(); err != nil {
		return err
	}
	for _, role := range subjects.IdentityRoles {
		if isMember(role) {
			made[role].files[fileIdentities] = printIdentities(cluster, identities)
		}
		if err := writeFolder(filepath.Join(dir, string(role)), made[role].files); err != nil {
			return err
		}
	}
	return nil
}

// made are new credentials of a role.
type made struct {
	files      map[string][]byte
	identities []Identity
}

// make makes new credentials, without the list of identities.
func (s *Store) make(role subjects.Role) (*made, error) {
	m := &made{files: map[string][]byte{fileCA: s.clients.pem()}}
	member := isMember(role)
	_, cert, key, err := s.clients.issue(string(role), s.cluster, member, s.hosts, s.now)
	if err != nil {
		return nil, err
	}
	m.files[fileCert], m.files[fileKey] = cert, key
	user, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	seed, err := user.Seed()
	if err != nil {
		return nil, err
	}
	public, err := user.PublicKey()
	if err != nil {
		return nil, err
	}
	m.files[fileSeed] = append(seed, '\n')
	m.identities = append(m.identities, Identity{Role: role, Kind: KindNKey, Value: public})
	if !member {
		return m, nil
	}
	leaf, cert, key, err := s.mesh.issue(string(role), s.cluster, true, s.hosts, s.now)
	if err != nil {
		return nil, err
	}
	m.files[fileMeshCert], m.files[fileMeshKey], m.files[fileMeshCA] = cert, key, s.mesh.pem()
	m.identities = append(m.identities, Identity{Role: role, Kind: KindMember, Value: bus.PublicKey(leaf)})
	return m, nil
}

// Open reads a folder that Init made, to change it.
func Open(dir string, now time.Time) (*Store, error) {
	s := &Store{dir: dir, now: now}
	for _, name := range append([]string{authoritiesDir}, roleList()...) {
		if err := putBack(filepath.Join(dir, name)); err != nil {
			return nil, notAStore(dir, err)
		}
	}
	var err error
	if s.clients, err = loadAuthority(dir, authorityClients); err != nil {
		return nil, notAStore(dir, err)
	}
	if s.mesh, err = loadAuthority(dir, authorityMesh); err != nil {
		return nil, notAStore(dir, err)
	}
	for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer} {
		f, err := Load(filepath.Join(dir, string(role)), role)
		if err != nil {
			return nil, err
		}
		s.cluster = f.Cluster
		s.AddHosts(hostsOf(f.credentials.Certificate.Leaf))
	}
	return s, nil
}

// hostsOf are the hosts that a member's certificate is for.
func hostsOf(c *x509.Certificate) []string {
	hosts := slices.DeleteFunc(slices.Clone(c.DNSNames), func(name string) bool { return name == MemberName })
	for _, ip := range c.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}

func notAStore(dir string, err error) error {
	return fmt.Errorf("%s is not a whole folder of kumoctl auth init: %w", dir, err)
}

// AddHosts has certificates that are made from now on be for further hosts.
func (s *Store) AddHosts(hosts []string) {
	for _, h := range hosts {
		if !slices.Contains(s.hosts, h) {
			s.hosts = append(s.hosts, h)
		}
	}
}

// Rotate makes new credentials for a role; those before still count until Retire. Of
// Authorities it makes new ones, which sign from then on.
func (s *Store) Rotate(what string) error {
	if what == Authorities {
		return s.rotateAuthorities()
	}
	role, err := roleOf(what)
	if err != nil {
		return err
	}
	identities, err := s.identities()
	if err != nil {
		return err
	}
	m, err := s.make(role)
	if err != nil {
		return err
	}
	if identities = append(identities, m.identities...); isMember(role) {
		m.files[fileIdentities] = printIdentities(s.cluster, identities)
	}
	// The lists first: whoever is new must be known before he comes.
	if err := s.writeIdentities(identities); err != nil {
		return err
	}
	return writeFolder(filepath.Join(s.dir, string(role)), m.files)
}

// Retire has only the newest credentials of a role count, and returns how many do no
// more. Of Authorities it drops those that sign no longer.
func (s *Store) Retire(what string) (int, error) {
	if what == Authorities {
		return s.retireAuthorities()
	}
	role, err := roleOf(what)
	if err != nil {
		return 0, err
	}
	identities, err := s.identities()
	if err != nil {
		return 0, err
	}
	now, err := s.current(role)
	if err != nil {
		return 0, err
	}
	kept := slices.DeleteFunc(slices.Clone(identities), func(i Identity) bool {
		return i.Role == role && i.Kind != KindPassword && !slices.ContainsFunc(now, i.same)
	})
	return len(identities) - len(kept), s.writeIdentities(kept)
}

// SetPassword lets somebody come with a name and a password. An empty password takes
// that back.
func (s *Store) SetPassword(what, name, password string) error {
	role, err := roleOf(what)
	if err != nil {
		return err
	}
	identities, err := s.identities()
	if err != nil {
		return err
	}
	was := len(identities)
	identities = slices.DeleteFunc(identities, func(i Identity) bool { return i.Kind == KindPassword && i.Name == name })
	if password == "" {
		if len(identities) == was {
			return fmt.Errorf("nobody is called %q", name)
		}
		return s.writeIdentities(identities)
	}
	if len(password) < 12 {
		return errors.New("the password is too short: want 12 characters or more")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	i, err := parseIdentity([]string{string(role), KindPassword, name, string(hash)})
	if err != nil {
		return err
	}
	return s.writeIdentities(append(identities, i))
}

func roleOf(what string) (subjects.Role, error) {
	if r := subjects.Role(what); slices.Contains(subjects.IdentityRoles, r) {
		return r, nil
	}
	return "", fmt.Errorf("no role is called %q: there are %s", what, roleNames())
}

// identities reads the list, which is the same for all members.
func (s *Store) identities() ([]Identity, error) {
	path := filepath.Join(s.dir, string(subjects.RoleManager), fileIdentities)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseIdentities(path, text)
}

func (s *Store) writeIdentities(list []Identity) error {
	for _, role := range []subjects.Role{subjects.RoleServer, subjects.RoleManager} {
		path := filepath.Join(s.dir, string(role), fileIdentities)
		if err := writeFile(path, printIdentities(s.cluster, list)); err != nil {
			return err
		}
	}
	return nil
}

// current are the identities of a role's folder.
func (s *Store) current(role subjects.Role) ([]Identity, error) {
	f, err := Load(filepath.Join(s.dir, string(role)), role)
	if err != nil {
		return nil, err
	}
	key, err := nkeys.FromSeed(f.credentials.Seed)
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	list := []Identity{{Role: role, Kind: KindNKey, Value: public}}
	if m := f.credentials.Member; m != nil {
		list = append(list, Identity{Role: role, Kind: KindMember, Value: bus.PublicKey(m.Certificate.Leaf)})
	}
	return list, nil
}

// rotateAuthorities makes new authorities. Those before count until they are retired.
func (s *Store) rotateAuthorities() error {
	for _, a := range []*authority{s.clients, s.mesh} {
		next, err := newAuthority(a.name, s.cluster, s.now)
		if err != nil {
			return err
		}
		a.key, a.certs = next.key, append(next.certs, a.certs...)
	}
	return s.spreadAuthorities()
}

func (s *Store) retireAuthorities() (int, error) {
	for _, role := range subjects.IdentityRoles {
		f, err := Load(filepath.Join(s.dir, string(role)), role)
		if err != nil {
			return 0, err
		}
		m := f.credentials.Member
		if !s.clients.signed(f.credentials.Certificate.Leaf) || m != nil && !s.mesh.signed(m.Certificate.Leaf) {
			return 0, fmt.Errorf("the certificate of %s is still of an old authority: kumoctl auth rotate DIR %s, and bring it to where it is used, first", role, role)
		}
	}
	gone := 0
	for _, a := range []*authority{s.clients, s.mesh} {
		gone += len(a.certs) - 1
		a.certs = a.certs[:1]
	}
	return gone, s.spreadAuthorities()
}

// spreadAuthorities writes the authorities into all folders.
func (s *Store) spreadAuthorities() error {
	if err := s.writeAuthorities(); err != nil {
		return err
	}
	for _, role := range subjects.IdentityRoles {
		dir := filepath.Join(s.dir, string(role))
		if err := writeFile(filepath.Join(dir, fileCA), s.clients.pem()); err != nil {
			return err
		}
		if !isMember(role) {
			continue
		}
		if err := writeFile(filepath.Join(dir, fileMeshCA), s.mesh.pem()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) writeAuthorities() error {
	all := map[string][]byte{}
	for _, a := range []*authority{s.clients, s.mesh} {
		files, err := a.files()
		if err != nil {
			return err
		}
		for name, text := range files {
			all[name] = text
		}
	}
	return writeFolder(filepath.Join(s.dir, authoritiesDir), all)
}

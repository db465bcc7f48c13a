package credentials

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
)

// The files of a role's folder.
const (
	fileCert       = "tls.crt"
	fileKey        = "tls.key"
	fileCA         = "ca.crt"
	fileSeed       = "nkey.seed"
	fileMeshCert   = "mesh.crt"
	fileMeshKey    = "mesh.key"
	fileMeshCA     = "mesh-ca.crt"
	fileIdentities = "identities"
)

// Folder is a role's folder that was read.
type Folder struct {
	Dir     string
	Role    subjects.Role
	Cluster string
	// Identities are those who may come; of managers and servers only.
	Identities []Identity
	// Warnings say what of the folder is not as it should be.
	Warnings []string

	credentials bus.Credentials
}

// Credentials are what the bus needs of it.
func (f *Folder) Credentials() bus.Credentials { return f.credentials }

// Files are where a folder's files are, as absolute paths.
type Files struct{ Seed, Certificate, Key, Authorities string }

// Files tells other programs where to look.
func (f *Folder) Files() Files {
	at := func(name string) string {
		path, err := filepath.Abs(filepath.Join(f.Dir, name))
		if err != nil { // the working folder is gone
			return filepath.Join(f.Dir, name)
		}
		return path
	}
	return Files{at(fileSeed), at(fileCert), at(fileKey), at(fileCA)}
}

// Load reads the folder of one of the roles: dir, or dir's sub-folder that is called
// by the first of them. Without roles, that is admin, and every role will do.
func Load(dir string, roles ...subjects.Role) (*Folder, error) {
	first := subjects.RoleAdmin
	if len(roles) > 0 {
		first = roles[0]
	}
	if _, err := os.Stat(filepath.Join(dir, fileCert)); errors.Is(err, fs.ErrNotExist) {
		if below := filepath.Join(dir, string(first)); exists(filepath.Join(below, fileCert)) {
			dir = below
		}
	}
	f := &Folder{Dir: dir}
	if err := f.read(); err != nil {
		return nil, fmt.Errorf("credentials %s: %w", dir, err)
	}
	if len(roles) > 0 && !slices.Contains(roles, f.Role) {
		return nil, fmt.Errorf("credentials %s: they are for a %s, not a %s", dir, f.Role, first)
	}
	return f, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (f *Folder) read() error {
	c := &f.credentials
	var err error
	if c.Certificate, c.Authorities, err = f.pair(fileCert, fileKey, fileCA); err != nil {
		return err
	}
	leaf := c.Certificate.Leaf
	if !slices.Equal(leaf.Subject.Organization, []string{organization}) || len(leaf.Subject.OrganizationalUnit) != 1 {
		return fmt.Errorf("%s was not made by kumoctl auth", fileCert)
	}
	f.Role, f.Cluster = subjects.Role(leaf.Subject.OrganizationalUnit[0]), leaf.Subject.CommonName
	if !slices.Contains(subjects.IdentityRoles, f.Role) {
		return fmt.Errorf("%s is for a role that is not known: %q", fileCert, f.Role)
	}
	if c.Seed, err = f.file(fileSeed, true); err != nil {
		return err
	}
	c.Seed = []byte(strings.TrimSpace(string(c.Seed)))
	c.MemberName = MemberName
	c.Inbox = subjects.Cluster(f.Cluster).Rights(f.Role).Inbox
	if !isMember(f.Role) {
		return nil
	}
	return f.readMember()
}

func (f *Folder) readMember() error {
	m := &bus.MemberCredentials{}
	var err error
	if m.Certificate, m.Authorities, err = f.pair(fileMeshCert, fileMeshKey, fileMeshCA); err != nil {
		return err
	}
	text, err := f.file(fileIdentities, false)
	if err != nil {
		return err
	}
	if f.Identities, err = parseIdentities(filepath.Join(f.Dir, fileIdentities), text); err != nil {
		return err
	}
	for _, i := range f.Identities {
		rights := rightsOf(f.Cluster, i.Role)
		switch i.Kind {
		case KindNKey:
			m.Identities = append(m.Identities, bus.Identity{Key: i.Value, Rights: rights})
		case KindPassword:
			m.Identities = append(m.Identities, bus.Identity{User: i.Name, Password: i.Value, Rights: rights})
		case KindMember:
			m.Keys = append(m.Keys, i.Value)
		}
	}
	if own := bus.PublicKey(m.Certificate.Leaf); !slices.Contains(m.Keys, own) {
		return fmt.Errorf("%s does not list %s of this folder: the other members would refuse it", fileIdentities, fileMeshCert)
	}
	f.credentials.Member = m
	return nil
}

func rightsOf(cluster string, role subjects.Role) bus.Rights {
	r := subjects.Cluster(cluster).Rights(role)
	return bus.Rights{Send: r.Send, Hear: r.Hear, NotHear: r.NotHear}
}

// maxFile bounds each file, in bytes.
const maxFile = 4 << 20

func (f *Folder) file(name string, secret bool) ([]byte, error) {
	path := filepath.Join(f.Dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	if secret && info.Mode().Perm()&0o007 != 0 {
		f.Warnings = append(f.Warnings, fmt.Sprintf("every user of this machine can read %s: chmod 600", path))
	}
	return os.ReadFile(path)
}

// pair reads a certificate with its key, and the authorities of the others.
func (f *Folder) pair(certName, keyName, caName string) (pair tls.Certificate, authorities *x509.CertPool, err error) {
	cert, err := f.file(certName, false)
	if err != nil {
		return pair, nil, err
	}
	key, err := f.file(keyName, true)
	if err != nil {
		return pair, nil, err
	}
	if pair, err = tls.X509KeyPair(cert, key); err != nil {
		return pair, nil, fmt.Errorf("%s, %s: %w", certName, keyName, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return pair, nil, err
		}
	}
	ca, err := f.file(caName, false)
	if err != nil {
		return pair, nil, err
	}
	list, err := parseCertificates(ca)
	if err != nil {
		return pair, nil, fmt.Errorf("%s: %w", caName, err)
	}
	authorities = x509.NewCertPool()
	for _, c := range list {
		authorities.AddCert(c)
	}
	return pair, authorities, nil
}

package credentials

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// How long certificates last. They are made anew without downtime, long before.
const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 365 * 24 * time.Hour
	// clockSkew is how far clocks may be behind that of whoever makes certificates.
	clockSkew = time.Hour
)

// MemberName is what certificates of managers and servers are for, beside the names of
// hosts that they were given: an authority of the cluster's own vouches for it.
const MemberName = "member.kumofs.internal"

// organization marks certificates as ours; the role is their organizational unit, and
// the cluster their common name.
const organization = "kumofs"

// authority signs certificates: those of client connections, or those of the mesh.
type authority struct {
	name  string              // clients or mesh
	certs []*x509.Certificate // the first signs; the others still count
	key   *ecdsa.PrivateKey
}

const (
	authorityClients = "clients"
	authorityMesh    = "mesh"
)

func newAuthority(name, cluster string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{organization}, OrganizationalUnit: []string{"authority of " + name}, CommonName: cluster},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{name, []*x509.Certificate{cert}, key}, err
}

// loadAuthority reads DIR/ca.
func loadAuthority(dir, name string) (*authority, error) {
	text, err := os.ReadFile(filepath.Join(dir, authoritiesDir, name+".crt"))
	if err != nil {
		return nil, err
	}
	a := &authority{name: name}
	if a.certs, err = parseCertificates(text); err != nil {
		return nil, fmt.Errorf("%s: %w", name+".crt", err)
	}
	text, err = os.ReadFile(filepath.Join(dir, authoritiesDir, name+".key"))
	if err != nil {
		return nil, fmt.Errorf("the authority's key is needed to make certificates: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no key in PEM", name+".key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name+".key", err)
	}
	var ok bool
	if a.key, ok = key.(*ecdsa.PrivateKey); !ok || !a.key.PublicKey.Equal(a.certs[0].PublicKey) {
		return nil, fmt.Errorf("%s is not the key of the first certificate of %s", name+".key", name+".crt")
	}
	return a, nil
}

// files are what DIR/ca has of it.
func (a *authority) files() (map[string][]byte, error) {
	key, err := pemKey(a.key)
	return map[string][]byte{a.name + ".crt": a.pem(), a.name + ".key": key}, err
}

// pem are the certificates that count.
func (a *authority) pem() []byte {
	var out []byte
	for _, c := range a.certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// issue makes a certificate and its key. hosts are names and addresses.
func (a *authority) issue(role, cluster string, member bool, hosts []string, now time.Time) (cert *x509.Certificate, certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{organization}, OrganizationalUnit: []string{role}, CommonName: cluster},
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    now.Add(certificateLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if member {
		// Nobody else can stand for a member at the end where clients connect.
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		template.DNSNames = []string{MemberName}
		for _, h := range hosts {
			if ip := net.ParseIP(h); ip != nil {
				template.IPAddresses = append(template.IPAddresses, ip)
			} else {
				template.DNSNames = append(template.DNSNames, h)
			}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certs[0], key.Public(), a.key)
	if err != nil {
		return nil, nil, nil, err
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, nil, nil, err
	}
	keyPEM, err = pemKey(key)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, err
}

// signed tells whether the authority that signs now has signed a certificate.
func (a *authority) signed(c *x509.Certificate) bool { return c.CheckSignatureFrom(a.certs[0]) == nil }

func pemKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func parseCertificates(text []byte) (list []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	return list, nil
}

package credentials

import (
	"path/filepath"
	"slices"
	"time"

	"github.com/etolabo/kumofs/subjects"
)

// Shown is a line of what there is: an identity, an authority.
type Shown struct {
	Role    string     `json:"role"` // or ca
	Kind    string     `json:"kind"` // of identities; clients and mesh of authorities
	Value   string     `json:"value,omitempty"`
	Expires *time.Time `json:"expires,omitempty"` // its certificate
	// Old ones still count, and are not in the role's folder any more.
	Old bool `json:"old,omitempty"`
}

// Show lists the authorities and the identities of a folder that Init made.
func (s *Store) Show() ([]Shown, error) {
	var list []Shown
	for _, a := range []*authority{s.clients, s.mesh} {
		for i, c := range a.certs {
			list = append(list, Shown{Role: Authorities, Kind: a.name, Expires: &c.NotAfter, Old: i > 0})
		}
	}
	identities, err := s.identities()
	if err != nil {
		return nil, err
	}
	for _, role := range subjects.IdentityRoles {
		f, err := Load(filepath.Join(s.dir, string(role)), role)
		if err != nil {
			return nil, err
		}
		current, err := s.current(role)
		if err != nil {
			return nil, err
		}
		for _, i := range identities {
			if i.Role != role {
				continue
			}
			line := Shown{Role: string(role), Kind: i.Kind, Value: i.Value}
			switch {
			case i.Kind == KindPassword:
				line.Value = i.Name
			case !slices.ContainsFunc(current, i.same):
				line.Old = true
			case i.Kind == KindMember:
				line.Expires = &f.credentials.Member.Certificate.Leaf.NotAfter
			default:
				line.Expires = &f.credentials.Certificate.Leaf.NotAfter
			}
			list = append(list, line)
		}
	}
	return list, nil
}

package credentials

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"

	"github.com/etolabo/kumofs/subjects"
)

// Identity is a line of the file of identities: somebody who may come, and as what.
type Identity struct {
	Role subjects.Role `json:"role"`
	Kind string        `json:"kind"`           // KindNKey, ...
	Name string        `json:"name,omitempty"` // of KindPassword
	// Value is the public NKey, the hash of the password (bcrypt), or SHA-256 of the
	// public key of a mesh certificate in hex.
	Value string `json:"value"`
}

// The kinds of identities.
const (
	KindNKey     = "nkey"
	KindPassword = "password" // for a program that has no NKeys
	KindMember   = "member"   // of the mesh
)

// goodName is what somebody with a password may be called.
var goodName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// maxIdentities bounds a file of them.
const maxIdentities = 10000

const identitiesHead = `# Who may come to the bus of cluster %s: a line for each, of
#   ROLE nkey PUBLIC-NKEY
#   ROLE password NAME BCRYPT-HASH
#   ROLE member SHA-256-OF-A-MESH-CERTIFICATE'S-PUBLIC-KEY
# kumoctl auth writes it. Every manager and server has the same; SIGHUP has them read
# it again.
`

// parseIdentities reads the file's text; path is for errors.
func parseIdentities(path string, text []byte) ([]Identity, error) {
	var list []Identity
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(list) == maxIdentities {
			return nil, fmt.Errorf("%s: more than %d identities", path, maxIdentities)
		}
		i, err := parseIdentity(words)
		if err == nil && slices.ContainsFunc(list, i.same) {
			err = fmt.Errorf("%s is there twice", i.short())
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		list = append(list, i)
	}
	return list, nil
}

func parseIdentity(words []string) (Identity, error) {
	none := Identity{}
	if len(words) < 3 {
		return none, fmt.Errorf("want ROLE KIND VALUE")
	}
	i := Identity{Role: subjects.Role(words[0]), Kind: words[1], Value: words[len(words)-1]}
	if !slices.Contains(subjects.IdentityRoles, i.Role) {
		return none, fmt.Errorf("no role is called %q: there are %s", words[0], roleNames())
	}
	want := 3
	if i.Kind == KindPassword {
		want, i.Name = 4, words[2]
	}
	if len(words) != want {
		return none, fmt.Errorf("%d words, want %d", len(words), want)
	}
	switch i.Kind {
	case KindNKey:
		if !nkeys.IsValidPublicUserKey(i.Value) {
			return none, fmt.Errorf("%q is no public NKey of a user (U...)", i.Value)
		}
	case KindPassword:
		if isMember(i.Role) {
			return none, fmt.Errorf("a %s cannot come with a password", i.Role)
		}
		if !goodName.MatchString(i.Name) {
			return none, fmt.Errorf("name %q: want up to 64 letters, digits, dots, dashes and underscores", i.Name)
		}
		if _, err := bcrypt.Cost([]byte(i.Value)); err != nil || !strings.HasPrefix(i.Value, "$2a$") {
			return none, fmt.Errorf("the password of %q is no hash of bcrypt's ($2a$...): kumoctl auth password makes one", i.Name)
		}
	case KindMember:
		if !isMember(i.Role) {
			return none, fmt.Errorf("a %s cannot be a member of the mesh", i.Role)
		}
		if len(i.Value) != 64 || strings.Trim(i.Value, "0123456789abcdef") != "" {
			return none, fmt.Errorf("%q is no SHA-256 in hex", i.Value)
		}
	default:
		return none, fmt.Errorf("unknown kind %q: want %s, %s or %s", i.Kind, KindNKey, KindPassword, KindMember)
	}
	return i, nil
}

// same tells whether two are the same way to come.
func (i Identity) same(o Identity) bool {
	if i.Kind == KindPassword {
		return o.Kind == KindPassword && i.Name == o.Name
	}
	return i.Kind == o.Kind && i.Value == o.Value
}

// short names an identity in a line.
func (i Identity) short() string {
	if i.Kind == KindPassword {
		return i.Kind + " " + i.Name
	}
	return i.Kind + " " + i.Value
}

func (i Identity) String() string {
	if i.Kind == KindPassword {
		return strings.Join([]string{string(i.Role), i.Kind, i.Name, i.Value}, " ")
	}
	return strings.Join([]string{string(i.Role), i.Kind, i.Value}, " ")
}

func printIdentities(cluster string, list []Identity) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, identitiesHead, cluster)
	for _, i := range list {
		b.WriteString(i.String() + "\n")
	}
	return []byte(b.String())
}

// isMember tells the roles that are members of the mesh.
func isMember(r subjects.Role) bool { return r == subjects.RoleManager || r == subjects.RoleServer }

func roleNames() string { return strings.Join(roleList(), ", ") }

func roleList() []string {
	names := make([]string, len(subjects.IdentityRoles))
	for i, r := range subjects.IdentityRoles {
		names[i] = string(r)
	}
	return names
}

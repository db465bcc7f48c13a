package kumogateway

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/crypto/bcrypt"

	"github.com/etolabo/kumofs/subjects"
)

// maxCost is the largest cost of a bcrypt hash: with it a login takes a second.
const maxCost = 14

// entry is a line of an auth file.
type entry struct {
	user, password []byte
	cost           int // of a password that bcrypt made a hash of; 0: it is there as it is
	rights         rights
	prefix         string
}

const wantLine = "want user:password, or user RIGHTS:password"

// parseUsers takes lines of user:password, as memcached's auth file has them, and
//
//	user [read] [write] [prefix=PREFIX]:password
//
// A user may have several passwords, with the same rights. Empty lines are passed
// over. outer is how many bytes stand before each key beside the user's prefix.
func parseUsers(text []byte, outer int) (all []entry, line int, err error) {
	first := map[string]int{}
	for l := range bytes.SplitSeq(text, []byte("\n")) {
		line++
		if l = bytes.TrimSuffix(l, []byte("\r")); len(l) == 0 {
			continue
		}
		e, err := parseUser(l, outer)
		if err != nil {
			return nil, line, err
		}
		if at := first[string(e.user)]; at == 0 {
			first[string(e.user)] = len(all) + 1
		} else if other := &all[at-1]; other.rights != e.rights || other.prefix != e.prefix {
			return nil, line, fmt.Errorf("user %s has other rights or another prefix in a line before", e.user)
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil, 0, errors.New("no user in it: " + wantLine)
	}
	return all, 0, nil
}

func parseUser(l []byte, outer int) (e entry, err error) {
	if bytes.IndexByte(l, 0) >= 0 {
		return e, errors.New("a NUL byte: no client could send it")
	}
	n := bytes.IndexAny(l, ": ")
	if n < 0 {
		return e, errors.New("no colon: " + wantLine)
	}
	if n == 0 {
		return e, errors.New("no user before the colon: " + wantLine)
	}
	e.user = l[:n]
	rest := l[n:]
	for len(rest) > 0 && rest[0] == ' ' {
		rest = bytes.TrimLeft(rest, " ")
		if rest, err = e.word(rest, outer); err != nil {
			return e, err
		}
	}
	if len(rest) == 0 || rest[0] != ':' {
		return e, errors.New("no colon: " + wantLine)
	}
	if e.rights == 0 {
		e.rights = mayRead | mayWrite
	}
	if e.password = rest[1:]; len(e.password) == 0 {
		return e, errors.New("no password after the colon: " + wantLine)
	}
	e.cost, err = hashCost(e.password)
	return e, err
}

// word takes one word that stands between user and colon.
func (e *entry) word(l []byte, outer int) (rest []byte, err error) {
	if after, ok := bytes.CutPrefix(l, []byte("prefix=")); ok {
		return e.takePrefix(after, outer)
	}
	n := bytes.IndexAny(l, ": ")
	if n < 0 {
		n = len(l)
	}
	switch word := string(l[:n]); word {
	case "read":
		e.rights |= mayRead
	case "write":
		e.rights |= mayWrite
	case "": // spaces before the colon
	default:
		return nil, fmt.Errorf("%q is no right: want read, write or prefix=PREFIX between user and colon (a user has no spaces)", word)
	}
	return l[n:], nil
}

// takePrefix takes a prefix, which is in quotes if it has a colon or a space.
func (e *entry) takePrefix(l []byte, outer int) (rest []byte, err error) {
	var prefix []byte
	if quoted, ok := bytes.CutPrefix(l, []byte(`"`)); ok {
		var closed bool
		if prefix, rest, closed = bytes.Cut(quoted, []byte(`"`)); !closed {
			return nil, errors.New(`prefix=": no second quote`)
		}
	} else {
		n := bytes.IndexAny(l, ": ")
		if n < 0 {
			n = len(l)
		}
		prefix, rest = l[:n], l[n:]
	}
	switch {
	case e.prefix != "":
		return nil, errors.New("two prefixes")
	case len(prefix) == 0:
		return nil, errors.New("prefix= without a prefix")
	case outer+len(prefix) >= subjects.MaxKey:
		return nil, fmt.Errorf("a prefix of %d bytes leaves no room for keys of at most %d", outer+len(prefix), subjects.MaxKey)
	}
	for _, c := range prefix {
		if c <= ' ' || c == 0x7f {
			return nil, fmt.Errorf("prefix %q: no spaces or control characters", prefix)
		}
	}
	e.prefix = string(prefix)
	return rest, nil
}

// hashCost tells whether a password is a hash of bcrypt's, by its cost. What begins
// as one and is none is an error: as a password nobody would know it.
func hashCost(password []byte) (int, error) {
	if len(password) < 7 || password[0] != '$' || password[1] != '2' || password[3] != '$' || password[6] != '$' {
		return 0, nil
	}
	cost, err := bcrypt.Cost(password)
	switch {
	case err != nil || len(password) != 60:
		return 0, errors.New("a password that begins as a hash of bcrypt's and is none")
	case cost > maxCost:
		return 0, fmt.Errorf("a hash of bcrypt's with cost %d: want at most %d, since every login takes as long", cost, maxCost)
	}
	return cost, nil
}

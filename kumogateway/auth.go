package kumogateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/etolabo/kumofs/kumogateway/memcache"
)

const (
	maxAuthFile = 1 << 20     // bytes
	lookEvery   = time.Second // how often, at most, it is looked whether the file changed
)

// AuthFileError says what is wrong with an auth file.
type AuthFileError struct {
	Path string
	Line int // 0: the file as a whole
	Err  error
}

func (e *AuthFileError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s: line %d: %v", e.Path, e.Line, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Path, e.Err)
}

// Unwrap returns what is wrong without the place.
func (e *AuthFileError) Unwrap() error { return e.Err }

// passwords are the users of an auth file, read again when it changes.
type passwords struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	users  []digest
	file   fs.FileInfo // as it was read last
	looked time.Time
	said   string // the last complaint
}

// digest stands for a user with a password. Digests have one length, so that
// comparing them tells nothing of the passwords'.
type digest [sha256.Size]byte

func digestOf(user, password []byte) digest {
	b := binary.AppendUvarint(nil, uint64(len(user)))
	return sha256.Sum256(append(append(b, user...), password...))
}

// openPasswords reads an auth file.
func openPasswords(path string, log *slog.Logger) (*passwords, error) {
	p := &passwords{path: path, log: log, looked: time.Now()}
	return p, p.read()
}

// check tells whether there is such a user with this password.
func (p *passwords) check(user, password []byte) bool {
	d, found := digestOf(user, password), 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look()
	for i := range p.users {
		found |= subtle.ConstantTimeCompare(p.users[i][:], d[:])
	}
	return found == 1
}

// look reads the file again if it changed. One that cannot be read, as while it
// is being written, leaves all as it was. Called with mu held.
func (p *passwords) look() {
	now := time.Now()
	if now.Sub(p.looked) < lookEvery {
		return
	}
	p.looked = now
	fi, err := os.Stat(p.path)
	switch same := err == nil && os.SameFile(fi, p.file); {
	case same && (!fi.Mode().IsRegular() || fi.ModTime().Equal(p.file.ModTime()) && fi.Size() == p.file.Size()):
		p.said = "" // what was given by a pipe is not given twice
		return
	case err == nil && !fi.Mode().IsRegular(): // to open a pipe would hold up every client until somebody writes
		err = &AuthFileError{Path: p.path, Err: errors.New("not a regular file")}
	default:
		err = p.read()
	}
	if err == nil {
		p.said = ""
		p.log.Info("read the auth file again", "path", p.path, "users", len(p.users))
	} else if p.said != err.Error() {
		p.said = err.Error()
		p.log.Warn("the auth file changed and cannot be read: what it said before holds", "err", err)
	}
}

// read reads the file. Called with mu held, or before anybody else knows p.
func (p *passwords) read() error {
	wrong := func(err error) error { return &AuthFileError{Path: p.path, Err: pathless(err)} }
	f, err := os.Open(p.path)
	if err != nil {
		return wrong(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return wrong(err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxAuthFile+1))
	if err != nil {
		return wrong(err)
	}
	if len(text) > maxAuthFile {
		return wrong(fmt.Errorf("more than %d bytes", maxAuthFile))
	}
	users, line, err := parseUsers(text)
	if err != nil {
		return &AuthFileError{Path: p.path, Line: line, Err: err}
	}
	p.users, p.file = users, fi
	return nil
}

// parseUsers takes lines of user:password, as memcached's auth file has them. It
// passes over empty lines. A user may have several passwords.
func parseUsers(text []byte) (users []digest, line int, err error) {
	for l := range bytes.SplitSeq(text, []byte("\n")) {
		line++
		l = bytes.TrimSuffix(l, []byte("\r"))
		if len(l) == 0 {
			continue
		}
		user, password, ok := bytes.Cut(l, []byte(":"))
		switch {
		case !ok:
			return nil, line, errors.New("no colon: want user:password")
		case len(user) == 0:
			return nil, line, errors.New("no user before the colon: want user:password")
		case len(password) == 0:
			return nil, line, errors.New("no password after the colon: want user:password")
		case bytes.IndexByte(user, ' ') >= 0:
			return nil, line, errors.New("a user with a space in its name: text clients could not name it")
		case bytes.IndexByte(l, 0) >= 0:
			return nil, line, errors.New("a NUL byte: no client could send it")
		}
		users = append(users, digestOf(user, password))
	}
	if len(users) == 0 {
		return nil, 0, errors.New("no user in it: want lines of user:password")
	}
	return users, 0, nil
}

// pathless strips the path, which the caller names.
func pathless(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// authenticate answers a client that named a user and a password, and lets it in
// if they are right.
func (c *conn) authenticate(r *memcache.Request) {
	if !c.g.passwords.check(r.Key, r.Value) {
		c.answer(r, memcache.Reply{Status: memcache.StatusAuthFailed})
		return
	}
	c.parser.Admit()
	c.answer(r, memcache.Reply{Value: []byte("Authenticated")})
}

package kumogateway

import (
	"crypto/hmac"
	"crypto/rand"
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
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
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

// account is a user, for as long as the gateway runs: the file may change what the
// user may do while connections are open.
type account struct {
	grant atomic.Pointer[grant] // nil: the user is not in the file any more
}

// grant is what a user may do. It is never changed once stored.
type grant struct {
	rights rights
	prefix string // before each of the user's keys, behind the gateway's
}

// credential is a password of a user.
type credential struct {
	user   string
	of     *account
	digest digest                 // of a password that the file holds as it is
	hash   []byte                 // what bcrypt made of it; nil: the file holds it as it is
	proven atomic.Pointer[digest] // of the password that the hash was found to be of
}

// digest stands for a user with a password. Digests have one length, so that
// comparing them tells nothing of the passwords', and a key of this process's, so
// that one tells nobody else anything.
type digest [sha256.Size]byte

// users are those of an auth file, read again when it changes.
type users struct {
	path     string
	outer    string // prefix of all keys, before those of users
	log      *slog.Logger
	key      [sha256.Size]byte // of digests
	strange  []byte            // a hash that no password has been made into
	checking chan struct{}     // full while a hash is compared: that is work, which clients can ask for
	closing  <-chan struct{}   // closed when nobody is to wait for that any more

	mu     sync.Mutex
	all    []*credential // never changed once stored
	byName map[string]*account
	file   fs.FileInfo // as it was read last
	looked time.Time
	anew   bool   // the file is read however it looks
	said   string // the last complaint
}

// openUsers reads an auth file. outer is put before all keys. closing ends what
// waits.
func openUsers(path, outer string, log *slog.Logger, closing <-chan struct{}) (*users, error) {
	u := &users{
		path: path, outer: outer, log: log, looked: time.Now(), byName: map[string]*account{},
		checking: make(chan struct{}, 1), closing: closing,
	}
	rand.Read(u.key[:])
	return u, u.read()
}

func (u *users) digestOf(user, password []byte) (d digest) {
	h := hmac.New(sha256.New, u.key[:])
	h.Write(binary.AppendUvarint(nil, uint64(len(user))))
	h.Write(user)
	h.Write(password)
	h.Sum(d[:0])
	return d
}

// check returns the user with this name and password, nil if there is none. The
// time that it takes does not tell whether there is such a user.
func (u *users) check(user, password []byte) *account {
	d := u.digestOf(user, password)
	u.mu.Lock()
	u.look()
	all, strange := u.all, u.strange
	u.mu.Unlock()
	var found *account
	var hashes []*credential
	for _, c := range all {
		right := &c.digest
		if c.hash != nil {
			if right = c.proven.Load(); right == nil {
				right = new(digest)
			}
			if c.user == string(user) {
				hashes = append(hashes, c)
			}
		}
		if subtle.ConstantTimeCompare(right[:], d[:]) == 1 {
			found = c.of
		}
	}
	if found != nil || strange == nil {
		return found
	}
	select {
	case u.checking <- struct{}{}:
	case <-u.closing:
		return nil
	}
	defer func() { <-u.checking }()
	for _, c := range hashes {
		if bcrypt.CompareHashAndPassword(c.hash, password) == nil {
			c.proven.Store(&d)
			found = c.of
		}
	}
	if len(hashes) == 0 {
		_ = bcrypt.CompareHashAndPassword(strange, password)
	}
	return found
}

// look reads the file again if it changed. One that cannot be read, as while it
// is being written, leaves all as it was. Called with mu held.
func (u *users) look() {
	now := time.Now()
	if now.Sub(u.looked) < lookEvery {
		return
	}
	u.looked = now
	fi, err := os.Stat(u.path)
	switch same := err == nil && !u.anew && os.SameFile(fi, u.file); {
	case same && (!fi.Mode().IsRegular() || fi.ModTime().Equal(u.file.ModTime()) && fi.Size() == u.file.Size()):
		u.said = "" // what was given by a pipe is not given twice
		return
	case err == nil && !fi.Mode().IsRegular(): // to open a pipe would hold up every client until somebody writes
		err = &AuthFileError{Path: u.path, Err: errors.New("not a regular file")}
	default:
		err = u.read()
	}
	if err == nil {
		u.said = ""
		u.log.Info("read the auth file again", "path", u.path, "passwords", len(u.all))
	} else if u.said != err.Error() {
		u.said = err.Error()
		u.log.Warn("the auth file changed and cannot be read: what it said before holds", "err", err)
	}
}

// reload reads the file at once, also if it looks as before.
func (u *users) reload() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.looked, u.anew = time.Time{}, u.file.Mode().IsRegular()
	u.look()
	u.anew = false
}

// read reads the file. Called with mu held, or before anybody else knows u.
func (u *users) read() error {
	wrong := func(err error) error { return &AuthFileError{Path: u.path, Err: pathless(err)} }
	f, err := os.Open(u.path)
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
	entries, line, err := parseUsers(text, len(u.outer))
	if err != nil {
		return &AuthFileError{Path: u.path, Line: line, Err: err}
	}
	if err := u.install(entries); err != nil {
		return wrong(err)
	}
	if u.file = fi; fi.Mode().IsRegular() && fi.Mode().Perm()&0o004 != 0 {
		u.log.Warn("everybody on this machine can read the auth file: chmod o-r", "path", u.path)
	}
	return nil
}

// install has the entries of a file hold from now on, on open connections too.
func (u *users) install(entries []entry) error {
	all, cost := make([]*credential, len(entries)), 0
	there := map[string]bool{}
	for i, e := range entries {
		name := string(e.user)
		c := &credential{user: name, of: u.byName[name]}
		if c.of == nil {
			c.of = new(account)
			u.byName[name] = c.of
		}
		if e.cost > 0 {
			c.hash, cost = e.password, max(cost, e.cost)
		} else {
			c.digest = u.digestOf(e.user, e.password)
		}
		c.of.grant.Store(&grant{rights: e.rights, prefix: e.prefix})
		all[i], there[name] = c, true
	}
	for name, a := range u.byName {
		if !there[name] {
			a.grant.Store(nil)
			delete(u.byName, name)
		}
	}
	u.all, u.strange = all, nil
	if cost == 0 {
		return nil
	}
	var err error
	u.strange, err = bcrypt.GenerateFromPassword(u.key[:], cost)
	return err
}

// pathless strips the path, which the caller names.
func pathless(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

package kumogateway_test

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumogateway"
)

// authFile writes an auth file as an administrator should: all at once.
func authFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// withUsers is the option of a gateway with this auth file.
func withUsers(t *testing.T, text string) (path string, option func(*kumogateway.Options)) {
	path = filepath.Join(t.TempDir(), "users")
	authFile(t, path, text)
	return path, func(o *kumogateway.Options) { o.AuthFile = path }
}

// status sends a packet and returns the answer's status and body.
func (c *client) status(opcode byte, key, value string) (uint16, string) {
	c.t.Helper()
	b := []byte{0x80, opcode, 0, byte(len(key)), 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)+len(value)))
	b = append(b, make([]byte, 12)...)
	c.send("%s", append(append(b, key...), value...))
	head := make([]byte, 24)
	if _, err := io.ReadFull(c.r, head); err != nil {
		c.t.Fatalf("answer to opcode %#x: %v", opcode, err)
	}
	body := make([]byte, binary.BigEndian.Uint32(head[8:]))
	if _, err := io.ReadFull(c.r, body); err != nil {
		c.t.Fatalf("answer to opcode %#x: %v", opcode, err)
	}
	return binary.BigEndian.Uint16(head[6:]), string(body)
}

func (c *client) wantStatus(want uint16, opcode byte, key, value string) {
	c.t.Helper()
	if got, body := c.status(opcode, key, value); got != want {
		c.t.Errorf("opcode %#x: status %#x %q, want %#x", opcode, got, body, want)
	}
}

func TestAuthInText(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	path, users := withUsers(t, "foo:bar\r\nfoo:old bar\n\nme:x:y")
	g := openGateway(t, servers, users)
	c := dial(t, g)
	c.do("get a\r\n", "CLIENT_ERROR unauthenticated\r\n")
	c.do("mg a v\r\n", "CLIENT_ERROR unauthenticated\r\n")
	c.do("set a 0 0 7\r\nfoo baz\r\n", "CLIENT_ERROR authentication failure\r\n")
	c.do("set a 0 0 7\r\nfoo bar\r\nset a 0 0 1\r\nx\r\nmg a v\r\n", "STORED\r\nSTORED\r\nVA 1\r\nx\r\n")
	dial(t, g).do("get a\r\n", "CLIENT_ERROR unauthenticated\r\n")
	dial(t, g).do("set a 0 0 6\r\nme x:y\r\nmn\r\n", "STORED\r\nMN\r\n")
	dial(t, g).do("set a 0 0 11\r\nfoo old bar\r\nmn\r\n", "STORED\r\nMN\r\n")
	dial(t, g).do("set a 0 0 3\r\nme \r\n", "CLIENT_ERROR authentication failure\r\n")
	if s := c.stats(""); s["auth_cmds"] != "5" || s["auth_errors"] != "2" {
		t.Errorf("auth_cmds %s, auth_errors %s", s["auth_cmds"], s["auth_errors"])
	}
	if s := c.stats(" settings"); s["auth_enabled_sasl"] != "yes" || s["auth_enabled_ascii"] != path {
		t.Errorf("auth_enabled_sasl %s, auth_enabled_ascii %s", s["auth_enabled_sasl"], s["auth_enabled_ascii"])
	}
}

func TestAuthInBinary(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	_, users := withUsers(t, "foo:bar\n")
	g := openGateway(t, servers, users)
	c := dial(t, g)
	if s, body := c.status(0x20, "", ""); s != 0 || body != "PLAIN" {
		t.Errorf("mechanisms: %#x %q", s, body)
	}
	c.wantStatus(0, 0x0b, "", "")
	c.wantStatus(0x20, 0x22, "PLAIN", "\x00foo\x00bar")
	c.wantStatus(0x20, 0x21, "PLAIN", "\x00foo\x00baz")
	c.wantStatus(0x20, 0x00, "a", "")
	if rest := c.rest(); rest != "" {
		t.Errorf("after a refusal: %q", rest)
	}
	c = dial(t, g)
	if s, body := c.status(0x21, "PLAIN", "\x00foo\x00bar"); s != 0 || body != "Authenticated" {
		t.Errorf("the right password: %#x %q", s, body)
	}
	c.wantStatus(1, 0x00, "a", "")
	c.wantStatus(0x21, 0x21, "PLAIN", "")
	c.wantStatus(0, 0x22, "PLAIN", "foo\x00foo\x00bar")
	c.wantStatus(1, 0x00, "a", "")
}

// A changed file is read without a restart; one that makes no sense leaves what
// there was.
func TestAuthFileChanges(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	path, users := withUsers(t, "foo:bar\n")
	g := openGateway(t, servers, users)
	in := func(user, password string) bool {
		c := dial(t, g)
		c.send("set a 0 0 %d\r\n%s %s\r\n", len(user)+1+len(password), user, password)
		return c.line() == "STORED"
	}
	if !in("foo", "bar") || in("foo", "new") {
		t.Fatal("not as the file says")
	}
	old := dial(t, g)
	old.do("set a 0 0 7\r\nfoo bar\r\n", "STORED\r\n")
	authFile(t, path, "foo:new\n")
	eventually(t, "the new password counts", func() bool { return in("foo", "new") })
	if in("foo", "bar") {
		t.Error("the old password counts, too")
	}
	old.do("mn\r\n", "MN\r\n") // who is in stays in
	authFile(t, path, "nonsense\n")
	authFile(t, path, "foo:newer\n")
	eventually(t, "the newer password counts", func() bool { return in("foo", "newer") })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !in("foo", "newer") {
		t.Error("without the file nobody comes in")
	}
}

// A pipe in the file's place, which nobody writes to, holds up nobody.
func TestAuthFileBecomesPipe(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	path, users := withUsers(t, "foo:bar\n")
	log := new(syncBuffer)
	g := openGateway(t, servers, users, func(o *kumogateway.Options) { o.Log = slog.New(slog.NewTextHandler(log, nil)) })
	pipe := path + ".pipe"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	// What waits for the pipe must not wait longer than the test.
	t.Cleanup(func() {
		if f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	})
	if err := os.Rename(pipe, path); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "everybody on this machine") {
		t.Errorf("the log says %s", log)
	}
	eventually(t, "the log names it", func() bool {
		c := dial(t, g)
		c.nc.SetDeadline(time.Now().Add(5 * time.Second))
		c.do("set a 0 0 7\r\nfoo bar\r\n", "STORED\r\n")
		return strings.Contains(log.String(), "not a regular file")
	})
}

func TestWrongAuthFiles(t *testing.T) {
	for text, want := range map[string]string{
		"foo:bar\nnonsense\n":                "line 2: no colon",
		"foo:bar\n:baz\n":                    "line 2: no user",
		"foo:\n":                             "line 1: no password",
		"\n\nfoo bar:baz\n":                  "line 3: \"bar\" is no right",
		"foo:b\x00r":                         "line 1: a NUL",
		"":                                   "no user in it",
		"\r\n\n":                             "no user in it",
		strings.Repeat("a:b\n", 1<<18) + "x": "more than 1048576 bytes",
	} {
		path, users := withUsers(t, text)
		o := kumogateway.Defaults()
		users(&o)
		_, err := kumogateway.Open(o)
		if wrong := new(kumogateway.AuthFileError); !errors.As(err, &wrong) || wrong.Path != path || !strings.Contains(err.Error(), path+": "+want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
	o := kumogateway.Defaults()
	o.AuthFile = filepath.Join(t.TempDir(), "none")
	if _, err := kumogateway.Open(o); !errors.Is(err, os.ErrNotExist) && (err == nil || !strings.Contains(err.Error(), "no such file")) {
		t.Errorf("without a file: %v", err)
	}
}

// A file that everybody can read is no error, but is said.
func TestOpenAuthFile(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	path, users := withUsers(t, "foo:bar\n")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	log := new(syncBuffer)
	openGateway(t, servers, users, func(o *kumogateway.Options) { o.Log = slog.New(slog.NewTextHandler(log, nil)) })
	if !strings.Contains(log.String(), "everybody on this machine can read the auth file") {
		t.Errorf("the log says %s", log)
	}
}

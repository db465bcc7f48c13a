package testenv_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// A cluster of processes whose gateway has an auth file starts, and lets in who
// knows a password.
func TestAuthFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("foo:bar\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := testenv.New(t, testenv.Processes(), testenv.Servers(1), testenv.Replicas(1), testenv.Args(subjects.RoleGateway, "--auth-file", path))
	m := c.Client(0)
	if _, err := m.Get("k"); !errors.Is(err, testenv.ServerError("CLIENT_ERROR unauthenticated")) {
		t.Errorf("get before authentication: %v", err)
	}
	if _, err := m.Store("set", "any", "foo baz"); !errors.Is(err, testenv.ServerError("CLIENT_ERROR authentication failure")) {
		t.Errorf("a wrong password: %v", err)
	}
	if err := m.Set("any", "foo bar"); err != nil {
		t.Fatal(err)
	}
	if v, err := m.Get("any"); !errors.Is(err, testenv.ErrMiss) {
		t.Errorf("the password was stored: %q, %v", v, err)
	}
	if err := m.Set("k", "v"); err != nil {
		t.Fatal(err)
	}
	if v, err := m.Get("k"); v != "v" {
		t.Errorf("get: %q, %v", v, err)
	}
}

// A gateway that cannot read its auth file does not start, and names option,
// file and line.
func TestWrongAuthFileEndsTheStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("foo:bar\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "daemon", "gateway", "-m", "127.0.0.1", "-t", "127.0.0.1:0", "--auth-file", path)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	if want := "--auth-file: " + path + ": line 2: no colon: want user:password"; !strings.Contains(errs.String(), want) {
		t.Errorf("it says %q, want %q", errs.String(), want)
	}
}

package testenv_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A daemon that cannot start ends with a code, and says which option, file or
// port is why; one whose managers do not answer keeps trying, says where, and
// needs next to no CPU for it.
func TestDaemonsSayWhyNot(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binaries")
	}
	bin, dir := build(t), t.TempDir()
	host := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(253), rand.IntN(256))
	photos := filepath.Join(dir, "photos")
	if err := os.MkdirAll(photos, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(photos, "photo.jpg"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(photos, "photo.jpg")
	taken, err := net.Listen("tcp", host+"9:0")
	if err != nil {
		t.Skip("needs many loopback addresses")
	}
	defer taken.Close()
	port := taken.Addr().String()
	start(t, command(bin, dir, "kumo-manager", "-l", host+"1", "-s", "used-by-manager"))
	start(t, command(bin, dir, "kumo-server", "-l", host+"2", "-m", host+"1", "-s", "used-by-server"))
	eventually(t, "a server waits", func() bool {
		out, _ := command(bin, dir, "kumoctl", host+"1", "status").Output()
		return bytes.Contains(out, []byte(host+"2"))
	})
	for _, c := range []struct {
		line string
		code int
		says []string
	}{
		{"kumo-manager -l HOST3 --nonsense", 2, []string{"--nonsense"}},
		{"kumo-server -l HOST3 -m HOST1 -s new --nonsense", 2, []string{"--nonsense"}},
		{"kumo-gateway -m HOST1 -t HOST3:11211 --nonsense", 2, []string{"--nonsense"}},
		{"kumo-server -l HOST3 -s new", 2, []string{"-m"}},
		{"kumo-server -l HOST3 -m HOST1", 2, []string{"-s"}},
		{"kumo-server -l HOST3 -m HOST1 -s new --sync sometimes", 2, []string{"sometimes", "always"}},
		{"kumo-manager -l HOST3 -s PHOTOS", 1, []string{photos, "name another folder"}},
		{"kumo-server -l HOST3 -m HOST1 -s PHOTOS", 1, []string{photos, "name another folder"}},
		{"kumo-server -l HOST3 -m HOST1 -s FILE", 1, []string{file, "-s names a folder"}},
		{"kumo-manager -l HOST3 -s FILE", 1, []string{file, "-s names a folder"}},
		{"kumo-manager -l HOST3 -s used-by-manager", 1, []string{"used-by-manager", "in use"}},
		{"kumo-server -l HOST3 -m HOST1 -s used-by-server", 1, []string{"used-by-server", "in use"}},
		{"kumo-manager -l TAKEN -s new-manager", 1, []string{port, "in use"}},
		{"kumo-server -l TAKEN -m HOST1 -s new-server", 1, []string{port, "in use"}},
		{"kumo-gateway -m HOST1 -t TAKEN", 1, []string{port, "in use"}},
		{"kumo-gateway -m HOST1 -t HOST3:0 --key-prefix " + strings.Repeat("k", 250), 2, []string{"key prefix"}},
	} {
		line := strings.NewReplacer("HOST", host, "PHOTOS", photos, "FILE", file, "TAKEN", port).Replace(c.line)
		cmd := command(bin, dir, strings.Fields(line)...)
		out, code := ends(t, cmd)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d: %s", line, code, c.code, out)
		}
		for _, word := range c.says {
			if !strings.Contains(out, word) {
				t.Errorf("%s: says nothing of %q: %s", line, word, out)
			}
		}
	}
	if list, _ := os.ReadDir(photos); len(list) != 1 {
		t.Errorf("somebody's folder holds %v afterwards", list)
	}

	t.Run("nobody answers", func(t *testing.T) {
		for _, line := range []string{
			"kumo-server -l HOST4 -m HOST7 -s lonely",
			"kumo-gateway -m HOST7 -t HOST5:11211",
		} {
			line = strings.ReplaceAll(line, "HOST", host)
			cmd := command(bin, dir, strings.Fields(line)...)
			var text locked
			cmd.Stdout, cmd.Stderr = &text, &text
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			eventually(t, "it says where it looks", func() bool { return strings.Contains(text.String(), host+"7") })
			cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v: %s", line, err, &text)
			}
			took, cpu := time.Since(began), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
			if lines := strings.Count(text.String(), "\n"); lines > 20+int(took/time.Second) {
				t.Errorf("%s: %d lines in %s: %s", line, lines, took, &text)
			}
			if cpu > time.Second+took/4 {
				t.Errorf("%s: %s of CPU in %s", line, cpu, took)
			}
		}
	})
}

// ends runs a command that is to end by itself.
func ends(t *testing.T, cmd *exec.Cmd) (out string, code int) {
	t.Helper()
	var text locked
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		<-ended
		t.Errorf("%s does not end: %s", cmd, &text)
	}
	return text.String(), cmd.ProcessState.ExitCode()
}

// locked is a buffer that may be read while it is written.
type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

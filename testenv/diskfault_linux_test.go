package testenv_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/testenv"
)

// inject has the kernel fail calls of a running process, with strace, or skips the
// test where that is not allowed.
func inject(t *testing.T, pid int, what string) {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	out := filepath.Join(t.TempDir(), "calls")
	calls, _, _ := strings.Cut(what, ":")
	cmd := exec.Command(path, "-f", "-o", out, "-p", fmt.Sprint(pid), "-e", "trace="+calls, "-e", "inject="+what)
	said := &strings.Builder{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	select {
	case err := <-ended:
		ended <- err
		if strings.Contains(said.String(), "not permitted") {
			t.Skipf("needs to trace processes: %s", said)
		}
	case <-time.After(10 * time.Millisecond): // it goes on, or the test finds out
	}
}

// The kernel reports that a write or a sync of a server failed: the server ends and
// says so, the others go on, and when it is started again it comes back as a copy
// that is made good before it counts.
func TestDiskErrors(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.New(t, testenv.Processes(), testenv.Partitions(8), testenv.Sync("always"))
	c.Fill(filled / 6)
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	for _, fault := range []struct{ call, error, says string }{
		{"fdatasync,fsync", "EIO", "input/output error"},
		{"pwrite64", "EIO", "input/output error"},
	} {
		t.Log(fault.call, fault.error)
		before := len(c.LogOf("server1"))
		inject(t, c.PID("server1"), fault.call+":error="+fault.error+":when=5+")
		select {
		case <-c.Ended("server1"):
		case <-time.After(testenv.Patience):
			t.Fatal("the server goes on")
		}
		if err := c.Err("server1"); err == nil {
			t.Error("it ended as if it had been told to")
		}
		if log := c.LogOf("server1")[before:]; !strings.Contains(log, "the store has failed") || !strings.Contains(log, fault.says) {
			t.Errorf("it does not say why it ended:\n%s", log)
		}
		load.GoesOn()
		c.Start("server1")
		c.EventuallyState("server1", "up")
		c.EventuallyWhole()
		load.GoesOn()
	}
	load.Stop()
	load.NoErrors()
	load.Verify()
	c.Kill("server2", "server3")
	load.Verify()
	c.VerifyFill(filled / 6)
}

// The disks of all servers are full: values are refused with memcached's word for
// that, what there is can be read and deleted, nothing moves, and all goes on when
// there is room again.
func TestAllDisksFull(t *testing.T) {
	variation(t)
	t.Parallel()
	dir := t.TempDir()
	var do func(...string)
	folder := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range servers {
		do = own(t, folder(name), "tmpfs", 200)
	}
	c := testenv.New(t, testenv.Processes(), testenv.Folder(dir), testenv.Partitions(8))
	c.Fill(300)
	c.EventuallyWhole()
	m := c.Client(0)
	big, stored, refused := strings.Repeat("x", 500_000), 0, 0
	for n := 0; refused < 5; n++ {
		if n > 2000 {
			t.Fatal("the disks do not fill up")
		}
		err := m.Set(fmt.Sprint("big", n), big)
		var answer testenv.ServerError
		switch {
		case err == nil:
			stored++
		case errors.As(err, &answer) && strings.Contains(err.Error(), "out of memory"):
			refused++
		default:
			t.Fatal(err)
		}
	}
	t.Logf("full after %d values", stored)
	c.VerifyFill(300)
	if err := m.Delete("fill-7"); err != nil {
		t.Errorf("delete: %v", err)
	}
	// A copy may be out: one whose disk was full before its primary's could not take
	// what that had taken. But nobody makes another in its place.
	if st := c.Status(); st.Moves.Active > 0 || st.Moves.Surplus > 0 || st.Partitions.Down > 0 {
		t.Errorf("something moves: %+v %+v", st.Moves, st.Partitions)
	}
	for _, name := range servers {
		do("mount", "-o", "remount,size=1500m", folder(name))
	}
	c.Eventually("there is room again", func() bool {
		for _, name := range servers {
			if diskOf(c, name).Full {
				return false
			}
		}
		return true
	})
	for i := range 10 {
		c.Set(fmt.Sprint("more", i), big)
	}
	c.EventuallyWhole()
	if v, err := m.Get("fill-7"); err == nil {
		t.Errorf("what was deleted is %.20q", v)
	}
	for i := range 300 {
		if v, err := m.Get(fmt.Sprint("fill-", i)); i != 7 && (err != nil || len(v) != 1024) {
			t.Fatalf("fill-%d: %v", i, err)
		}
	}
}

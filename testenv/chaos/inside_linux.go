package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// ownNamespaces are those of a run: with the first process of the last one, the
// kernel ends all others, and with them the network and everything mounted.
const ownNamespaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID

// Isolate makes a command begin in namespaces of its own.
func Isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: ownNamespaces}
}

// MayIsolate returns nil if Isolate works here, or says what is missing.
func MayIsolate() error {
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("%w: iproute2 is not installed (apt-get install iproute2): %w", ErrNoNamespaces, err)
	}
	cmd := exec.Command("ip", "link", "add", "br0", "type", "bridge")
	Isolate(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: it takes root and a kernel with bridges: %w: %s", ErrNoNamespaces, err, out)
	}
	return nil
}

// netnsDir is where ip keeps the names of network namespaces.
const netnsDir = "/var/run/netns"

// Inside settles into the namespaces that Isolate made: what is mounted or
// named here is seen by nobody outside.
func Inside() error {
	if os.Getpid() != 1 {
		return fmt.Errorf("%w: this is not the first process of a namespace", ErrNoNamespaces)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return fmt.Errorf("make a place for the names of namespaces: %w", err)
	}
	if err := syscall.Mount("netns", netnsDir, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount a place for the names of namespaces: %w", err)
	}
	return ip("link set lo up\n")
}

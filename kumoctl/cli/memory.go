package cli

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// Memory is how much memory this process may have.
type Memory struct {
	Bytes int64  // 0: as much as there is
	From  string // what says so
}

// goLimit is the environment variable with which Go's collector is told.
const goLimit = "GOMEMLIMIT"

// noLimit is what a control group's limit is below, if there is one.
const noLimit = 1 << 60

// MemoryLimit finds how much memory this process may have: what GOMEMLIMIT says,
// or the limit of its control group, as systemd's MemoryMax and containers set it.
func MemoryLimit() Memory {
	if os.Getenv(goLimit) != "" {
		if n := debug.SetMemoryLimit(-1); n < math.MaxInt64 {
			return Memory{n, goLimit}
		}
	}
	return memoryOfGroup("/")
}

// HeedMemory has the collector stay below the limit of the control group, if it
// was not told another: without, it lets the process grow until that is ended.
func HeedMemory(m Memory) {
	if m.Bytes > 0 && m.From != goLimit {
		debug.SetMemoryLimit(heeded(m.Bytes))
	}
}

// Share is an even part of the memory, for one of so many daemons.
func (m Memory) Share(daemons int) Memory {
	m.Bytes /= int64(max(1, daemons))
	return m
}

// Environ tells a process of its share of what this one may have: it can see the
// limit of their control group, and not who else is below it. What GOMEMLIMIT says
// to this one it says to each.
func (m Memory) Environ() []string {
	if m.Bytes == 0 || m.From == goLimit {
		return nil
	}
	return []string{goLimit + "=" + strconv.FormatInt(heeded(m.Bytes), 10)}
}

// heeded is what the collector is told, of a limit beyond which the process is ended.
func heeded(limit int64) int64 { return limit / 10 * 9 }

// memoryOfGroup finds the least limit of the process's control group and those
// above it, of either version. root is the file system's.
func memoryOfGroup(root string) (least Memory) {
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return Memory{}
	}
	for line := range strings.Lines(string(groups)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) < 3 {
			continue
		}
		top, file := "/sys/fs/cgroup", "memory.max"
		if f[1] == "memory" {
			top, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if f[1] != "" {
			continue
		}
		// Where the group is the top of what is to be seen, as in containers, its path
		// may name what is not there.
		for at := filepath.Clean("/" + f[2]); ; at = filepath.Dir(at) {
			path := filepath.Join(top, at, file)
			if n := limitIn(filepath.Join(root, path)); n > 0 && (least.Bytes == 0 || n < least.Bytes) {
				least = Memory{n, path}
			}
			if at == "/" {
				break
			}
		}
	}
	return least
}

// limitIn is the limit that a file holds, 0 for none.
func limitIn(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n >= noLimit { // "max"
		return 0
	}
	return n
}

package testenv

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
)

// Folder is where a node keeps its data.
func (c *Cluster) Folder(name string) string { return filepath.Join(c.Dir(), name) }

// LoseMachine makes the folder of a server whose process was killed what the
// death of its machine would have left: the note of how its process ran names
// another boot of the machine, and the last bytes of the log never reached the
// disk.
func (c *Cluster) LoseMachine(name string, unsynced int) {
	c.t.Helper()
	path := filepath.Join(c.Folder(name), "run.json")
	data, err := os.ReadFile(path)
	c.must(err)
	note := map[string]any{}
	c.must(json.Unmarshal(data, &note))
	if note["clean"] != false {
		c.t.Fatalf("%s ended in good order: %s", name, data)
	}
	note["os_boot"] = "a boot of the machine before this one"
	data, err = json.Marshal(note)
	c.must(err)
	c.must(os.WriteFile(path, data, 0o600))
	c.blank(c.LogSegments(name), unsynced)
}

// LogSegments lists the files of a server's log, oldest first.
func (c *Cluster) LogSegments(name string) []string {
	c.t.Helper()
	list, err := filepath.Glob(filepath.Join(c.Folder(name), "log", "*.wal"))
	c.must(err)
	slices.Sort(list)
	return list
}

// blank writes zeros over the last bytes of the newest segment that was begun.
func (c *Cluster) blank(segments []string, n int) {
	c.t.Helper()
	for _, path := range slices.Backward(segments) {
		b, err := os.ReadFile(path)
		c.must(err)
		end := len(bytes.TrimRight(b, "\x00"))
		if end == 0 {
			continue // made, not begun
		}
		from := max(end-n, 0)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		c.must(err)
		_, err = f.WriteAt(make([]byte, end-from), int64(from))
		c.must(err)
		c.must(f.Close())
		return
	}
}

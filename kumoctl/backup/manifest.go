// Package backup is backups of a cluster: taken while it runs, checked without it,
// merged and read back. docs/backup.md has the format.
package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// The files of a backup beside those with records. The sums are written last, in
// the form of the command sha256sum: a folder without them is no backup.
const (
	manifestName = "manifest.json"
	sumsName     = "SHA256SUMS"
	format       = 1
)

// Manifest says what is in a backup.
type Manifest struct {
	Format  int    `json:"format"`
	Version string `json:"kumofs"` // that took it
	ID      string `json:"id"`     // random
	// Base is the ID of the backup whose ranges are not repeated here; empty: this
	// one is full.
	Base      string         `json:"base,omitempty"`
	Cluster   string         `json:"cluster"`
	ClusterID ring.ClusterID `json:"cluster_id"`
	Began     time.Time      `json:"began"`
	Ended     time.Time      `json:"ended"`
	Records   int64          `json:"records"` // of the cluster, here or in the base
	Bytes     int64          `json:"bytes"`   // of these records
	Table     *ring.Table    `json:"table"`   // the partition table when the backup began
	Parts     []Part         `json:"partitions"`
}

// Part is one partition, as it was when entry At had committed and the one behind it
// had not.
type Part struct {
	Partition ring.Partition   `json:"partition"`
	Node      string           `json:"node"` // that gave it
	At        subjects.Version `json:"at"`
	Epoch     ring.Epoch       `json:"epoch"` // in which that node led
	Records   int64            `json:"records"`
	Bytes     int64            `json:"bytes"`
	File      string           `json:"file"`
	Size      int64            `json:"size"` // of the file
	SHA256    string           `json:"sha256"`
	Ranges    []Range          `json:"ranges"`
}

// Range is a range of the partition's keys, in order.
type Range struct {
	subjects.KeyRange
	// Stored: its records are in the file, behind those of the range before that is
	// stored. Otherwise the base has them.
	Stored bool `json:"stored,omitempty"`
}

// DamageError says which file of a backup is damaged.
type DamageError struct {
	File string
	Err  error
}

func (e *DamageError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.File, e.Err) }

// Unwrap gives the cause.
func (e *DamageError) Unwrap() error { return e.Err }

func damaged(file, text string, args ...any) error {
	return &DamageError{file, fmt.Errorf(text, args...)}
}

// fileName is that of a partition's records.
func fileName(p ring.Partition) string { return fmt.Sprintf("partition-%05d.records", p) }

// save completes a backup: everything else is on the disk.
func (m *Manifest) save(dir string) error {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	text = append(text, '\n')
	if err := writeFile(filepath.Join(dir, manifestName), text); err != nil {
		return err
	}
	var sums bytes.Buffer
	sum := sha256.Sum256(text)
	fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), manifestName)
	for i := range m.Parts {
		fmt.Fprintf(&sums, "%s  %s\n", m.Parts[i].SHA256, m.Parts[i].File)
	}
	if err := writeFile(filepath.Join(dir, sumsName), sums.Bytes()); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Load reads and checks a backup's manifest, and not its records.
func Load(dir string) (*Manifest, error) {
	sums, err := readSums(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, manifestName)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &DamageError{path, err}
	}
	if sum := sha256.Sum256(text); sums[manifestName] != hex.EncodeToString(sum[:]) {
		return nil, damaged(path, "its checksum is not the one in %s", sumsName)
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, &DamageError{path, err}
	}
	if m.Format != format {
		return nil, fmt.Errorf("%s has format %d, this program reads %d: use the kumoctl of kumofs %s", path, m.Format, format, m.Version)
	}
	if m.Table == nil || len(m.Parts) != m.Table.Size() {
		return nil, damaged(path, "it lists %d partitions, and no table of as many", len(m.Parts))
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		if int(p.Partition) != i || p.File != fileName(p.Partition) || len(p.Ranges) == 0 {
			return nil, damaged(path, "partition %d is wrong", i)
		}
		if sums[p.File] != p.SHA256 {
			return nil, damaged(filepath.Join(dir, sumsName), "its checksum of %s is not the one in %s", p.File, manifestName)
		}
		if err := checkRanges(path, p); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// readSums reads the checksums by file.
func readSums(dir string) (map[string]string, error) {
	path := filepath.Join(dir, sumsName)
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && isDir(dir):
		return nil, fmt.Errorf("%s is no complete backup: it has no file %s", dir, sumsName)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is no backup: there is no such folder", dir)
	case err != nil:
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<24))
	if err != nil {
		return nil, &DamageError{path, err}
	}
	sums := map[string]string{}
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		sum, name, ok := strings.Cut(string(line), "  ")
		if !ok || !whole {
			return nil, damaged(path, "line %d is no checksum", len(sums)+1)
		}
		sums[name], text = sum, rest
	}
	return sums, nil
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/digest"
)

// mostRead is how much reading a backup may take beside its files: a few buffers,
// and the largest record.
const mostRead = 4*bufferSize + 2*(subjects.MaxValue+subjects.MaxKey) + 1<<20

// FuzzBackup reads a backup whose files hold anything, with checksums that fit: it
// is read or refused, and takes memory by what is there, not by what is claimed.
func FuzzBackup(f *testing.F) {
	dir := small(f, "A", "")
	manifest, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		f.Fatal(err)
	}
	records, err := os.ReadFile(filepath.Join(dir, fileName(0)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(manifest, records)
	f.Add(manifest, records[:len(records)-3])
	f.Add(manifest, append([]byte(fileHead), 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff))
	f.Add([]byte(`{"format":1,"id":"A","table":{"partitions":[{}]},"partitions":[{"file":"partition-00000.records","ranges":[{"count":9000000000000000000,"last":true,"stored":true}]}]}`), records)
	f.Fuzz(func(t *testing.T, manifest, records []byte) {
		dir := t.TempDir()
		sum := sha256.Sum256(records)
		// What the manifest says of the file is made right, so that reading goes on.
		var m Manifest
		if json.Unmarshal(manifest, &m) == nil && len(m.Parts) == 1 {
			m.Parts[0].SHA256, m.Parts[0].Size = hex.EncodeToString(sum[:]), int64(len(records))
			manifest, _ = json.Marshal(&m)
		}
		of := sha256.Sum256(manifest)
		for name, text := range map[string][]byte{
			manifestName: manifest, fileName(0): records,
			sumsName: fmt.Appendf(nil, "%x  %s\n%x  %s\n", of, manifestName, sum, fileName(0)),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, err := Open(dir)
		if err == nil {
			_ = c.Verify(t.Context(), func(int64) {})
			for p := range c.Manifest().Parts {
				_ = c.Part(p, func(rec *subjects.Record, raw []byte) error {
					if _, _, _, err := digest.Next(raw); err != nil {
						t.Fatalf("a record that is none: %v", err)
					}
					return nil
				})
			}
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > mostRead+200*uint64(len(manifest)+len(records)) {
			t.Fatalf("%d bytes take %d", len(manifest)+len(records), took)
		}
	})
}

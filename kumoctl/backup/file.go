package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/cespare/xxhash/v2"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/digest"
	"github.com/etolabo/kumofs/subjects/ring"
)

// A file with records begins with this line.
const fileHead = "kumofs records 1\n"

const bufferSize = 256 << 10

// fileWriter writes the records of a partition.
type fileWriter struct {
	f    *os.File
	w    *bufio.Writer
	sum  hash.Hash
	size int64
}

func createFile(dir string, p ring.Partition) (*fileWriter, error) {
	f, err := os.OpenFile(filepath.Join(dir, fileName(p)), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	w := &fileWriter{f: f, sum: sha256.New()}
	w.w = bufio.NewWriterSize(io.MultiWriter(f, w.sum), bufferSize)
	return w, w.write([]byte(fileHead))
}

// write takes a record as package digest writes it.
func (w *fileWriter) write(raw []byte) error {
	w.size += int64(len(raw))
	_, err := w.w.Write(raw)
	return err
}

// finish brings the file to the disk and describes it.
func (w *fileWriter) finish(part *Part) error {
	err := w.w.Flush()
	if err == nil {
		err = w.f.Sync()
	}
	if err = errors.Join(err, w.f.Close()); err != nil {
		return err
	}
	part.File, part.Size, part.SHA256 = fileName(part.Partition), w.size, hex.EncodeToString(w.sum.Sum(nil))
	part.Records, part.Bytes = 0, 0
	for i := range part.Ranges {
		part.Records += part.Ranges[i].Count
		part.Bytes += part.Ranges[i].Bytes
	}
	return nil
}

// fileReader reads the stored ranges of a partition in order, and checks all that
// there is to check.
type fileReader struct {
	path string
	part *Part
	f    *os.File
	r    *bufio.Reader
	sum  hash.Hash
	size int64
	at   int // of part.Ranges
	raw  []byte
}

func openFile(dir string, part *Part) (*fileReader, error) {
	r := &fileReader{path: filepath.Join(dir, part.File), part: part, sum: sha256.New()}
	var err error
	if r.f, err = os.Open(r.path); err != nil {
		return nil, &DamageError{r.path, err}
	}
	r.r = bufio.NewReaderSize(io.TeeReader(r.f, r.sum), bufferSize)
	head := make([]byte, len(fileHead))
	if _, err := io.ReadFull(r.r, head); err != nil || string(head) != fileHead {
		r.f.Close()
		return nil, damaged(r.path, "it does not begin as a file of records does")
	}
	r.size = int64(len(head))
	return r, nil
}

func (r *fileReader) close() { r.f.Close() }

// next calls f with the records of the next stored range; false after the last one,
// when the file as a whole was checked, too. raw is valid until f returns, and what
// rec holds aliases it.
func (r *fileReader) next(f func(rec *subjects.Record, raw []byte) error) (*Range, error) {
	for r.at < len(r.part.Ranges) && !r.part.Ranges[r.at].Stored {
		r.at++
	}
	if r.at == len(r.part.Ranges) {
		return nil, r.end()
	}
	g := &r.part.Ranges[r.at]
	r.at++
	return g, r.records(g, f)
}

func (r *fileReader) records(g *Range, f func(rec *subjects.Record, raw []byte) error) error {
	sum := xxhash.New()
	var prev []byte
	size := int64(0)
	for i := range g.Count {
		rec, err := r.record()
		if err != nil {
			return damaged(r.path, "at byte %d: %w", r.size, err)
		}
		if !g.holds(rec.Key) || i > 0 && bytes.Compare(prev, rec.Key) >= 0 {
			return damaged(r.path, "at byte %d: key %q is out of order", r.size, rec.Key)
		}
		prev = append(prev[:0], rec.Key...)
		sum.Write(r.raw)
		r.size += int64(len(r.raw))
		size += int64(len(r.raw))
		if err := f(&rec, r.raw); err != nil {
			return err
		}
	}
	if size != g.Bytes || subjects.Digest(sum.Sum64()) != g.Digest {
		return damaged(r.path, "the range from %q has %d bytes and digest %016x, not %d and %016x", g.From, size, sum.Sum64(), g.Bytes, uint64(g.Digest))
	}
	return nil
}

func (g *Range) holds(key []byte) bool {
	return bytes.Compare(key, g.From) >= 0 && (g.Last || bytes.Compare(key, g.To) < 0)
}

// record reads one into raw.
func (r *fileReader) record() (rec subjects.Record, err error) {
	head, err := r.r.Peek(digest.HeadSize)
	if err != nil {
		return rec, errors.New("the file ends")
	}
	n, err := digest.Length(head)
	if err != nil {
		return rec, err
	}
	if cap(r.raw) < n {
		r.raw = make([]byte, n)
	}
	r.raw = r.raw[:n]
	if _, err := io.ReadFull(r.r, r.raw); err != nil {
		return rec, errors.New("the file ends")
	}
	rec, _, _, err = digest.Next(r.raw)
	return rec, err
}

// end checks that nothing is left, and the file as a whole.
func (r *fileReader) end() error {
	if n, err := io.Copy(io.Discard, r.r); err != nil || n > 0 {
		return damaged(r.path, "%d bytes are behind the last record", n)
	}
	if sum := hex.EncodeToString(r.sum.Sum(nil)); r.size != r.part.Size || sum != r.part.SHA256 {
		return damaged(r.path, "it has %d bytes and checksum %s, not %d and %s", r.size, sum, r.part.Size, r.part.SHA256)
	}
	return nil
}

// Verify reads everything in a backup and checks it. The error names the file that
// is damaged (*DamageError). told is called with the bytes that were read.
func Verify(ctx context.Context, dir string, told func(bytes int64)) (*Manifest, error) {
	m, err := Load(dir)
	if err != nil {
		return nil, err
	}
	for i := range m.Parts {
		if err := verifyPart(ctx, dir, m, &m.Parts[i]); err != nil {
			return nil, err
		}
		told(m.Parts[i].Size)
	}
	return m, nil
}

func verifyPart(ctx context.Context, dir string, m *Manifest, part *Part) error {
	r, err := openFile(dir, part)
	if err != nil {
		return err
	}
	defer r.close()
	for {
		g, err := r.next(func(rec *subjects.Record, _ []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if p := m.Table.Of(rec.Key); p != part.Partition {
				return damaged(r.path, "at byte %d: key %q is of partition %d", r.size, rec.Key, p)
			}
			return nil
		})
		if err != nil || g == nil {
			return err
		}
	}
}

// checkRanges tells whether a partition's ranges cover it, each once.
func checkRanges(path string, part *Part) error {
	var at []byte
	records, bytesOf := int64(0), int64(0)
	for i := range part.Ranges {
		g := &part.Ranges[i]
		if !bytes.Equal(g.From, at) || g.Last != (i == len(part.Ranges)-1) {
			return damaged(path, "the ranges of partition %d do not join at %q", part.Partition, at)
		}
		at = g.To
		records += g.Count
		bytesOf += g.Bytes
	}
	if records != part.Records || bytesOf != part.Bytes {
		return damaged(path, "partition %d has %d records in its ranges, not %d", part.Partition, records, part.Records)
	}
	return nil
}

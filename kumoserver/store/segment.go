package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/etolabo/kumofs/subjects/ring"
)

// segment is one file of the log.
type segment struct {
	number uint64
	start  uint64 // LSN of its first byte, the head included
	size   int64  // preallocated bytes
	path   string
	file   *os.File
	dirty  bool // written to since the last sync; under wal.mu
}

// The head of a segment: magic (8), number (8), start (8), LSN where the
// segment before it ends (8), store (8), CRC-32C of all that (4), 0 (4). It is
// written with the first records; a preallocated file that was not begun has
// zeros.
const (
	segmentMagic = "kumolog1"
	segmentHead  = 48
	segmentExt   = ".wal"
)

func appendHead(b []byte, number, start, after uint64, id ring.NodeID) []byte {
	at := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint64(b, start)
	b = binary.LittleEndian.AppendUint64(b, after)
	b = binary.LittleEndian.AppendUint64(b, uint64(id))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	return append(b, 0, 0, 0, 0)
}

// readHead checks a segment's head. errEnd: it was never begun.
func readHead(b []byte, number uint64, id ring.NodeID) (start, after uint64, err error) {
	if len(b) < segmentHead {
		if allZero(b) {
			return 0, 0, errEnd
		}
		return 0, 0, errBad
	}
	h := b[:segmentHead]
	if allZero(h) {
		return 0, 0, errEnd
	}
	if string(h[:8]) != segmentMagic || binary.LittleEndian.Uint32(h[40:]) != crc32.Checksum(h[:40], castagnoli) {
		return 0, 0, errBad
	}
	if n := binary.LittleEndian.Uint64(h[8:]); n != number {
		return 0, 0, fmt.Errorf("%w: head of segment %d", errBad, n)
	}
	if n := ring.NodeID(binary.LittleEndian.Uint64(h[32:])); n != id {
		return 0, 0, fmt.Errorf("%w: segment of store %s", errBad, n)
	}
	return binary.LittleEndian.Uint64(h[16:]), binary.LittleEndian.Uint64(h[24:]), nil
}

func segmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%012d%s", number, segmentExt))
}

// createSegment makes the next segment's file, durably, so that beginning it
// costs no more than a write. With fill it is written full of zeros, until that is
// false: of what was only allocated a file system keeps that nothing was written
// there yet, and has to write that, too, whenever a part of it is synced first.
func createSegment(d *disk, path string, size int64, fill func() bool) (_ *segment, err error) {
	f, err := d.create(path, os.O_EXCL)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			d.remove(path)
		}
	}()
	if err := d.preallocate(f, size); err != nil {
		return nil, fmt.Errorf("allocate %s: %w", path, err)
	}
	if err := fillFile(d, f, size, fill); err != nil {
		return nil, fmt.Errorf("fill %s: %w", path, err)
	}
	if err := d.fullsync(f); err != nil {
		return nil, fmt.Errorf("sync %s: %w", path, err)
	}
	return &segment{size: size, path: path, file: f}, nil
}

// fillStep is how many bytes of zeros are written and synced at a time, between which
// the log's own syncs have their turn.
const fillStep = 256 << 10

// fillFile writes zeros as long as fill says so.
func fillFile(d *disk, f *os.File, size int64, fill func() bool) error {
	var zeros []byte
	for off := int64(0); off < size && fill != nil && fill(); off += fillStep {
		if zeros == nil {
			zeros = make([]byte, fillStep)
		}
		if err := d.writeAt(f, zeros[:min(fillStep, size-off)], off); err != nil {
			return err
		}
		if err := d.datasync(f); err != nil {
			return err
		}
	}
	return nil
}

// listSegments returns the numbers of the segments in dir, in order.
func listSegments(dir string) ([]uint64, error) {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var numbers []uint64
	for _, e := range list {
		base, ok := strings.CutSuffix(e.Name(), segmentExt)
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(base, 10, 64); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// readSegment returns what a segment's file holds. Only its first written bytes
// were read: the rest was preallocated and never written to, as far as the file
// system tells, and is zeros that cost neither time nor memory until somebody
// looks at them.
func readSegment(path string) (b []byte, written int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	written = writtenUpTo(f, fi.Size())
	b = make([]byte, fi.Size())
	_, err = io.ReadFull(io.NewSectionReader(f, 0, written), b[:written])
	return b, written, err
}

// read takes one record at an offset of the segment. The result is a copy.
func (g *segment) read(off int64) (recordKind, []byte, error) {
	var head [recordHead]byte
	if _, err := g.file.ReadAt(head[:], off); err != nil {
		return 0, nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:]))
	if n == 0 || n > maxRecord {
		return 0, nil, errBad
	}
	b := make([]byte, n+8)
	if _, err := g.file.ReadAt(b, off); err != nil {
		return 0, nil, err
	}
	kind, body, _, err := readRecord(b)
	return kind, body, err
}

package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// segments looks at the log, but for the segment that is written to.
func (c *scrubber) segments() error {
	c.s.wal.mu.Lock()
	segs := append([]*segment(nil), c.s.wal.segs...)
	c.s.wal.mu.Unlock()
	for i := 0; i+1 < len(segs); i++ {
		err := c.segment(segs[i])
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case errors.Is(err, errBad):
			c.s.retire(segs[i], err)
			err = c.count(0, 0, 1)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// segment reads one segment's records as a start would.
func (c *scrubber) segment(g *segment) error {
	f, err := os.Open(g.path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, scrubBytes)
	head := make([]byte, segmentHead)
	if _, err := io.ReadFull(r, head); err != nil {
		return fmt.Errorf("%w: head of %s: %w", errBad, g.path, err)
	}
	if _, _, err := readHead(head, g.number, c.s.identity.ID); err != nil {
		return fmt.Errorf("head of %s: %w", g.path, err)
	}
	var buf []byte
	var records, size int64
	for at := int64(segmentHead); ; {
		n, err := nextRecord(r, &buf)
		if errors.Is(err, errEnd) {
			return c.count(records, size, 0)
		}
		if err != nil {
			return fmt.Errorf("%s at byte %d: %w", g.path, at, err)
		}
		at += n
		records++
		if size += n; size >= scrubBytes {
			if err := c.count(records, size, 0); err != nil {
				return err
			}
			records, size = 0, 0
		}
	}
}

// nextRecord checks the next record; errEnd where nothing was written any more.
func nextRecord(r *bufio.Reader, buf *[]byte) (int64, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, errEnd // the file ends with its last record
	}
	n := int64(binary.LittleEndian.Uint32(head[:]))
	if n == 0 {
		return 0, errEnd
	}
	if n > maxRecord {
		return 0, errBad
	}
	if int64(cap(*buf)) < n+8 {
		*buf = make([]byte, n+8)
	}
	b := (*buf)[:n+8]
	copy(b, head[:])
	if _, err := io.ReadFull(r, b[4:]); err != nil {
		return 0, errBad
	}
	_, _, _, err := readRecord(b)
	return n + 8, err
}

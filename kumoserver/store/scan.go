package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// scan reads the segments in order, up to the first record that is bad.
func (r *recovery) scan() error {
	s := r.s
	dir := filepath.Join(s.opts.Dir, logDir)
	numbers, err := listSegments(dir)
	if err != nil {
		return err
	}
	r.next = 1
	for i, n := range numbers {
		path := segmentPath(dir, n)
		if i > 0 && n != r.next {
			s.note("log segment %d is missing", r.next)
			r.missing = true
			return r.distrust(dir, numbers[i:])
		}
		r.next = n
		b, written, err := readSegment(path)
		if err != nil {
			return err
		}
		if r.rewrite {
			if err := s.opts.disk.writeFile(path, b); err != nil {
				return fmt.Errorf("write the log again after a failure of the disk: %w", err)
			}
		}
		start, after, err := readHead(b, n, s.identity.ID)
		switch {
		case errors.Is(err, errEnd):
			if err := r.trim(); err != nil {
				return err
			}
			return r.distrust(dir, numbers[i:]) // made, never begun
		case err == nil && len(r.segs) > 0 && after != r.end:
			err = fmt.Errorf("it begins after %d, the log ends at %d", after, r.end)
		case err == nil && len(r.segs) > 0 && start < r.end:
			err = fmt.Errorf("it begins at %d, before %d", start, r.end)
		}
		if err != nil {
			r.damage(n, 0, b, written, err)
			if err := r.trim(); err != nil {
				return err
			}
			return r.distrust(dir, numbers[i:])
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		g := &segment{number: n, start: start, size: int64(len(b)), path: path, file: f}
		r.segs = append(r.segs, g)
		r.next++
		used, err := r.records(g, b, written)
		r.end = start + uint64(used)
		if err == nil {
			continue
		}
		r.damage(n, used, b, written, err)
		if err := r.trim(); err != nil {
			return err
		}
		return r.distrust(dir, numbers[i+1:])
	}
	return r.trim()
}

// trim gives back what the newest segment did not use; the log goes on in
// another.
func (r *recovery) trim() error {
	if len(r.segs) == 0 {
		return nil
	}
	g := r.segs[len(r.segs)-1]
	g.size = int64(r.end - g.start)
	if err := r.s.opts.disk.cut(g.file, g.size); err != nil {
		return err
	}
	return r.s.opts.disk.fullsync(g.file) // or what was cut off could come back
}

// damage notes where the log is bad and judges whether it is the tail of what a
// process was writing when it died: the record has no end, and nothing but zeros
// follows.
func (r *recovery) damage(number uint64, at int64, b []byte, written int64, err error) {
	r.s.note("log segment %d is cut at byte %d of %d: %v", number, at, len(b), err)
	r.torn = true
	if !unfinished(b[at:], max(written-at, 0)) {
		r.rotten = true
	}
}

// unfinished judges the bytes from a bad record to the end of its segment, of
// which those after the first written are known to be zeros.
func unfinished(b []byte, written int64) bool {
	if len(b) < recordHead {
		return true
	}
	end := 8 + int64(binary.LittleEndian.Uint32(b))
	if end > int64(len(b)) {
		return allZero(b[len(b)-4:]) || end <= maxRecord
	}
	return allZero(b[min(max(end-4, 4), written):written])
}

// distrust sets aside the segments from the first bad one on. Those that hold
// records mean that there is a hole in the log. (A machine that dies may leave one
// in what was written last: the end of one segment is lost, the beginning of the
// next is not.)
func (r *recovery) distrust(dir string, numbers []uint64) error {
	// The last one first: a start that is cut off in the midst of this leaves no hole
	// among their numbers.
	for _, n := range slices.Backward(numbers) {
		path := segmentPath(dir, n)
		b, written, err := readSegment(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if allZero(b[:written]) {
			if err := r.s.opts.disk.remove(path); err != nil {
				return err
			}
			continue
		}
		to, err := r.s.opts.disk.setAside(path)
		if err != nil {
			return err
		}
		r.s.note("log segment %d was set aside as %s", n, filepath.Base(to))
		r.hole = true
	}
	return nil
}

// records does the records of one segment again and returns how many bytes of
// it are good.
func (r *recovery) records(g *segment, b []byte, written int64) (used int64, err error) {
	at := segmentHead
	for {
		kind, body, size, err := readRecord(b[at:])
		if errors.Is(err, errEnd) {
			if !allZero(b[min(int64(at), written):written]) {
				return int64(at), fmt.Errorf("%w: nothing, and then something", errBad)
			}
			return int64(at), nil
		}
		if err == nil {
			err = r.record(g, int64(at), kind, body)
		}
		if err != nil {
			return int64(at), err
		}
		at += size
	}
}

// record does one record again.
func (r *recovery) record(g *segment, off int64, kind recordKind, body []byte) error {
	lsn := g.start + uint64(off)
	old := lsn < r.meta.from // of copies that are gone: only promises count
	switch kind {
	case recEntry:
		var e subjects.Entry
		if rest, err := e.Decode(body); err != nil || len(rest) > 0 || e.Partition >= ring.MaxPartitions {
			return errBad
		}
		if !old {
			r.entry(&e, g, off)
		}
		return nil
	case recRange:
		var m subjects.Range
		if err := m.Decode(slices.Clone(body)); err != nil || m.Partition >= ring.MaxPartitions {
			return errBad
		}
		p := r.s.make(m.Partition)
		if old || lsn < p.stored.lsn {
			return nil
		}
		p.touch(kind, lsn, lsn+1)
		if err := r.takeRange(p, &m); err != nil {
			r.s.note("partition %d: range %q: %v", p.id, m.From, err)
			r.log(p).broken = true
		}
		return nil
	}
	return r.small(lsn, old, kind, body)
}

// small does the records again whose bodies are numbers.
func (r *recovery) small(lsn uint64, old bool, kind recordKind, body []byte) error {
	n := numbers{b: body}
	switch kind {
	case recPromises:
		for len(n.b) > 0 && !n.fail {
			id, epoch := n.partition(), ring.Epoch(n.uint())
			if !n.fail {
				r.promise(id, epoch, lsn)
			}
		}
	case recCommits:
		for len(n.b) > 0 && !n.fail {
			id, seq := n.partition(), n.uint()
			if p := r.s.part(id); p != nil && !n.fail && !old {
				p.advance(seq)
			}
		}
	case recCut, recReset:
		id, epoch, v := n.partition(), ring.Epoch(n.uint()), n.version()
		if n.fail {
			return errBad
		}
		p := r.promise(id, epoch, lsn)
		switch {
		case old:
		case kind == recCut:
			r.cut(p, v)
		default:
			r.reset(p, kind, v, lsn)
		}
	case recUnclean, recClean, recAdopt:
		id := n.partition()
		if n.fail {
			return errBad
		}
		if p := r.s.make(id); !old && lsn >= p.stored.lsn {
			p.touch(kind, lsn, lsn+1)
			r.settle(p, kind)
		}
	case recDrop, recLost:
		id := n.partition()
		if n.fail {
			return errBad
		}
		if p := r.s.make(id); !old {
			r.reset(p, kind, subjects.Version{}, lsn)
		}
	default:
		return errBad
	}
	if n.fail {
		return errBad
	}
	return nil
}

func (r *recovery) promise(id ring.Partition, epoch ring.Epoch, lsn uint64) *part {
	p := r.s.make(id)
	p.promised = max(p.promised, epoch)
	if epoch > p.stored.promised {
		p.touch(recPromises, lsn, lsn+1)
	}
	return p
}

// segmentRecord is the first record of every segment: all promises, so that
// they outlive bbolt.
func (s *Store) segmentRecord(b []byte) []byte {
	at := len(b)
	b = beginRecord(b, recPromises)
	for _, p := range s.snapshotParts() {
		if p.promised > 0 {
			b = appendVersion(b, subjects.Version{Epoch: ring.Epoch(p.id), Seq: uint64(p.promised)})
		}
	}
	if len(b) == at+recordHead {
		return b[:at]
	}
	endRecord(b, at)
	return b
}

// saveMeta writes the store's own state.
func (r *recovery) saveMeta() error {
	file := r.s.db.Load()
	err := guard(func() error {
		return file.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucketMeta)
			return b.Put(keyStore, r.meta.encode())
		})
	})
	if err != nil {
		return err
	}
	return file.note()
}

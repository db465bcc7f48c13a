package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Damage is something stored that cannot be read.
type Damage struct {
	Partition ring.Partition
	Key       []byte // nil: it is not known which
	// Log: the record is one of the log that bbolt does not need any more. The
	// segment is given up by itself.
	Log bool
	// File: the structure of the bbolt file is damaged, so that any key of any
	// partition may be concerned, and nothing more is written to it.
	File bool
	Err  error
}

// maxBad bounds the damaged records of a partition that are told apart.
const maxBad = 1024

// unreadable takes the error of a read and returns what the reader is told.
func (s *Store) unreadable(id ring.Partition, key []byte, err error) error {
	if errors.Is(err, ErrDamaged) {
		s.broken(err)
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	if bad := (*badRecord)(nil); errors.As(err, &bad) {
		s.hurt(bad.partition, []byte(bad.key), err)
		if bad.partition == id {
			return err
		}
		// Its key says so, which may be what is damaged: it may be one of this
		// partition as well.
		key = nil
	}
	s.hurt(id, key, err)
	return err
}

// partitionOf is that of a damaged record, as far as its key can be believed.
func partitionOf(err error, otherwise ring.Partition) ring.Partition {
	if bad := (*badRecord)(nil); errors.As(err, &bad) {
		return bad.partition
	}
	return otherwise
}

// hurt notes that a record of a copy cannot be read, and tells it once. It
// stays noted until the key is written again or the copy is made anew.
func (s *Store) hurt(id ring.Partition, key []byte, err error) {
	p := s.part(id)
	if p == nil {
		return
	}
	p.mu.Lock()
	_, known := p.bad[string(key)]
	if known = known || len(p.bad) >= maxBad; !known {
		if p.bad == nil {
			p.bad = make(map[string]struct{})
		}
		p.bad[string(key)] = struct{}{}
	}
	p.mu.Unlock()
	if !known {
		s.tell(Damage{Partition: id, Key: slices.Clone(key), Err: err})
	}
}

// Doubt notes that a copy is not what it should be, which others found out, as if a
// record of it could not be read: it stays so until the copy is made anew.
func (s *Store) Doubt(id ring.Partition, why string) {
	s.hurt(id, nil, fmt.Errorf("partition %d: %w: %s", id, ErrCorrupt, why))
}

// broken notes that the structure of the bbolt file is damaged. What can be
// read still is, until Discard.
func (s *Store) broken(err error) {
	s.failMu.Lock()
	first := s.brokenBy == nil
	if first {
		s.brokenBy = err
		s.isBroken.Store(true)
	}
	s.failMu.Unlock()
	if first {
		s.tell(Damage{File: true, Err: err})
	}
}

// Broken returns what is wrong with the structure of the bbolt file, nil if
// nothing is known to be.
func (s *Store) Broken() error {
	if !s.isBroken.Load() {
		return nil
	}
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.brokenBy
}

// Discard gives up a file of which Broken tells: the store fails, and the next
// Open sets the file aside and begins anew.
func (s *Store) Discard() {
	if err := s.Broken(); err != nil {
		s.fail(fmt.Errorf("%s is given up, the copies are to be made anew: %w", dataName, err))
	}
}

func (s *Store) tell(d Damage) {
	s.opts.Log.Error("damage found", "folder", s.opts.Dir, "partition", d.Partition, "file", d.File, "log", d.Log, "error", d.Err)
	if s.opts.OnDamage != nil {
		s.opts.OnDamage(d)
	}
}

// BadKey is a record that cannot be read.
type BadKey struct {
	Partition ring.Partition `json:"partition"`
	Key       string         `json:"key"`
}

// BadKeys counts the records that cannot be read, and lists some of them.
func (s *Store) BadKeys(most int) (n int, some []BadKey) {
	for _, p := range s.snapshotParts() {
		p.mu.RLock()
		n += len(p.bad)
		for k := range p.bad {
			if len(some) < most {
				some = append(some, BadKey{p.id, k})
			}
		}
		p.mu.RUnlock()
	}
	slices.SortFunc(some, func(a, b BadKey) int {
		if a.Partition != b.Partition {
			return int(a.Partition) - int(b.Partition)
		}
		return strings.Compare(a.Key, b.Key)
	})
	return n, some
}

// Bad counts the records of one partition that cannot be read.
func (s *Store) Bad(id ring.Partition) int {
	p := s.part(id)
	if p == nil {
		return 0
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.bad)
}

// mend forgets damaged records that were written again, or cleared.
func (p *part) mend(keys []string, masks []*mask) {
	if len(p.bad) == 0 {
		return
	}
	for _, k := range keys {
		delete(p.bad, k)
	}
	for k := range p.bad {
		for _, m := range masks {
			if m.covers(place([]byte(k))) {
				delete(p.bad, k)
			}
		}
	}
}

// retire gives a segment of the log up that cannot be read as a whole: what bbolt
// lacks of it is brought there from memory, or written again, and the segments
// through it are removed. Otherwise the next start would end the log there.
func (s *Store) retire(g *segment, err error) {
	for {
		old := s.retireTo.Load()
		if old >= g.number {
			return
		}
		if s.retireTo.CompareAndSwap(old, g.number) {
			break
		}
	}
	s.tell(Damage{Log: true, Err: fmt.Errorf("log segment %d is given up: %w", g.number, err)})
	s.applier.kickNow()
}

// closeBolt closes the file; one whose writer was stopped by damage may not let
// go of its lock, and is left to the end of the process.
func (s *Store) closeBolt() error {
	if s.Broken() == nil {
		return s.closeData()
	}
	done := make(chan error, 1)
	go func() { done <- s.closeData() }()
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return errors.New("the damaged file does not close")
	}
}

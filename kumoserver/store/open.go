package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Open opens the store in o.Dir, or makes one there. A damaged log tail is cut
// off and a damaged bbolt file set aside; Damaged tells.
func Open(o Options) (_ *Store, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	s := &Store{
		opts: o, failed: make(chan error, 1), scratch: make([]byte, 0, 1024),
		parts: make([]atomic.Pointer[part], ring.MaxPartitions),
		cache: newCache(o.CacheBytes),
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.lock, err = lockFolder(o.Dir); err != nil {
		return nil, err
	}
	if s.identity, err = loadIdentity(o.disk, o.Dir); err != nil {
		return nil, err
	}
	// What a compaction left half done is of no use, and takes room.
	if err = o.disk.remove(filepath.Join(o.Dir, newDataName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	last, found := run{}, false
	if found, err = readJSON(filepath.Join(o.Dir, runName), &last); err != nil {
		// An unreadable note is no proof of a clean end.
		s.note("%s: %v: taken as not clean", runName, err)
		last, found = run{Unclean: true}, true
	}
	if err = o.disk.makeFolder(filepath.Join(o.Dir, logDir)); err != nil {
		return nil, err
	}
	r := &recovery{s: s, rewrite: last.Unclean, mayBeTorn: !last.Clean && last.OSBoot != o.OSBoot}
	err = r.openData()
	if isNoSpace(err) && o.disk.remove(filepath.Join(o.Dir, logDir, reserveName)) == nil {
		err = r.openData() // what the reserve leaves is enough
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Join(o.Dir, dataName), err)
	}
	if err = r.replay(); err != nil {
		return nil, fmt.Errorf("read the log in %s: %w", filepath.Join(o.Dir, logDir), err)
	}
	s.run = run{
		Starts: last.Starts + 1,
		OSBoot: o.OSBoot, Sync: o.Sync.String(),
		// What a dying machine leaves may look like anything; with a synced log
		// none of it was acknowledged.
		Unclean: judgeRun(last, found, s.identity.Ready, o.OSBoot) || r.missing ||
			found && (r.torn || r.hole) && (last.Clean || (r.rotten || r.hole) && last.OSBoot == o.OSBoot),
		Grant: max(last.Grant, int64(o.Grant)),
	}
	s.opened = time.Now()
	if err = s.opts.disk.saveJSON(filepath.Join(o.Dir, runName), s.run); err != nil {
		return nil, err
	}
	if err = s.begin(r); err != nil {
		return nil, fmt.Errorf("begin the log in %s: %w", filepath.Join(o.Dir, logDir), err)
	}
	s.applier.start()
	s.scrubber = startScrubber(s)
	s.compactor = startCompactor(s)
	return s, nil
}

// begin starts writing behind what recovery found.
func (s *Store) begin(r *recovery) error {
	dir := filepath.Join(s.opts.Dir, logDir)
	s.applier = newApplier(s)
	s.applier.lsn = r.meta.lsn
	s.prep = newPreparer(dir, r.next, s.opts, s.onFull)
	s.wal = newWAL(s.opts, s.identity.ID)
	s.wal.prep, s.wal.head, s.wal.fail = s.prep, s.segmentRecord, s.fail
	if err := s.wal.begin(r.segs, max(r.end, r.meta.lsn), r.end); err != nil {
		return err
	}
	r.segs = nil
	s.commitsFrom = s.wal.end.Load()
	if err := s.recordState(r); err != nil {
		return err
	}
	s.applier.arm()
	if s.identity.Ready {
		return nil
	}
	s.identity.Ready = true
	return s.opts.disk.saveJSON(filepath.Join(s.opts.Dir, identityName), s.identity)
}

// recordState writes down, for good, what Open found of the copies: those that
// are lost, and that all may lack what was acknowledged.
func (s *Store) recordState(r *recovery) error {
	for _, p := range r.lost {
		if err := s.recordLocked(p, recLost); err != nil {
			return err
		}
	}
	unclean := r.gaps
	if s.run.Unclean {
		unclean = s.snapshotParts()
	}
	for _, p := range unclean {
		if err := s.recordLocked(p, recUnclean); err != nil {
			return err
		}
	}
	if len(r.lost)+len(unclean) == 0 && !s.run.Unclean {
		return nil
	}
	if _, err := s.wal.flush(); err != nil {
		return err
	}
	if err := s.wal.waitSynced(s.wal.end.Load()); err != nil {
		return err
	}
	s.idMu.Lock()
	defer s.idMu.Unlock()
	s.run.Unclean = false // from now on the copies say so
	return s.opts.disk.saveJSON(filepath.Join(s.opts.Dir, runName), s.run)
}

func (s *Store) recordLocked(p *part, kind recordKind) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kind == recUnclean {
		p.unclean = true
	}
	return s.record(p, kind, s.body(p))
}

// note records damage.
func (s *Store) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.damaged = append(s.damaged, text)
	s.opts.Log.Warn("damage found", "folder", s.opts.Dir, "what", text)
}

// Close brings everything to disk and ends; the store is clean afterwards. The
// core loop must have ended. Calling it again does nothing.
func (s *Store) Close() error {
	s.closeMu.Lock()
	defer s.closeMu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.scrubber.halt()
	s.compactor.halt()
	s.recordCommits()
	_, err := s.wal.flush()
	if err != nil {
		s.wal.halt(err) // or the applier would wait for what is not written
	}
	s.applier.halt()
	if err == nil && s.failedWith() == nil {
		// Without room for it the log keeps what bbolt does not have.
		if err = s.applier.sweep(false); isNoSpace(err) {
			err = nil
		}
	}
	s.wal.halt(ErrClosed)
	if err == nil {
		err = s.failedWith()
	}
	if err == nil {
		if err = s.wal.syncAll(); err == nil {
			err = s.closeBolt()
		}
	}
	if err == nil {
		s.idMu.Lock()
		s.run.Clean = true
		if time.Since(s.opened) > time.Duration(s.run.Grant) {
			s.run.Grant = int64(s.opts.Grant) // longer ones, of processes before, have ended
		}
		err = s.opts.disk.saveJSON(filepath.Join(s.opts.Dir, runName), s.run)
		s.idMu.Unlock()
	}
	s.release()
	if err != nil {
		return fmt.Errorf("close %s: %w", s.opts.Dir, err)
	}
	return nil
}

// CloseHard leaves the store as the death of the process would: what was not
// flushed is gone, nothing is applied, synced or marked. For tests of crashes.
func (s *Store) CloseHard() {
	s.closeMu.Lock()
	defer s.closeMu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.scrubber.halt()
	s.compactor.abandon()
	s.wal.abandon()
	s.wal.halt(ErrClosed)
	s.release()
}

// closeData closes the file, unless it was found damaged at work: bbolt may have
// panicked with its locks taken, and Close would wait for them. What is left is
// its mapping, until the process ends; the next Open has another file.
func (s *Store) closeData() error {
	db := s.db.Load()
	if db == nil || errors.Is(s.failedWith(), ErrDamaged) {
		return nil
	}
	return guard(db.Close)
}

// release gives back what Open took.
func (s *Store) release() {
	if s.wal != nil {
		s.wal.halt(ErrClosed)
	}
	if s.applier != nil {
		s.applier.halt()
	}
	if s.wal != nil {
		s.wal.closeFiles()
	}
	if s.prep != nil {
		s.prep.close()
	}
	s.retiring.Wait()
	if s.db.Load() != nil {
		if err := s.closeBolt(); err != nil && !errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
			s.opts.Log.Warn("close data file", "folder", s.opts.Dir, "error", err)
		}
	}
	if s.lock != nil {
		s.lock.Close()
	}
}

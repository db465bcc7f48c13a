package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// preparer keeps the next segment ready, so that changing over costs the core
// loop nothing, and a reserve for when the disk is full.
type preparer struct {
	dir     string
	size    int64
	reserve int64
	disk    *disk
	log     *slog.Logger
	onFull  func(bool) // the disk became full, or no longer is
	fills   bool       // segments are filled before they are taken
	first   uint64     // which is not, since it is waited for

	mu     sync.Mutex
	change sync.Cond
	number uint64 // of the next segment
	next   *segment
	busy   bool
	err    error // why there is no next one
	closed bool
	waited int  // how many wait for the next one
	spent  bool // the reserve is
	stop   chan struct{}
	wake   chan struct{}
	done   sync.WaitGroup
}

const (
	reserveName = "reserve"
	retryEvery  = time.Second // with a full disk
)

func newPreparer(dir string, number uint64, o Options, onFull func(bool)) *preparer {
	p := &preparer{
		dir: dir, number: number, size: o.SegmentBytes, reserve: min(o.SegmentBytes, 4<<20),
		disk: o.disk, log: o.Log, onFull: onFull, fills: o.Sync == SyncAlways, first: number,
		stop: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	p.change.L = &p.mu
	_, err := os.Stat(filepath.Join(dir, reserveName))
	p.spent = err != nil
	p.done.Add(1)
	go p.loop()
	return p
}

func (p *preparer) loop() {
	defer p.done.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.prepare()
		timer.Reset(retryEvery)
		select {
		case <-p.stop:
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// prepare makes what is missing.
func (p *preparer) prepare() {
	p.mu.Lock()
	if p.next != nil || p.closed {
		p.mu.Unlock()
		return
	}
	number := p.number
	p.busy = true
	p.mu.Unlock()

	seg, err := createSegment(p.disk, segmentPath(p.dir, number), p.size, func() bool { return p.fills && number != p.first && p.idle() })
	if err == nil {
		if e := p.keepReserve(); e != nil {
			p.log.Warn("no reserve on the disk", "folder", p.dir, "error", e)
		}
	}

	p.mu.Lock()
	was := p.err
	p.busy, p.err = false, err
	if err == nil {
		seg.number = number
		p.next = seg
	}
	p.change.Broadcast()
	p.mu.Unlock()
	switch {
	case err != nil && was == nil:
		p.log.Error("cannot make the next log segment", "folder", p.dir, "error", err)
		p.onFull(true)
	case err == nil && was != nil:
		p.log.Info("log segments can be made again", "folder", p.dir)
		p.onFull(false)
	}
}

// idle reports whether nobody waits for the next segment, nor for the end.
func (p *preparer) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waited == 0 && !p.closed
}

func (p *preparer) keepReserve() (err error) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.spent = err != nil
	}()
	path := filepath.Join(p.dir, reserveName)
	if fi, err := os.Stat(path); err == nil && fi.Size() >= p.reserve {
		return nil
	}
	p.disk.remove(path)
	seg, err := createSegment(p.disk, path, p.reserve, nil)
	if err != nil {
		return err
	}
	return seg.file.Close()
}

// take returns the next segment. With a full disk that is the reserve, once.
func (p *preparer) take() (*segment, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waited++
	for p.next == nil && (p.busy || p.err == nil) && !p.closed {
		p.change.Wait()
	}
	p.waited--
	if p.closed {
		return nil, ErrClosed
	}
	seg := p.next
	if seg == nil {
		var err error
		if seg, err = p.takeReserve(); err != nil {
			if isNoSpace(p.err) {
				return nil, fmt.Errorf("%w: %w", ErrNoSpace, p.err)
			}
			return nil, errors.Join(p.err, err)
		}
	}
	p.next = nil
	p.number++
	p.poke()
	return seg, nil
}

// hasMore reports whether take would give another segment now.
func (p *preparer) hasMore() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next != nil || !p.spent
}

// poke has it try again at once.
func (p *preparer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *preparer) takeReserve() (*segment, error) {
	p.spent = true
	from, to := filepath.Join(p.dir, reserveName), segmentPath(p.dir, p.number)
	fi, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	if err := p.disk.rename(from, to); err != nil {
		return nil, err
	}
	if err := p.disk.syncFolder(p.dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	p.log.Warn("the log goes on in its reserve", "folder", p.dir)
	return &segment{number: p.number, size: fi.Size(), path: to, file: f}, nil
}

func (p *preparer) close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	close(p.stop)
	p.change.Broadcast()
	p.mu.Unlock()
	p.done.Wait()
	if p.next != nil {
		p.next.file.Close()
		p.disk.remove(p.next.path)
	}
}

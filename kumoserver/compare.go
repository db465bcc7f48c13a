package kumoserver

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// compares are the comparisons of copies of the partitions that this server leads.
type compares struct {
	slots chan struct{} // of those that run

	mu     sync.Mutex
	newest map[ring.Partition]*subjects.CompareReport // guarded by mu; those that run among them
	closed bool                                       // guarded by mu
	run    sync.WaitGroup                             // added to under mu
}

const (
	// maxCompares bounds the comparisons that run at a time: each freezes a copy at
	// every replica.
	maxCompares = 4
	// compareWithin bounds one question to a replica.
	compareWithin = 15 * time.Second
	// compareShare is how many times as fast as the disk is looked at copies are
	// compared without being asked for, and compareEvery how many times as seldom.
	compareShare = 4
	compareEvery = 24
)

func newCompares() *compares {
	return &compares{slots: make(chan struct{}, maxCompares), newest: map[ring.Partition]*subjects.CompareReport{}}
}

// compare answers CompareRequest.
func (s *Server) compare(_ context.Context, req subjects.CompareRequest) (subjects.CompareReport, error) {
	if int(req.Partition) >= s.Table().Size() {
		return subjects.CompareReport{}, fmt.Errorf("%w: there is no partition %d", subjects.ErrBadRequest, req.Partition)
	}
	leads := s.leads(req.Partition)
	if leads && req.Start {
		if err := s.startCompare(req.Partition, req.Mend); err != nil {
			return subjects.CompareReport{}, err
		}
	}
	s.compares.mu.Lock()
	defer s.compares.mu.Unlock()
	r := s.compares.newest[req.Partition]
	switch {
	case !leads && (req.Start || r == nil):
		return subjects.CompareReport{}, fmt.Errorf("%s does not lead partition %d: %w", s.name, req.Partition, subjects.ErrUnavailable)
	case r == nil:
		return subjects.CompareReport{Partition: req.Partition}, nil
	}
	rep := *r // also one that cost this server the lead
	rep.Copies = slices.Clone(r.Copies)
	return rep, nil
}

// startCompare compares a partition's copies in the background, unless that is being
// done.
func (s *Server) startCompare(p ring.Partition, mend bool) error {
	c := s.compares
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.newest[p]; r != nil && r.Running || c.closed {
		return nil
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return fmt.Errorf("%d comparisons run: %w", maxCompares, subjects.ErrBusy)
	}
	c.newest[p] = &subjects.CompareReport{Partition: p, Running: true, Began: time.Now().UnixMilli()}
	c.run.Go(func() {
		defer func() { <-c.slots }()
		s.compareNow(s.ctx, p, mend, func(int64) error { return nil })
	})
	return nil
}

func (c *compares) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.run.Wait()
}

// leads reports whether this process leads a partition.
func (s *Server) leads(p ring.Partition) bool { return s.serving[p].now.Load() != nil }

// compareNow compares a partition's copies, mends one that differs if it is to, and
// keeps the report. rest is as for compareCopies.
func (s *Server) compareNow(ctx context.Context, p ring.Partition, mend bool, rest func(int64) error) {
	rep := &subjects.CompareReport{Partition: p, Began: time.Now().UnixMilli()}
	err := s.compareCopies(ctx, rep, func(n int64) error {
		s.compares.progress(p, n)
		return rest(n)
	})
	if err == nil && mend {
		if err = s.mendOne(ctx, rep); err != nil {
			rep.Mended = ""
		}
	}
	if rep.Error = subjects.ToWire(err); err != nil && ctx.Err() == nil {
		s.log.Info("copies were not compared", "partition", p, "err", err)
	}
	rep.Ended = time.Now().UnixMilli()
	s.compares.mu.Lock()
	defer s.compares.mu.Unlock()
	s.compares.newest[p] = rep
}

func (c *compares) progress(p ring.Partition, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.newest[p]; r != nil && r.Running {
		r.Bytes += n
	}
}

// mendOne has one copy made anew that differs. One of them only: the others are
// found, and mended, the next time, when this one is whole again.
func (s *Server) mendOne(ctx context.Context, rep *subjects.CompareReport) error {
	i := slices.IndexFunc(rep.Copies, func(c subjects.ComparedCopy) bool { return c.Differs > 0 })
	if i < 0 {
		return nil
	}
	if rep.Unsure != "" {
		s.log.Warn("copies differ, and none is made anew", "partition", rep.Partition, "why", rep.Unsure)
		return nil
	}
	odd := rep.Copies[i]
	req := subjects.MendRequest{
		Partition: rep.Partition, Epoch: rep.Epoch,
		Why: fmt.Sprintf("it differs from the other copies at %s, in %d ranges of keys from %q on", rep.At, odd.Differs, odd.From),
	}
	rep.Mended = odd.Node
	if odd.ID == s.store.ID() {
		_, err := s.mend(ctx, req)
		return err
	}
	return s.askNode(ctx, odd.Node, subjects.NodeMend, req, nil)
}

// mend answers MendRequest.
func (s *Server) mend(_ context.Context, req subjects.MendRequest) (any, error) {
	t := s.Table()
	if int(req.Partition) >= t.Size() {
		return nil, fmt.Errorf("%w: there is no partition %d", subjects.ErrBadRequest, req.Partition)
	}
	c := &t.Partitions[req.Partition]
	switch {
	case c.Epoch != req.Epoch:
		return nil, fmt.Errorf("partition %d is at epoch %d, not %d: %w", req.Partition, c.Epoch, req.Epoch, subjects.ErrRefused)
	case !c.HasISR(s.store.ID()):
		return nil, fmt.Errorf("%s is not in sync for partition %d: %w", s.name, req.Partition, subjects.ErrRefused)
	case !s.mayRecover(req.Partition):
		return nil, fmt.Errorf("partition %d has no other copy in sync: %w", req.Partition, subjects.ErrRefused)
	}
	s.store.Doubt(req.Partition, req.Why)
	return nil, nil
}

// compareAll compares the copies of all that this server leads, slowly, again and
// again, and mends what differs.
func (s *Server) compareAll() error {
	if s.o.ScrubRate < 0 {
		return nil
	}
	every := orDefault(s.o.ScrubEvery, time.Hour) * compareEvery
	speed := float64(orDefault(s.o.ScrubRate, 2<<20) * compareShare)
	for wait := every / 10; s.sleep(wait); wait = every {
		for p := range ring.Partition(s.Table().Size()) {
			if !s.leads(p) {
				continue
			}
			s.compareNow(s.ctx, p, true, func(n int64) error {
				if !s.sleep(time.Duration(float64(n) / speed * float64(time.Second))) {
					return s.ctx.Err()
				}
				return nil
			})
		}
	}
	return nil
}

// sleep waits, or returns false when the server ends.
func (s *Server) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// compared tells since when all that this server leads has been compared, in Unix
// milliseconds, and how many copies differed.
func (s *Server) compared() (since int64, differing int) {
	if s.watch == nil || s.Table() == nil {
		return 0, 0
	}
	t := s.Table()
	s.compares.mu.Lock()
	defer s.compares.mu.Unlock()
	all := true
	for p := range t.Partitions {
		c := &t.Partitions[p]
		if c.Primary != s.process() || len(c.ISR) < 2 {
			continue
		}
		r := s.compares.newest[ring.Partition(p)]
		if r == nil || r.Running || r.Error != nil {
			all = false
			continue
		}
		differing += r.Differing()
		if since == 0 || r.Ended < since {
			since = r.Ended
		}
	}
	if !all {
		since = 0
	}
	return since, differing
}

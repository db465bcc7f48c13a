package kumoserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// replicaCopy is a copy at another server, frozen.
type replicaCopy struct {
	node   ring.Node
	frozen subjects.FrozenCopy
	ranges []subjects.KeyRange
	err    error // why it cannot be read
}

const (
	// freezeWait is how long to wait for the entry at which copies are frozen, and
	// freezeTries how often another is chosen.
	freezeWait  = 2 * time.Second
	freezeTries = 24
)

// freezeAll freezes this server's copy and those of replicas at the same entry. Where
// nothing is written it is the newest. Otherwise one is chosen that is yet to come:
// further ahead each time that a copy was faster than the question, and nearer when
// it did not come.
func (s *Server) freezeAll(ctx context.Context, p ring.Partition, copies []*replicaCopy) (*store.Frozen, error) {
	ahead := uint64(0)
	var err error
	for range freezeTries {
		var own *store.Frozen
		if own, err = s.freezeAt(ctx, p, s.store.State(p).Commit+ahead, copies); err == nil {
			return own, nil
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, subjects.ErrPassed):
			ahead = min(max(16, 4*ahead), 1<<20)
		case errors.Is(err, subjects.ErrTimeout):
			ahead /= 8
		case errors.Is(err, subjects.ErrBusy):
			if !s.sleep(freezeWait) {
				return nil, s.ctx.Err()
			}
		default:
			return nil, err
		}
	}
	return nil, err
}

func (s *Server) freezeAt(ctx context.Context, p ring.Partition, seq uint64, copies []*replicaCopy) (own *store.Frozen, err error) {
	var g errgroup.Group // all are waited for: what was frozen must be known
	g.Go(func() error {
		ctx, cancel := context.WithTimeout(ctx, freezeWait)
		defer cancel()
		f, err := s.store.Freeze(ctx, p, seq)
		own = f
		switch {
		case errors.Is(err, store.ErrPassed):
			return fmt.Errorf("%w: %w", subjects.ErrPassed, err)
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("%w: %w", subjects.ErrTimeout, err)
		}
		return err
	})
	for _, c := range copies {
		g.Go(func() error {
			c.frozen = subjects.FrozenCopy{}
			return s.askNode(ctx, c.node.Name, subjects.NodeFreeze,
				subjects.FreezeRequest{Partition: p, Seq: seq, WaitMS: freezeWait.Milliseconds()}, &c.frozen)
		})
	}
	err = g.Wait()
	for _, c := range copies {
		if err == nil {
			err = samePoint(own.At(), c)
		}
	}
	if err != nil {
		if own != nil {
			own.Thaw()
		}
		s.thawAll(copies)
		return nil, err
	}
	return own, nil
}

// samePoint tells whether a copy was frozen where this server's was. Of an empty log
// the newest entry is meant, which may be another.
func samePoint(own subjects.Version, c *replicaCopy) error {
	switch at := c.frozen.At; {
	case at == own:
		return nil
	case at.Seq != own.Seq:
		return fmt.Errorf("%s is at %s, not %s: %w", c.node.Name, at, own, subjects.ErrPassed)
	default:
		return fmt.Errorf("the logs of the copies differ: %s is at %s, the primary at %s: %w", c.node.Name, at, own, subjects.ErrInternal)
	}
}

// thawAll gives the copies at other servers up.
func (s *Server) thawAll(copies []*replicaCopy) {
	for _, c := range copies {
		if c.frozen.Snapshot == "" {
			continue
		}
		req, err := json.Marshal(subjects.ThawRequest{Snapshot: c.frozen.Snapshot})
		if err == nil {
			// One that gets lost ends by itself.
			err = s.bus.Publish(s.o.Cluster.NodeAdmin(c.node.Name, subjects.NodeThaw), req)
		}
		if err != nil {
			s.log.Debug("thaw a copy", "node", c.node.Name, "err", err)
		}
		c.frozen.Snapshot = ""
	}
}

// askNode sends a command to another server.
func (s *Server) askNode(ctx context.Context, node, verb string, req, to any) error {
	data, err := json.Marshal(req)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, compareWithin)
	defer cancel()
	m, err := s.bus.Request(ctx, s.o.Cluster.NodeAdmin(node, verb), data)
	if err != nil {
		return fmt.Errorf("ask %s to %s: %w", node, verb, err)
	}
	var rep subjects.AdminReply
	if err := json.Unmarshal(m.Data, &rep); err != nil {
		return fmt.Errorf("ask %s to %s: the answer does not parse: %w", node, verb, err)
	}
	if rep.Error != nil {
		return rep.Error
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(rep.Data, to)
}

// compareCopies compares this server's copy of a partition with those in sync. rest is
// called with the bytes that were read of a copy, on a goroutine for each.
func (s *Server) compareCopies(ctx context.Context, rep *subjects.CompareReport, rest func(int64) error) error {
	t := s.Table()
	cfg := t.Partitions[rep.Partition]
	if cfg.Primary != s.process() {
		return fmt.Errorf("%s does not lead partition %d: %w", s.name, rep.Partition, subjects.ErrUnavailable)
	}
	rep.Epoch = cfg.Epoch
	rep.Copies = []subjects.ComparedCopy{{ID: s.store.ID(), Node: s.name}}
	var copies []*replicaCopy
	for _, id := range cfg.ISR {
		if n, ok := t.Node(id); ok && id != s.store.ID() {
			copies = append(copies, &replicaCopy{node: n})
			rep.Copies = append(rep.Copies, subjects.ComparedCopy{ID: id, Node: n.Name})
		}
	}
	for _, id := range cfg.Target {
		if !cfg.HasISR(id) {
			rep.Absent++
		}
	}
	own, err := s.freezeAll(ctx, rep.Partition, copies)
	if err != nil {
		return err
	}
	defer own.Thaw()
	defer s.thawAll(copies)
	rep.At = own.At()
	ranges, err := s.readRanges(ctx, own, copies, rest)
	if err != nil {
		return err
	}
	for i := range ranges {
		rep.Records += ranges[i].Count
		rep.Bytes += ranges[i].Bytes
	}
	judge(rep, ranges, copies)
	return nil
}

// readRanges reads the digests of all copies, side by side.
func (s *Server) readRanges(ctx context.Context, own *store.Frozen, copies []*replicaCopy, rest func(int64) error) (ranges []subjects.KeyRange, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		var from []byte
		for last := false; !last; {
			var some []subjects.KeyRange
			var err error
			some, from, last, err = own.Digests(from, nil, digestsBytes, func(n int) error { return s.frozen.rest(ctx, n) })
			if err != nil {
				return err
			}
			ranges = append(ranges, some...)
			if err := rest(bytesOf(some)); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range copies {
		g.Go(func() error {
			c.err = s.readReplica(ctx, c, rest)
			if errors.Is(c.err, subjects.ErrInternal) {
				return nil // it cannot be read: that copy's own matter
			}
			return c.err
		})
	}
	return ranges, g.Wait()
}

func (s *Server) readReplica(ctx context.Context, c *replicaCopy, rest func(int64) error) error {
	var from []byte
	for {
		var rep subjects.DigestsReport
		err := s.askNode(ctx, c.node.Name, subjects.NodeDigests, subjects.DigestsRequest{Snapshot: c.frozen.Snapshot, From: from}, &rep)
		if err != nil {
			return err
		}
		c.ranges = append(c.ranges, rep.Ranges...)
		if rep.Last {
			return nil
		}
		if from = rep.Next; len(rep.Ranges) == 0 {
			return fmt.Errorf("%s answers with no digests: %w", c.node.Name, subjects.ErrInternal)
		}
		if err := rest(bytesOf(rep.Ranges)); err != nil {
			return err
		}
	}
}

func bytesOf(ranges []subjects.KeyRange) (n int64) {
	for i := range ranges {
		n += ranges[i].Bytes
	}
	return n
}

// judge says which copies differ from the one that counts: the primary's, unless
// there are several others that agree with each other and not with it; and whether
// it cannot be told that it is the right one.
func judge(rep *subjects.CompareReport, ranges []subjects.KeyRange, copies []*replicaCopy) {
	agree := 0 // of the others, with the first of them
	for i, c := range copies {
		switch {
		case c.err != nil:
			rep.Copies[i+1].Error = c.err.Error()
		default:
			rep.Copies[i+1].Differs, rep.Copies[i+1].From = differing(ranges, c.ranges)
			if n, _ := differing(copies[0].ranges, c.ranges); n == 0 {
				agree++
			}
		}
	}
	if len(copies) < 2 || agree < len(copies) || copies[0].err != nil || rep.Copies[1].Differs == 0 {
		rep.Unsure = unsure(rep, ranges, copies)
		return
	}
	rep.Copies[0].Differs, rep.Copies[0].From = rep.Copies[1].Differs, rep.Copies[1].From
	for i := range copies {
		rep.Copies[i+1].Differs, rep.Copies[i+1].From = 0, nil
	}
}

// unsure says why the primary's copy, which counts, may not be the right one: making
// others anew from it could leave no copy that is right. Where all copies were read
// and no two agree against it, it counts, since clients see what it has.
func unsure(rep *subjects.CompareReport, ranges []subjects.KeyRange, copies []*replicaCopy) string {
	all, same, unread := 1+len(copies)+rep.Absent, 1, rep.Absent
	for i, c := range copies {
		switch {
		case c.err != nil:
			unread++
		case rep.Copies[i+1].Differs == 0:
			same++
		}
	}
	if rep.Differing() == 0 {
		return ""
	}
	if unread > 0 && 2*same <= all {
		return fmt.Sprintf("%d copies are not in sync or cannot be read, and may be needed to tell which of the others is right", unread)
	}
	for i := range ranges {
		if outvoted(&ranges[i], copies) {
			return fmt.Sprintf("copies differ in several ways, and the primary's from others that agree on the keys from %q on", ranges[i].From)
		}
	}
	return ""
}

// outvoted reports whether more copies agree with each other on a range than have it
// as the primary.
func outvoted(r *subjects.KeyRange, copies []*replicaCopy) bool {
	var others []subjects.KeyRange // that begin where r does; one that is none has no count
	same := 1
	for _, c := range copies {
		if c.err != nil {
			continue
		}
		i, ok := slices.BinarySearchFunc(c.ranges, r.From, func(x subjects.KeyRange, from []byte) int { return bytes.Compare(x.From, from) })
		switch {
		case ok && c.ranges[i].Same(r):
			same++
		case ok:
			others = append(others, c.ranges[i])
		default:
			others = append(others, subjects.KeyRange{})
		}
	}
	for i := range others {
		agree := 0
		for j := range others {
			if others[i].Same(&others[j]) {
				agree++
			}
		}
		if agree > same {
			return true
		}
	}
	return false
}

// differing counts the ranges of two copies, in the order of their keys, that are not
// the same, and returns where the first begins.
func differing(a, b []subjects.KeyRange) (n int, from []byte) {
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = bytes.Compare(a[0].From, b[0].From)
		}
		var at []byte
		same := false
		if order <= 0 {
			at = a[0].From
			same = order == 0 && a[0].Same(&b[0])
			a = a[1:]
		}
		if order >= 0 {
			at = b[0].From
			b = b[1:]
		}
		if !same {
			if n == 0 {
				from = at
			}
			n++
		}
	}
	return n, from
}

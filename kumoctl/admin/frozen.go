package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/digest"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Frozen is a copy of a partition as it was at one entry, at its server.
type Frozen struct {
	subjects.FrozenCopy
	c    *Client
	node string
}

const (
	// frozenAttempt is how long an answer about a frozen copy may take, which the
	// server reads from its disk, and slowly.
	frozenAttempt = 15 * time.Second
	thawWithin    = 2 * time.Second
	freezePause   = 200 * time.Millisecond
	tableWithin   = 5 * time.Second
)

// Freeze freezes a server's copy, once: one that is not thawed is by itself when
// nobody has asked for it for most of a minute.
func (c *Client) Freeze(ctx context.Context, node string, req subjects.FreezeRequest) (*Frozen, error) {
	f := &Frozen{c: c, node: node}
	if err := c.NodeOnce(ctx, node, subjects.NodeFreeze, req, &f.FrozenCopy); err != nil {
		return nil, err
	}
	return f, nil
}

// NodeOnce sends a command to the node of this name once, and waits longer for the
// answer.
func (c *Client) NodeOnce(ctx context.Context, node, verb string, req, to any) error {
	body, err := encode(req)
	if err != nil {
		return err
	}
	subject := c.cluster.NodeAdmin(node, verb)
	return plain(subject, c.once(ctx, frozenAttempt, subject, body, to))
}

// Digests asks for ranges from a key on, which begins one, to another (nil: the end).
func (f *Frozen) Digests(ctx context.Context, from, to []byte) (rep subjects.DigestsReport, err error) {
	req := subjects.DigestsRequest{Snapshot: f.Snapshot, From: from, To: to}
	return rep, f.c.NodeOnce(ctx, f.node, subjects.NodeDigests, req, &rep)
}

// Piece asks for records. What it returns is the caller's.
func (f *Frozen) Piece(ctx context.Context, req subjects.PieceRequest) (rep subjects.Piece, err error) {
	req.Snapshot = []byte(f.Snapshot)
	subject := f.c.cluster.Pieces(f.node)
	ctx, cancel := context.WithTimeout(ctx, frozenAttempt)
	defer cancel()
	m, err := f.c.bus.Request(ctx, subject, req.Append(nil))
	if err != nil {
		return rep, plain(subject, err)
	}
	if err := rep.Decode(m.Data); err != nil {
		return rep, fmt.Errorf("the answer on %s does not parse: %w", subject, err)
	}
	return rep, rep.Err()
}

// Touch keeps the copy frozen while nothing is asked of it for long.
func (f *Frozen) Touch(ctx context.Context) error {
	_, err := f.Piece(ctx, subjects.PieceRequest{From: bytes.Repeat([]byte{0xff}, subjects.MaxKey), KeysOnly: true})
	return err
}

// Records calls each with the records of a range, in the order of their keys, which
// it checks; raw is one as package digest writes it, and what rec holds aliases it.
// Then read is called with how many records and bytes a piece had. Their errors end
// it. Keys that were passed cannot be asked for again.
func (f *Frozen) Records(ctx context.Context, req subjects.PieceRequest, each func(rec *subjects.Record, raw []byte) error, read func(records, bytes int64) error) error {
	var prev []byte
	req.Pass = true
	for last := false; !last; {
		piece, err := f.Piece(ctx, req)
		if err != nil {
			return err
		}
		n := int64(0)
		for b := piece.Records; len(b) > 0; n++ {
			rec, raw, rest, err := digest.Next(b)
			if err != nil {
				return err
			}
			if prev != nil && bytes.Compare(prev, rec.Key) >= 0 {
				return fmt.Errorf("key %q comes after %q: %w", rec.Key, prev, subjects.ErrInternal)
			}
			prev = append(prev[:0], rec.Key...)
			if err := each(&rec, raw); err != nil {
				return err
			}
			b = rest
		}
		if err := read(n, int64(len(piece.Records))); err != nil {
			return err
		}
		req.From, last = slices.Clone(piece.Next), piece.Last
	}
	return nil
}

// FreezePrimary freezes a partition at whoever leads it, and calls f. When that
// fails for a reason that may pass, as when the primary does, it does so again, until
// nothing has gone well for as long as patience.
func (c *Client) FreezePrimary(ctx context.Context, t *ring.Table, p ring.Partition, patience time.Duration, f func(f *Frozen, node ring.Node) error) error {
	failing := time.Now()
	for {
		began := time.Now()
		err := c.freezePrimary(ctx, t, p, f)
		if time.Since(began) > patience/2 {
			failing = time.Now() // it went well for a while
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !gone(err) || time.Since(failing) > patience || !pause(ctx, freezePause):
			return fmt.Errorf("partition %d: %w", p, err)
		}
		asking, cancel := context.WithTimeout(ctx, tableWithin)
		if newer, err := c.Table(asking); err == nil {
			t = newer
		}
		cancel()
	}
}

func (c *Client) freezePrimary(ctx context.Context, t *ring.Table, p ring.Partition, do func(f *Frozen, node ring.Node) error) error {
	node, ok := t.Primary(p)
	if !ok {
		return fmt.Errorf("nobody leads it: %w", subjects.ErrUnavailable)
	}
	f, err := c.Freeze(ctx, node.Name, subjects.FreezeRequest{Partition: p, Primary: true})
	if err != nil {
		return err
	}
	defer f.Thaw()
	return do(f, node)
}

// Thaw gives the copy up, also when the command's context has ended.
func (f *Frozen) Thaw() {
	ctx, cancel := context.WithTimeout(context.Background(), thawWithin)
	defer cancel()
	// If it gets lost the server thaws it by itself.
	_ = f.c.NodeOnce(ctx, f.node, subjects.NodeThaw, subjects.ThawRequest{Snapshot: f.Snapshot}, nil)
}

// gone reports whether an error may pass when a partition's primary is asked for
// again, which may be another by then.
func gone(err error) bool {
	return again(err) || errors.Is(err, subjects.ErrBusy) || errors.Is(err, subjects.ErrUnavailable) ||
		errors.Is(err, subjects.ErrInternal) || errors.Is(err, subjects.ErrPassed) || errors.Is(err, bus.ErrClosed)
}

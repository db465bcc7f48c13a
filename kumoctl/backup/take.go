package backup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/digest"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Options say what backup to take.
type Options struct {
	Dir     string
	Base    string // the backup on top of which to take an incremental one; "": a full one
	Version string // of the program
	Rate    int64  // bytes a second that are asked for; 0: as many as the servers give
	// Patience is for how long a partition is asked for again that cannot be read:
	// its primary may have failed, or found damage and make way for another.
	Patience time.Duration
	// Told is called with the partitions, records and bytes that have been read.
	Told func(partitions int, records, bytes int64)
}

// atOnce is how many partitions are read at a time.
const atOnce = 4

// taker takes one backup.
type taker struct {
	o          Options
	c          *admin.Client
	base       *Manifest
	pace       *rate.Limiter
	partial    string
	touchEvery time.Duration
}

// Take takes a backup of a cluster that is running. All that was acknowledged
// before is in it. Each partition is as it was at one moment of its own. An error,
// or the end of ctx, leaves Dir.partial, which the next attempt replaces.
func Take(ctx context.Context, c *admin.Client, o Options) (*Manifest, error) {
	t := &taker{o: o, c: c, pace: rate.NewLimiter(rate.Inf, 0), touchEvery: touchEvery}
	if o.Rate > 0 {
		t.pace = rate.NewLimiter(rate.Limit(o.Rate), int(max(o.Rate/10, 1)))
	}
	table, err := c.Table(ctx)
	if err != nil {
		return nil, err
	}
	if o.Base != "" {
		if t.base, err = Load(o.Base); err != nil {
			return nil, err
		}
		if t.base.ClusterID != table.ClusterID || len(t.base.Parts) != table.Size() {
			return nil, fmt.Errorf("--base %s is of cluster %s with %d partitions, this one is %s with %d: take a full backup",
				o.Base, t.base.ClusterID, len(t.base.Parts), table.ClusterID, table.Size())
		}
	}
	var lock *os.File
	if t.partial, lock, err = begin(o.Dir); err != nil {
		return nil, err
	}
	defer lock.Close()
	m := &Manifest{
		Format: format, Version: o.Version, ID: rand.Text(), Cluster: table.Cluster, ClusterID: table.ClusterID,
		Began: time.Now().UTC().Truncate(time.Second), Table: table, Parts: make([]Part, table.Size()),
	}
	if t.base != nil {
		m.Base = t.base.ID
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for p := range m.Parts {
		g.Go(func() error {
			part, err := t.part(ctx, table, ring.Partition(p))
			m.Parts[p] = part
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i := range m.Parts {
		m.Records += m.Parts[i].Records
		m.Bytes += m.Parts[i].Bytes
	}
	m.Ended = time.Now().UTC().Truncate(time.Second)
	return m, complete(m, t.partial, o.Dir)
}

// part reads a partition, from whoever leads it.
func (t *taker) part(ctx context.Context, table *ring.Table, p ring.Partition) (part Part, err error) {
	long := attempts{patience: t.o.Patience}
	err = t.c.FreezePrimary(ctx, table, p, t.o.Patience, func(f *admin.Frozen, node ring.Node) (err error) {
		began := time.Now()
		defer func() { err = long.ended(time.Since(began), err) }()
		part = Part{Partition: p, Node: node.Addr, At: f.At, Epoch: f.Epoch}
		w, err := createFile(t.partial, p)
		if err != nil {
			return err
		}
		defer w.f.Close()
		if t.base == nil {
			err = t.full(ctx, f, w, &part)
		} else {
			err = t.changed(ctx, f, w, &part)
		}
		if err != nil {
			return err
		}
		return w.finish(&part)
	})
	if err == nil {
		t.o.Told(1, 0, 0)
	}
	return part, err
}

// attempts ends the reading of a partition that fails each time after it went well
// for long, as when it changes faster than it is read.
type attempts struct {
	patience time.Duration
	long     int
}

const maxLong = 4

// ended takes how long an attempt took and how it ended. An error for which it is
// not to be tried again loses its kind, which would have it tried.
func (a *attempts) ended(took time.Duration, err error) error {
	if err == nil || took <= a.patience/2 {
		return err
	}
	if a.long++; a.long < maxLong {
		return err
	}
	return fmt.Errorf("it failed %d times, each after %s or more: %v", a.long, a.patience/2, err)
}

// full reads all of a frozen copy, and makes the ranges on the way.
func (t *taker) full(ctx context.Context, f *admin.Frozen, w *fileWriter, part *Part) error {
	cut := digest.NewCutter(nil)
	err := t.records(ctx, f, nil, nil, func(key, raw []byte) error {
		if done, ok := cut.Add(key, raw); ok {
			part.Ranges = append(part.Ranges, Range{done, true})
		}
		return w.write(raw)
	})
	part.Ranges = append(part.Ranges, Range{cut.End(nil), true})
	return err
}

// changed asks for digests, and reads the ranges that differ from the base's.
func (t *taker) changed(ctx context.Context, f *admin.Frozen, w *fileWriter, part *Part) error {
	base := t.base.Parts[part.Partition].Ranges
	var from []byte
	for last := false; !last; {
		rep, err := f.Digests(ctx, from, nil)
		if err != nil {
			return err
		}
		size := int64(0)
		for _, g := range rep.Ranges {
			i, ok := find(base, g.From)
			part.Ranges = append(part.Ranges, Range{g, !ok || !base[i].Same(&g)})
			size += g.Bytes
		}
		if from, last = rep.Next, rep.Last; !last && len(rep.Ranges) == 0 {
			return errors.New("the server answers with no digests")
		}
		if err := t.told(ctx, f.Touch, 0, size); err != nil {
			return err
		}
	}
	for i := range part.Ranges {
		g := &part.Ranges[i]
		if !g.Stored {
			continue
		}
		cut := digest.NewCutter(g.From)
		err := t.records(ctx, f, g.From, g.To, func(key, raw []byte) error {
			cut.Add(key, raw)
			return w.write(raw)
		})
		if err != nil {
			return err
		}
		if got := cut.End(g.To); !got.Same(&g.KeyRange) {
			return fmt.Errorf("the range from %q is not what its digest says: %w", g.From, subjects.ErrInternal)
		}
	}
	return nil
}

// records calls each with the records of a range of a frozen copy.
func (t *taker) records(ctx context.Context, f *admin.Frozen, from, to []byte, each func(key, raw []byte) error) error {
	return f.Records(ctx, subjects.PieceRequest{From: from, To: to}, func(r *subjects.Record, raw []byte) error {
		return each(r.Key, raw)
	}, func(records, size int64) error { return t.told(ctx, f.Touch, records, size) })
}

// touchEvery is how often a server hears of a frozen copy that is to stay so.
const touchEvery = 15 * time.Second

// told reports what was read, and waits for as long as it may take. Meanwhile touch
// keeps the copy frozen.
func (t *taker) told(ctx context.Context, touch func(context.Context) error, records, size int64) error {
	t.o.Told(0, records, size)
	touched := time.Now()
	for size > 0 && t.pace.Limit() != rate.Inf {
		n := min(size, int64(t.pace.Burst()))
		if err := t.pace.WaitN(ctx, int(n)); err != nil {
			return err
		}
		size -= n
		if time.Since(touched) >= t.touchEvery {
			if err := touch(ctx); err != nil {
				return err
			}
			touched = time.Now()
		}
	}
	return nil
}

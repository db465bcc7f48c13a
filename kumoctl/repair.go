package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// repairDone is what repair prints.
type repairDone struct {
	Partitions int      `json:"partitions"` // that were compared
	Skipped    int      `json:"skipped"`    // that were found equal not long ago
	Records    int64    `json:"records"`    // in one copy of them
	Bytes      int64    `json:"bytes"`
	Absent     int      `json:"absent"` // copies that were not in sync, and so not compared
	Differed   []differ `json:"differed"`
}

// differ is a copy that was not as the others.
type differ struct {
	Partition ring.Partition `json:"partition"`
	Node      string         `json:"node"`
	Ranges    int            `json:"ranges"` // of keys that differed
	From      []byte         `json:"from"`   // where the first begins
	Mended    bool           `json:"mended"`
	Unsure    string         `json:"unsure,omitempty"` // why it was not
}

type repair struct {
	check    bool          // mend nothing
	skip     time.Duration // partitions that were found equal within it
	patience time.Duration // for how long one partition may come to nothing

	c *admin.Client
	m *meter

	mu   sync.Mutex
	done repairDone // guarded by mu
}

func newRepair(g *global) *cobra.Command {
	r := &repair{patience: 2 * time.Minute}
	cmd := &cobra.Command{
		Use: "repair", Aliases: []string{"full-replace"}, Args: cobra.NoArgs,
		Short: "Compare the copies of every partition, and mend those that differ",
		Long: `Compare the copies of every partition, by digests of ranges of keys at the same entry
of their logs, while the cluster runs. A copy that differs is made anew from the
primary's, one of a partition at a time; if it is the primary's that differs from
several others that agree, another leads, and that one is made anew. Where it cannot
be told which copy is right none is made anew: run it again once all are in sync.

Interrupted, it leaves nothing half done: what servers have begun they end. With
--skip 1h it goes on where it was: what was found equal within an hour is not
compared again. Servers do the same by themselves, slowly; status has the result.`,
		Example: `  kumoctl mgr1 repair
  kumoctl mgr1 repair --check`,
		RunE: func(cmd *cobra.Command, _ []string) error { return g.repair(cmd, r) },
	}
	cmd.Flags().BoolVar(&r.check, "check", false, "mend nothing; copies that differ are an error")
	cli.SecondsVarP(cmd.Flags(), &r.skip, "skip", "", "pass over partitions whose copies were found equal within this time")
	return cmd
}

func (g *global) repair(cmd *cobra.Command, r *repair) error {
	return g.long(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
		t, err := c.Table(ctx)
		if err != nil {
			return err
		}
		r.c, r.m = c, startMeter(cmd.ErrOrStderr(), "repair", "partitions", int64(t.Size()))
		r.done = repairDone{Differed: []differ{}}
		e, ctx := errgroup.WithContext(ctx)
		e.SetLimit(partitionsAtOnce)
		for p := range t.Partitions {
			e.Go(func() error {
				if err := r.partition(ctx, t, ring.Partition(p)); err != nil {
					return fmt.Errorf("partition %d: %w", p, err)
				}
				r.m.done.Add(1)
				return nil
			})
		}
		err = e.Wait()
		r.m.end()
		return errors.Join(g.printRepair(cmd, &r.done), err, r.verdict())
	})
}

func (g *global) printRepair(cmd *cobra.Command, d *repairDone) error {
	slices.SortFunc(d.Differed, func(a, b differ) int { return int(a.Partition) - int(b.Partition) })
	return g.print(cmd, d, func(w io.Writer) error {
		for _, x := range d.Differed {
			what := "differs"
			if x.Mended {
				what = "differed, and was made anew"
			}
			why := ""
			if x.Unsure != "" {
				why = "; not made anew: " + x.Unsure
			}
			fmt.Fprintf(w, "partition %d: the copy at %s %s: %d ranges of keys, the first from %q on%s\n", x.Partition, x.Node, what, x.Ranges, x.From, why)
		}
		if d.Absent > 0 {
			fmt.Fprintf(w, "%d copies are not in sync, and were not compared\n", d.Absent)
		}
		_, err := fmt.Fprintf(w, "%d partitions compared, %d skipped; %d keys, %s; %d copies differed\n",
			d.Partitions, d.Skipped, d.Records, size(uint64(d.Bytes)), len(d.Differed))
		return err
	})
}

func (r *repair) verdict() error {
	n := 0
	for _, d := range r.done.Differed {
		if !d.Mended {
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("%d copies differ from the others", n)
	}
	return nil
}

// mendRounds is how often a partition is compared: its copies are mended one at a
// time, and the last comparison finds nothing.
const mendRounds = 6

// partition compares one and mends it until nothing differs.
func (r *repair) partition(ctx context.Context, t *ring.Table, p ring.Partition) error {
	for range mendRounds {
		rep, skipped, err := r.compare(ctx, t, p)
		if err != nil {
			return err
		}
		r.note(rep, skipped)
		if rep.Differing() == 0 || r.check || rep.Unsure != "" {
			return nil
		}
		if rep.Mended == "" {
			return errors.New("a copy differs and was not mended")
		}
		if err := r.whole(ctx, rep); err != nil {
			return err
		}
	}
	return fmt.Errorf("copies differ still after %d of them were made anew", mendRounds)
}

// note adds a report to what is printed. Of a partition that is compared again after
// a copy was mended only the first time counts.
func (r *repair) note(rep *subjects.CompareReport, skipped bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	again := slices.ContainsFunc(r.done.Differed, func(d differ) bool { return d.Partition == rep.Partition })
	switch {
	case skipped:
		r.done.Skipped++
	case !again:
		r.done.Partitions++
		r.done.Records += rep.Records
		r.done.Bytes += rep.Bytes
		r.done.Absent += rep.Absent
		r.m.records.Add(rep.Records)
		r.m.bytes.Add(rep.Bytes)
	}
	for _, c := range rep.Copies {
		if c.Differs > 0 && (r.check || c.Node == rep.Mended || rep.Unsure != "") {
			r.done.Differed = append(r.done.Differed, differ{rep.Partition, c.Node, c.Differs, c.From, c.Node == rep.Mended, rep.Unsure})
		}
	}
}

const comparePause = 100 * time.Millisecond

// compare has the primary compare its copies, and waits for the result. What fails
// may pass, as when another leads by now, and is tried again for a while.
func (r *repair) compare(ctx context.Context, t *ring.Table, p ring.Partition) (rep *subjects.CompareReport, skipped bool, err error) {
	for began := time.Now(); ; {
		rep, skipped, err = r.once(ctx, t, p)
		switch {
		case err == nil:
			return rep, skipped, nil
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case time.Since(began) > r.patience:
			return nil, false, err
		}
		if err := r.pause(ctx, 3*comparePause); err != nil {
			return nil, false, err
		}
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		if newer, err := r.c.Table(asking); err == nil {
			t = newer
		}
		cancel()
	}
}

func (r *repair) once(ctx context.Context, t *ring.Table, p ring.Partition) (*subjects.CompareReport, bool, error) {
	node, ok := t.Primary(p)
	if !ok {
		return nil, false, errors.New("nobody leads it")
	}
	ask := func(start bool) (rep subjects.CompareReport, err error) {
		return rep, r.c.NodeOnce(ctx, node.Name, subjects.NodeCompare, subjects.CompareRequest{Partition: p, Start: start, Mend: !r.check}, &rep)
	}
	if r.skip > 0 {
		rep, err := ask(false)
		if err != nil {
			return nil, false, err
		}
		if fresh := time.Since(time.UnixMilli(rep.Ended)) < r.skip; fresh && !rep.Running && settled(&rep) == nil && rep.Differing() == 0 {
			return &rep, true, nil
		}
	}
	rep, err := ask(true)
	for err == nil && rep.Running {
		if err = r.pause(ctx, comparePause); err == nil {
			rep, err = ask(false)
		}
	}
	if err == nil {
		err = settled(&rep)
	}
	return &rep, false, err
}

// settled returns why a report says nothing.
func settled(rep *subjects.CompareReport) error {
	if rep.Error != nil {
		return rep.Error
	}
	for _, c := range rep.Copies {
		if c.Error != "" {
			return fmt.Errorf("the copy at %s cannot be read: %s", c.Node, c.Error)
		}
	}
	return nil
}

// whole waits until a copy that is made anew is in sync again, or is not wanted any
// more.
func (r *repair) whole(ctx context.Context, rep *subjects.CompareReport) error {
	i := slices.IndexFunc(rep.Copies, func(c subjects.ComparedCopy) bool { return c.Node == rep.Mended })
	if i < 0 {
		return nil
	}
	id := rep.Copies[i].ID
	for {
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		t, err := r.c.Table(asking)
		cancel()
		if err == nil && int(rep.Partition) < t.Size() {
			c := &t.Partitions[rep.Partition]
			wanted := len(c.Target) == 0 || slices.Contains(c.Target, id)
			if c.Epoch > rep.Epoch && (c.HasISR(id) || !wanted && !c.HasLearner(id)) {
				return nil
			}
		}
		if err := r.pause(ctx, comparePause); err != nil {
			return err
		}
	}
}

func (r *repair) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

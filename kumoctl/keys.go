package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// partitionsAtOnce is how many partitions keys and size look at together.
const partitionsAtOnce = 4

func newKeys(g *global) *cobra.Command {
	limit := 1000
	cmd := &cobra.Command{
		Use: "keys [PREFIX]", Args: cobra.MaximumNArgs(1),
		Short: "List keys, in order, those that begin with a prefix",
		Long: `List keys, in order, those that begin with a prefix. With --limit 0 all are listed,
as they are found and in no order. A key that is no printable text is quoted.`,
		Example: `  kumoctl mgr1 keys user: --limit 20`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return cli.Usagef("--limit %d: want 0 for all, or more", limit)
			}
			prefix := ""
			if len(args) > 0 {
				prefix = args[0]
			}
			return g.keys(cmd, prefix, limit)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "list so many at most; 0: all")
	return cmd
}

// maxListed bounds what is sorted in memory: as many keys of each partition.
const maxListed = 100000

func (g *global) keys(cmd *cobra.Command, prefix string, limit int) error {
	if limit > maxListed {
		return cli.Usagef("--limit %d: want at most %d, or 0 for all in no order", limit, maxListed)
	}
	return g.long(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
		w := &keyWriter{w: cmd.OutOrStdout(), as: g.output}
		o := scanOptions{prefix: prefix, keysOnly: true}
		var mu sync.Mutex
		var first [][]byte // the smallest so far
		err := eachPartition(ctx, c, func(ctx context.Context, t *ring.Table, p ring.Partition) error {
			n := 0
			var mine [][]byte
			err := scan(ctx, c, t, p, o, func(r *subjects.Record) error {
				if limit == 0 {
					mu.Lock()
					defer mu.Unlock()
					return w.write(r.Key)
				}
				if n++; n > limit {
					return errEnough
				}
				mine = append(mine, bytes.Clone(r.Key))
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			first = append(first, mine...)
			slices.SortFunc(first, bytes.Compare)
			first = slices.Clip(first[:min(len(first), max(limit, 0))])
			return err
		})
		if err != nil {
			return err
		}
		for _, k := range first {
			if err := w.write(k); err != nil {
				return err
			}
		}
		return w.end()
	})
}

// eachPartition calls f for each partition, some at a time.
func eachPartition(ctx context.Context, c *admin.Client, f func(context.Context, *ring.Table, ring.Partition) error) error {
	t, err := c.Table(ctx)
	if err != nil {
		return err
	}
	e, ctx := errgroup.WithContext(ctx)
	e.SetLimit(partitionsAtOnce)
	for p := range t.Partitions {
		e.Go(func() error { return f(ctx, t, ring.Partition(p)) })
	}
	return e.Wait()
}

// keyWriter lists keys as they come: for people, as one array, or as lines.
type keyWriter struct {
	w  io.Writer
	as string // see global.output
	n  int
}

func (w *keyWriter) write(key []byte) error {
	w.n++
	if w.as == "table" {
		_, err := fmt.Fprintln(w.w, shown(string(key)))
		return err
	}
	k := struct {
		Key       string `json:"key,omitempty"`
		KeyBase64 []byte `json:"key_base64,omitempty"`
	}{Key: string(key)}
	if !utf8.Valid(key) {
		k.Key, k.KeyBase64 = "", key
	}
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if w.as == "ndjson" {
		_, err = fmt.Fprintf(w.w, "%s\n", text)
		return err
	}
	before := ",\n "
	if w.n == 1 {
		before = "[\n "
	}
	_, err = fmt.Fprint(w.w, before, string(text))
	return err
}

func (w *keyWriter) end() (err error) {
	switch {
	case w.as != "json":
	case w.n == 0:
		_, err = fmt.Fprintln(w.w, "[]")
	default:
		_, err = fmt.Fprintln(w.w, "\n]")
	}
	return err
}

func printable(s string) bool {
	for _, r := range s {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

func newSize(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "size [PREFIX]", Args: cobra.MaximumNArgs(1),
		Short:   "Count the keys that begin with a prefix, and their bytes",
		Long:    `Count the keys that begin with a prefix, and the bytes of these keys and their values, with what is stored beside them, in one copy.`,
		Example: `  kumoctl mgr1 size session:`,
		RunE: func(cmd *cobra.Command, args []string) error {
			sum := struct {
				Prefix string `json:"prefix"`
				Keys   int64  `json:"keys"`
				Bytes  int64  `json:"bytes"`
			}{}
			if len(args) > 0 {
				sum.Prefix = args[0]
			}
			err := g.long(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
				var mu sync.Mutex
				return eachPartition(ctx, c, func(ctx context.Context, t *ring.Table, p ring.Partition) error {
					keys, size, err := sizeOf(ctx, c, t, p, sum.Prefix)
					mu.Lock()
					defer mu.Unlock()
					sum.Keys += keys
					sum.Bytes += size
					return err
				})
			})
			if err != nil {
				return err
			}
			return g.print(cmd, sum, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%d keys, %s\n", sum.Keys, size(uint64(sum.Bytes)))
				return err
			})
		},
	}
}

// sizeOf has the primary of a partition count, so that no records travel.
func sizeOf(ctx context.Context, c *admin.Client, t *ring.Table, p ring.Partition, prefix string) (keys, size int64, err error) {
	err = c.FreezePrimary(ctx, t, p, readPatience, func(f *admin.Frozen, _ ring.Node) error {
		keys, size = 0, 0
		from := []byte(prefix)
		for {
			rep, err := f.Digests(ctx, from, after(prefix))
			if err != nil {
				return err
			}
			for i := range rep.Ranges {
				keys += rep.Ranges[i].Count
				size += rep.Ranges[i].Bytes
			}
			if from = rep.Next; rep.Last {
				return nil
			}
		}
	})
	return keys, size, err
}

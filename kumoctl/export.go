package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/jsonl"
	"github.com/etolabo/kumofs/kumoctl/load"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// readPatience is for how long a partition is asked for again that cannot be read.
const readPatience = time.Minute

func newExport(g *global) *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use: "export [FILE]", Args: cobra.MaximumNArgs(1),
		Short: "Write all keys as lines of JSON, to a file or standard output",
		Long: `Write all keys as lines of JSON, to a file that is made or to standard output:

  {"key":"k","value":"v","flags":7,"expiry":1893456000}

Keys and values that are no UTF-8 are key_base64 and value_base64; expiry is in Unix
seconds and left out for never. Each partition is as it was at one moment, unless its
primary fails meanwhile. Keys whose time is over are left out.`,
		Example: `  kumoctl mgr1 export | gzip >all.jsonl.gz
  kumoctl mgr1 export users.jsonl --prefix user:`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "-" {
				return g.export(cmd, cmd.OutOrStdout(), prefix)
			}
			f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			if err := errors.Join(g.export(cmd, f, prefix), f.Sync(), f.Close()); err != nil {
				return fmt.Errorf("%s is not complete: %w", args[0], err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only keys that begin so")
	return cmd
}

func (g *global) export(cmd *cobra.Command, to io.Writer, prefix string) error {
	return g.long(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
		t, err := c.Table(ctx)
		if err != nil {
			return err
		}
		m := startMeter(cmd.ErrOrStderr(), "export", "partitions", int64(t.Size()))
		err = exportTo(ctx, c, t, to, prefix, m)
		m.end()
		if err == nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "export: %s\n", m.summary())
		}
		return err
	})
}

func exportTo(ctx context.Context, c *admin.Client, t *ring.Table, to io.Writer, prefix string, m *meter) error {
	w := bufio.NewWriterSize(to, 256<<10)
	var buf []byte
	for p := range t.Partitions {
		err := scan(ctx, c, t, ring.Partition(p), scanOptions{prefix: prefix}, func(r *subjects.Record) (err error) {
			if load.Over(r, time.Now()) {
				return nil
			}
			if buf, err = jsonl.Append(buf[:0], r); err != nil {
				return err
			}
			m.records.Add(1)
			m.bytes.Add(int64(len(buf)))
			_, err = w.Write(buf)
			return err
		})
		if err != nil {
			return err
		}
		m.done.Add(1)
	}
	return w.Flush()
}

// scanOptions say what of a partition to read.
type scanOptions struct {
	prefix   string
	keysOnly bool
}

// errEnough ends a scan early.
var errEnough = errors.New("enough")

// scan calls each with the records of a partition in the order of their keys, each
// once: when its primary fails it goes on behind the last one, with the next primary.
func scan(ctx context.Context, c *admin.Client, t *ring.Table, p ring.Partition, o scanOptions, each func(*subjects.Record) error) error {
	req := subjects.PieceRequest{From: []byte(o.prefix), To: after(o.prefix), KeysOnly: o.keysOnly}
	err := c.FreezePrimary(ctx, t, p, readPatience, func(f *admin.Frozen, _ ring.Node) error {
		return f.Records(ctx, req, func(r *subjects.Record, _ []byte) error {
			req.From = append(bytes.Clone(r.Key), 0)
			return each(r)
		}, func(int64, int64) error { return nil })
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// after is the first key behind those that begin with a prefix; nil: there is none.
func after(prefix string) []byte {
	b := []byte(prefix)
	for len(b) > 0 {
		if last := len(b) - 1; b[last] < 0xff {
			b[last]++
			return b
		}
		b = b[:len(b)-1]
	}
	return nil
}

func newImport(g *global) *cobra.Command {
	var rate cli.Bytes
	cmd := &cobra.Command{
		Use: "import [FILE]", Args: cobra.MaximumNArgs(1),
		Short: "Store keys from lines of JSON, as export writes them",
		Long: `Store keys from lines of JSON, as export writes them, from a file or standard
input. What is there already is replaced; of two lines with one key the later stays.
A line that makes no sense ends it, and is named; the lines before it are stored.`,
		Example: `  zcat all.jsonl.gz | kumoctl mgr1 import
  echo '{"key":"k","value":"v"}' | kumoctl mgr1 import`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, in, total := "standard input", cmd.InOrStdin(), int64(0)
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				if fi, err := f.Stat(); err == nil {
					total = fi.Size()
				}
				name, in = args[0], f
			}
			return g.long(cmd.Context(), func(context.Context, *admin.Client) error {
				r := jsonl.NewReader(in, name)
				return g.load(cmd, "import", total, int64(rate), func(_ context.Context, put func(*subjects.Record) error) error {
					for {
						rec, err := r.Next()
						if err == io.EOF {
							return nil
						}
						if err == nil {
							err = put(&rec)
						}
						if err != nil {
							return err
						}
					}
				})
			})
		},
	}
	cmd.Flags().Var(&rate, "rate", "bytes a second that are stored, such as 10M; by default as many as the servers take")
	return cmd
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/credentials"
)

// natsContext is a context of the nats command, as far as it is ours.
type natsContext struct {
	Description string `json:"description"`
	URL         string `json:"url"`
	// With credentials only.
	NKey     string `json:"nkey,omitempty"`
	Cert     string `json:"cert,omitempty"`
	Key      string `json:"key,omitempty"`
	CA       string `json:"ca,omitempty"`
	Inbox    string `json:"inbox_prefix,omitempty"`
	TLSFirst bool   `json:"tls_first,omitempty"`
}

func newNATSContext(g *global) *cobra.Command {
	save, replace := false, false
	cmd := &cobra.Command{
		Use: "nats-context [NAME]", Args: cobra.MaximumNArgs(1),
		Short: "Print, or save, a context with which the nats command finds the cluster",
		Long: `Print, or save, a context with which the nats command finds the cluster.

NAME is kumo-CLUSTER by default. It is saved where the nats command looks:
$XDG_CONFIG_HOME/nats/context/NAME.json, by default below ~/.config. With
--credentials it names the files of that folder; the hosts must then be among those
of kumoctl auth init --hosts.`,
		Example: `  kumoctl mgr1 nats-context --save && nats --context kumo-kumo sub 'kumo.>'
  kumoctl -m mgr1,mgr2 nats-context > context.json
  kumoctl mgr1 --credentials /etc/kumofs/observer nats-context --save`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := g.folder()
			if err != nil {
				return err
			}
			name := "kumo-" + g.cluster
			if len(args) == 1 {
				name = args[0]
			}
			if name == "" || strings.ContainsAny(name, `/\ `) || strings.HasPrefix(name, ".") {
				return cli.Usagef("%q cannot be a context's name", name)
			}
			nc := natsContext{Description: "kumofs cluster " + g.cluster, URL: "nats://" + strings.Join(g.managers, ",nats://")}
			if f != nil {
				nc.show(f)
			}
			if !save {
				return g.print(cmd, nc, func(w io.Writer) error { return writeContext(w, nc) })
			}
			path, err := saveContext(name, nc, replace)
			if err != nil {
				return err
			}
			return g.print(cmd, map[string]string{"name": name, "path": path}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s\n", path)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&save, "save", false, "write it where the nats command looks")
	cmd.Flags().BoolVar(&replace, "replace", false, "with --save: write over one of this name")
	return cmd
}

// show has the nats command show what kumoctl would.
func (nc *natsContext) show(f *credentials.Folder) {
	files := f.Files()
	nc.NKey, nc.Cert, nc.Key, nc.CA = files.Seed, files.Certificate, files.Key, files.Authorities
	nc.Inbox, nc.TLSFirst = f.Credentials().Inbox, true
}

func writeContext(w io.Writer, nc natsContext) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(nc)
}

// saveContext writes a context and returns where.
func saveContext(name string, nc natsContext, replace bool) (path string, err error) {
	base := os.Getenv("XDG_CONFIG_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the home folder: %w", err)
		}
		base = filepath.Join(home, ".config")
	}
	dir := filepath.Join(base, "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil { // #nosec G703 -- the user's own folder, by the user's own environment
		return "", fmt.Errorf("make the folder for contexts: %w", err)
	}
	path = filepath.Join(dir, name+".json")
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if replace {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600) // #nosec G703 -- as above
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("context %s is there already (--replace writes over it): %w", name, err)
	}
	if err != nil {
		return "", fmt.Errorf("write context %s: %w", name, err)
	}
	return path, errors.Join(writeContext(f, nc), f.Close())
}

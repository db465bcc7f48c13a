package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/credentials"
)

// dial prepares a connection to the managers.
func (g *global) dial() (*admin.Client, error) {
	s, err := g.security()
	if err != nil {
		return nil, err
	}
	return admin.Dial(admin.Options{Cluster: g.cluster, Managers: g.managers, Security: s})
}

// folder reads --credentials; nil for none. Where no cluster is named it is that of
// the credentials.
func (g *global) folder() (*credentials.Folder, error) {
	if g.credentials == "" {
		return nil, nil
	}
	f, err := credentials.Load(g.credentials)
	if err != nil {
		return nil, &cli.UsageError{Err: err}
	}
	if g.clusterGiven && f.Cluster != g.cluster {
		return nil, cli.Usagef("credentials %s: they are of cluster %s, not %s", f.Dir, f.Cluster, g.cluster)
	}
	g.cluster = f.Cluster
	return f, nil
}

// security is what the credentials are to the bus; nil for none.
func (g *global) security() (*bus.Security, error) {
	f, err := g.folder()
	if f == nil || err != nil {
		return nil, err
	}
	s, err := bus.NewSecurity(f.Credentials())
	if err != nil {
		return nil, fmt.Errorf("credentials %s: %w", f.Dir, err)
	}
	return s, nil
}

// with connects to the managers, calls f and hangs up. Connecting and f
// together may take --timeout.
func (g *global) with(ctx context.Context, f func(context.Context, *admin.Client) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	c, err := g.dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return f(ctx, c)
}

// long is with for commands that take as long as they take: connecting alone may take
// --timeout.
func (g *global) long(ctx context.Context, f func(context.Context, *admin.Client) error) (err error) {
	c, err := g.dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	first, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	if _, err := c.Table(first); err != nil {
		return err
	}
	return f(ctx, c)
}

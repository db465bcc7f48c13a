package main

import (
	"context"
	"errors"

	"github.com/etolabo/kumofs/kumoctl/admin"
)

// with connects to the managers, calls f and hangs up. Connecting and f
// together may take --timeout.
func (g *global) with(ctx context.Context, f func(context.Context, *admin.Client) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	c, err := admin.Dial(admin.Options{Cluster: g.cluster, Managers: g.managers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return f(ctx, c)
}

// long is with for commands that take as long as they take: connecting alone may take
// --timeout.
func (g *global) long(ctx context.Context, f func(context.Context, *admin.Client) error) (err error) {
	c, err := admin.Dial(admin.Options{Cluster: g.cluster, Managers: g.managers})
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

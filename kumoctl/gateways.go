package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/subjects"
)

// gateways are those that are up, or the one of this name, ID or address.
func gateways(st *subjects.ClusterStatus, name string) (list []subjects.NodeStatus, err error) {
	var known []string
	for _, n := range st.Nodes {
		if n.Role != subjects.RoleGateway {
			continue
		}
		known = append(known, n.Name)
		switch {
		case name == "" && n.State == "down":
		case name == "", n.Name == name, n.ID.String() == name, slices.Contains(n.Listen, name):
			list = append(list, n)
		}
	}
	if name != "" && len(list) == 0 {
		return nil, fmt.Errorf("%w %q: the gateways are %s", subjects.ErrUnknownNode, name, cmp.Or(strings.Join(known, ", "), "none"))
	}
	return list, nil
}

// askGateways asks each gateway, and returns what those say that answer and who
// did not.
func askGateways[T any](ctx context.Context, c *admin.Client, name, verb string, req any) (answers []fromGateway[T], err error) {
	st, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	list, err := gateways(st, name)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, n := range list {
		a := fromGateway[T]{Gateway: n.Name}
		if err := c.Gateway(ctx, n.Name, verb, req, &a.Answer); err != nil {
			errs = append(errs, fmt.Errorf("gateway %s: %w", n.Name, err))
			continue
		}
		answers = append(answers, a)
	}
	return answers, errors.Join(errs...)
}

// fromGateway is what one gateway says.
type fromGateway[T any] struct {
	Gateway string
	Answer  T
}

package main

import (
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects/ring"
)

// simulate plans a table for servers that need not exist.
func simulate(servers []string, partitions, replicas int) (*ring.Table, error) {
	return nil, cli.Usagef("--servers: not there yet")
}

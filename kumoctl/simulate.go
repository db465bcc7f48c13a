package main

import (
	"strings"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// simulate plans a table for servers that need not exist, each as
// addr[:port][=zone]. It shows how even a cluster of them would be; a real one
// places by random identities, and so each partition elsewhere.
func simulate(servers []string, partitions, replicas int) (*ring.Table, error) {
	t, _, err := (*ring.Table)(nil).Apply(ring.Command{Init: &ring.Init{Cluster: "simulated", ClusterID: 1, Partitions: partitions, Replicas: replicas}})
	if err != nil {
		return nil, &cli.UsageError{Err: err}
	}
	var nodes []rebalance.Server
	for i, s := range servers {
		s, zone, _ := strings.Cut(s, "=")
		addr, err := cli.HostPort(s, cli.ServerPort)
		if err != nil {
			return nil, &cli.UsageError{Err: err}
		}
		id := ring.NodeID(i + 1)
		n := ring.Node{ID: id, Name: subjects.NodeName(addr), Addr: addr, Zone: zone, Boot: 1}
		if t, _, err = t.Apply(ring.Command{Seen: []ring.Sighting{{Node: n}}}); err != nil {
			return nil, &cli.UsageError{Err: err}
		}
		nodes = append(nodes, rebalance.Server{ID: id, Zone: zone})
	}
	if t, _, err = t.Apply(ring.Command{Target: rebalance.Targets(t, nodes)}); err != nil {
		return nil, &cli.UsageError{Err: err}
	}
	var changes []ring.Change
	for p, c := range t.Partitions {
		changes = append(changes, ring.Change{Partition: ring.Partition(p), Primary: ring.Process{Store: c.Target[0], Boot: 1}, ISR: c.Target})
	}
	t, _, err = t.Apply(ring.Command{Change: changes})
	return t, err
}

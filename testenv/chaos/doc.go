// Package chaos lets clients work on a cluster of real processes while nemeses
// kill, pause, cut off, restart and move them, and checks what the clients saw.
//
//	plan.go      what goes wrong and when, drawn from a seed
//	nemesis.go   does it to processes
//	cut.go       and to the network, where each node has a namespace of its own
//	client.go    the clients, on the memcached ports of the gateways
//	history.go   what they asked and were told
//	model.go     one key of memcached
//	judge.go     porcupine holds the histories against it
//	run.go       a run: start, trouble, healing, audit, verdict
//	flat.go      what the daemons use, where that must not grow
//	look.go      how they are asked
//	warm.go      fills what they keep before
//	inside.go    a run in a network of its own
//	report.go    what is left of a run
//
// A run of 20 s with kills and pauses is part of go test. The rest is behind
// flags; see the tasks chaos and chaos-convict.
//
//	go test ./testenv/chaos -run TestChaos -timeout 0 -v -chaos 5m -seed 7 -runs 10
//
// Where root and iproute2 are there, each node lives in a network namespace,
// joined to the others by a bridge, and the whole in namespaces of the run's own
// that end with it, whatever happens. Elsewhere nodes share the loopback network
// and nothing is cut.
package chaos

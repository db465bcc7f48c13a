// Package local runs a whole cluster on this machine: every daemon in this
// process, or each as a process of its own, so that one can be killed. It is
// what kumoctl up and the cluster tests start.
//
//	layout.go     which daemons there are, where they listen, what is kept of that in the folder
//	cluster.go    starts, stops, kills, pauses and restarts them
//	inprocess.go  a daemon as goroutines
//	process.go    a daemon as a process
package local

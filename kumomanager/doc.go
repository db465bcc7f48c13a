// Package kumomanager is the manager of a kumofs cluster: it knows who lives,
// decides which server holds what, and agrees on it with the other managers.
//
//	manager.go   Open, Run, Close; what a manager has beside its vote
//	seat.go      a vote in the managers' log, and what leading it takes
//	talk.go      what a seat hears and says
//	upkeep.go    who votes, and handing the lead back to a manager
//	core.go      what a leader decides next            no clock, no waiting
//	members/     who is up (pure)
//	orders.go    attach, detach, replace               no clock, no waiting
//	rebalance/   where copies belong, partition by partition (pure)
//	witness.go   a vote on a server, where there are two managers
//
// The partition table (package ring) is the state machine of the managers'
// log (package quorum). Only the leader proposes. What it decides follows from
// the table and from who is up, so that a new leader goes on where the last one
// was.
package kumomanager

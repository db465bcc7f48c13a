// Package rebalance decides where copies belong (Plan) and which configuration
// each partition needs next, given who is alive (Reconcile).
//
// The package is pure: a table and facts go in, wishes and changes come out.
// Nothing here knows a clock, a network or a lock.
package rebalance

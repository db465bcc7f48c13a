// Package pauses measures what clients notice of faults: how long reads and
// writes of a partition stand still, how many operations fail, and whether any
// answer is wrong or any acknowledged write is gone.
//
//	prober.go   clients that work by a timetable, one connection for each partition's reads and writes
//	worker.go   what they do, and what they may be answered
//	window.go   the longest pauses of some partitions in some stretch of time
//	figures.go  medians and worst cases, and the bars that they are held against
//	report.go   one line for each figure, and docs/results/pauses.md
//
// The scenarios are tests behind the flag -measure, since they take minutes and
// want a quiet machine:
//
//	go test ./testenv/pauses -v -timeout 0 -measure -run TestKill -times 50
//
// Operations begin by a timetable whether earlier ones are answered or not, and
// a latency counts from the scheduled time: so a pause is seen in full, and not
// only by the one operation that it caught. Machines stall at times; beside each
// pause stands the longest latency of a stretch of the same length without a
// fault.
package pauses

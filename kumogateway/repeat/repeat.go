// Package repeat decides how a gateway carries one operation through its
// attempts: how long it waits for an answer, when it asks again, and whether it
// may say of an operation that came to no end that nothing was done.
//
// The package is pure. Times are in nanoseconds.
package repeat

import (
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const ms = int64(1e6)

// An attempt is given up, and repeated, after these times, doubled with every
// further one. They are for messages that were lost: when a primary dies or
// hangs, the ring says so sooner. Shorter times would give an overloaded server
// more to do for being slow.
const (
	firstRead  = 1000 * ms
	firstWrite = 2000 * ms
)

// WriteGrace is how long a primary that was replaced, and lives, may still
// answer a write that it was sent before.
const WriteGrace = 250 * ms

// Course is one operation's way through its attempts.
type Course struct {
	Epoch    ring.Epoch // of the last attempt
	Attempts uint32
	Unsure   bool // an attempt may have been carried out and nothing was heard of it
}

// Next is what follows from the end of an attempt.
type Next struct {
	End     bool  // the answer is the operation's
	Wait    int64 // otherwise: for a newer ring, at most for so long
	Refresh bool  // the ring may have changed
}

// Begin counts an attempt by a ring that has the partition at epoch, and returns
// for how long its answer is waited for.
func (c *Course) Begin(write bool, epoch ring.Epoch) (patience int64) {
	c.Epoch = epoch
	c.Attempts++
	patience = firstRead
	if write {
		patience = firstWrite
	}
	return patience << min(c.Attempts-1, 8)
}

// Answered takes the answer to the last attempt, from a process that has the
// partition at epoch theirs. A primary that is replaced says so to the
// operations that it has prepared, too, whose outcome only the next one knows.
func (c *Course) Answered(s subjects.Status, theirs ring.Epoch) Next {
	switch s {
	case subjects.StatusNotPrimary:
		c.Unsure = true
		return Next{Wait: backoff(c.Attempts), Refresh: theirs >= c.Epoch}
	case subjects.StatusRetry:
		return Next{Wait: backoff(c.Attempts)}
	}
	return Next{End: true}
}

// Unsent takes an attempt that never left.
func (c *Course) Unsent() Next { return Next{Wait: backoff(c.Attempts)} }

// TimedOut takes an attempt whose answer was waited for long enough already.
func (c *Course) TimedOut() Next {
	c.Unsure = true
	return Next{Refresh: true}
}

// Broken takes an attempt whose connection has broken, mostly to a process that
// died: its partitions will soon be elsewhere.
func (c *Course) Broken() Next {
	c.Unsure = true
	return Next{Wait: backoff(c.Attempts)}
}

// Abandon takes an attempt that its gateway no longer waits for.
func (c *Course) Abandon() { c.Unsure = true }

// Newer reports whether a ring with the partition at this epoch is newer than
// the one of the last attempt.
func (c *Course) Newer(epoch ring.Epoch) bool { return epoch > c.Epoch }

// backoff is how long to wait for a newer ring before trying again anyway.
func backoff(attempt uint32) int64 {
	return min(10*ms<<min(attempt, 6), 250*ms)
}

package replica

import (
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Event is what happens to a machine: one of the types below.
type Event any

// Configure brings the partition's newest configuration from the ring.
type Configure struct {
	Config ring.Config
	Now    int64
}

// Receive brings a message of another replica, decoded.
type Receive struct {
	Msg any
	Now int64
}

// Propose is a client's write. ID comes back with the Reply.
type Propose struct {
	ID    uint64
	Write *subjects.Write
	Now   int64
	Clock int64 // wall clock, Unix milliseconds
}

// Expire asks to delete a key whose time is over, before a read may say so.
type Expire struct {
	ID    uint64
	Key   []byte
	Now   int64
	Clock int64 // wall clock, Unix milliseconds
}

// LeaseAsked brings a primary's question for a lease.
type LeaseAsked struct {
	From  ring.Process
	Epoch ring.Epoch
	Now   int64
}

// Granted brings a peer's lease: the answer to a question that was sent at Sent,
// on this process's own clock, for Length.
type Granted struct {
	From   ring.Process
	Epoch  ring.Epoch
	Sent   int64
	Length int64
	Now    int64
}

// Confirm wants Reply to be given if, after it was made, every in-sync replica
// still followed this primary. It comes back with ID, or StatusRetry does.
type Confirm struct {
	ID    uint64
	Epoch ring.Epoch // in which the answer was made
	Reply subjects.Reply
	Now   int64 // no earlier than the answer was made
}

// Died says that a process is proved to be gone.
type Died struct {
	Process ring.Process
	Now     int64
}

// Damaged says that the copy lacks something that it should hold: a stored
// record cannot be read. The copy gives way to the others, which give it back;
// the only one in sync goes on with what it has.
type Damaged struct{ Now int64 }

// Logged says that the log to this entry is as durable as the sync mode says, and
// the promise of an epoch on disk.
type Logged struct {
	Tail     subjects.Version
	Promised ring.Epoch
}

// RangeRead brings the records that a ReadRange effect asked for.
type RangeRead struct {
	To      ring.NodeID
	Epoch   ring.Epoch
	From    []byte
	Next    []byte // first key after the range; ignored if Last
	Last    bool
	Through uint64
	Records []subjects.Record
	Err     error
}

// Turn ends a batch of events.
type Turn struct{}

// Tick passes time; every 20 to 50 ms. Held says that this process's own log has
// waited for its disk for a while: the others' may wait for the same disk, so that
// nobody is called silent for that time.
type Tick struct {
	Now  int64
	Held bool
}

// Effect is what a machine wants done: one of the types below. Effects on the
// store are carried out in order and at once (in memory); the store makes them
// durable in the same order.
type Effect any

// Message is one of package subjects that goes to another replica.
type Message interface{ Append([]byte) []byte }

// Append puts an entry at the end of the log.
type Append struct{ *subjects.Entry }

// Promise raises the promised epoch; fsynced in every mode.
type Promise struct{ Epoch ring.Epoch }

// Cut raises the promise and drops the entries after After: one record,
// fsynced in every mode.
type Cut struct {
	Epoch ring.Epoch
	After subjects.Version
}

// Reset begins the copy anew: the log goes on after Base, the data is gone and
// the copy is incomplete; fsynced in every mode.
type Reset struct {
	Epoch ring.Epoch
	Base  subjects.Version
}

// Clean says that the copy, which may have lost what it acknowledged, was taken
// out of the in-sync set and goes on from what it has.
type Clean struct{}

// Adopt declares that what the copy holds is all that there is: it is whole and
// clean from now on.
type Adopt struct{}

// Install replaces a range of keys.
type Install struct{ *subjects.Range }

// Commit makes entries to Seq visible.
type Commit struct{ Seq uint64 }

// Send sends a message. A durable one goes only once all effects on the store
// before it are as durable as the mode says.
type Send struct {
	To      ring.NodeID
	Msg     Message
	Durable bool
}

// Reply answers a Propose or an Expire. One with a time of Until depends on a
// lease: from then on it is StatusRetry instead.
type Reply struct {
	ID    uint64
	Reply subjects.Reply
	Until int64
}

// ReadRange asks for committed records from key From on; they come back as
// RangeRead with the same To, Epoch, From and Through.
type ReadRange struct {
	To      ring.NodeID
	Epoch   ring.Epoch
	From    []byte
	Through uint64
}

// Ask wants a configuration from the managers. Where Change.Primary has no
// boot ID, that of the node's newest process is meant.
type Ask struct{ Change ring.Change }

// Serve switches reads of the partition on or off. They may be answered before
// Until, if the clock is looked at after the value was taken, but for those of
// Hidden keys, whose newest entry is of unknown fate. Hidden is not changed
// afterwards.
type Serve struct {
	Epoch  ring.Epoch
	On     bool
	Until  int64
	Hidden map[string]struct{}
}

// WantLease asks another process for a lease of this partition. Many partitions'
// questions go in one message.
type WantLease struct {
	To    ring.NodeID
	Epoch ring.Epoch
}

// Grant answers a LeaseAsked; it goes at once, in one message with others.
type Grant struct {
	To    ring.Process
	Epoch ring.Epoch
}

// Fault tells the operator of damage; the copy will be made anew.
type Fault struct{ Text string }

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
	Clock int64 // wall clock, Unix milliseconds
}

// Expire asks to delete a key whose time is over, before a read may say so.
type Expire struct {
	ID    uint64
	Key   []byte
	Clock int64 // wall clock, Unix milliseconds
}

// Logged says that the log to this entry is as durable as the sync mode says.
type Logged struct{ Tail subjects.Version }

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

// Tick passes time; every 20 to 50 ms.
type Tick struct{ Now int64 }

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

// Reply answers a Propose or an Expire.
type Reply struct {
	ID    uint64
	Reply subjects.Reply
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

// Serve switches reads of the partition on or off.
type Serve struct {
	Epoch ring.Epoch
	On    bool
}

// Fault tells the operator of damage; the copy will be made anew.
type Fault struct{ Text string }

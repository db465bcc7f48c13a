package store

import (
	"errors"
	"fmt"

	"github.com/etolabo/kumofs/subjects/ring"
)

// badRecord is a stored value whose checksum does not match.
type badRecord struct {
	partition ring.Partition
	key       string // as it is stored: the damage may be there
	another   bool   // it is: with one bit of the key changed the checksum matches
}

func (e *badRecord) Error() string {
	return fmt.Sprintf("key %q of partition %d: %v", e.key, e.partition, ErrCorrupt)
}

func (e *badRecord) Unwrap() error { return ErrCorrupt }

// Errors that callers tell apart.
var (
	// ErrInUse: another process has the folder open.
	ErrInUse = errors.New("store is in use")
	// ErrNotStore: the folder holds something, but no store.
	ErrNotStore = errors.New("not a kumofs store")
	// ErrFormat: the store was written in another format.
	ErrFormat = errors.New("other store format")
	// ErrOtherCluster: the store belongs to another cluster.
	ErrOtherCluster = errors.New("store belongs to another cluster")
	// ErrGap: an entry or range does not begin where the copy ends.
	ErrGap = errors.New("does not follow what the copy holds")
	// ErrBelowCommit: a cut would remove an entry that is known to have committed.
	ErrBelowCommit = errors.New("below the commit index")
	// ErrNotShared: a cut names an entry that the log does not hold.
	ErrNotShared = errors.New("not an entry of this log")
	// ErrLost: the copy is gone; it can only begin anew, with Reset.
	ErrLost = errors.New("the copy is lost")
	// ErrOutOfRange: a range's record is outside of its bounds, or out of order.
	ErrOutOfRange = errors.New("record outside of the range")
	// ErrNoSpace: the disk is full. Deletes, cuts and promises still fit.
	ErrNoSpace = errors.New("no space left for the store")
	// ErrCorrupt: a stored record's checksum does not match.
	ErrCorrupt = errors.New("stored record is damaged")
	// ErrDamaged: the bbolt file itself is damaged. The next Open sets it aside.
	ErrDamaged = errors.New("store file is damaged")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

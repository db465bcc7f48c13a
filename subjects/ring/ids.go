// Package ring is the partition table: which processes hold which partition at
// which epoch, how a key finds its partition, and the state machine (Apply)
// that the managers' replicated log drives.
//
// The package is pure: no clock, no network, no lock. A *Table is never changed
// once it was returned; Apply makes a new one that shares what did not change.
package ring

import (
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// NodeID is the random identity of a store: a data folder keeps it, so that a
// folder started at another address is still the same node. Never 0.
type NodeID uint64

// BootID is the random identity of one run of a process. Never 0.
type BootID uint64

// ClusterID is minted once, by the first leader of a cluster; it is in every
// message, so that two clusters of one name cannot mix. 0 means not yet known.
type ClusterID uint64

// Partition numbers a part of the key space, from 0 to Table.Size()-1.
type Partition uint16

// Epoch numbers the configurations of one partition. 0 means that the
// partition has never been placed.
type Epoch uint64

// Process is one run of one store. A primary is a process: a primary that
// restarted counts as failed.
type Process struct {
	Store NodeID `json:"node"`
	Boot  BootID `json:"boot"`
}

// Zero reports whether p names nobody.
func (p Process) Zero() bool { return p == Process{} }

func (p Process) String() string { return p.Store.String() + "/" + p.Boot.String() }

// Hash is the XXH64 of a key.
func Hash(key []byte) uint64 { return xxhash.Sum64(key) }

// Of returns the partition of a key among n, a power of two: the low bits of
// its Hash.
func Of(key []byte, n int) Partition {
	return Partition(Hash(key) & uint64(n-1))
}

func (id NodeID) String() string    { return hex(uint64(id)) }
func (id BootID) String() string    { return hex(uint64(id)) }
func (id ClusterID) String() string { return hex(uint64(id)) }

// MarshalText writes 16 hexadecimal digits, since JSON numbers lose the low
// bits of 64.
func (id NodeID) MarshalText() ([]byte, error)    { return []byte(id.String()), nil }
func (id BootID) MarshalText() ([]byte, error)    { return []byte(id.String()), nil }
func (id ClusterID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (id *NodeID) UnmarshalText(b []byte) error    { return unhex(b, (*uint64)(id)) }
func (id *BootID) UnmarshalText(b []byte) error    { return unhex(b, (*uint64)(id)) }
func (id *ClusterID) UnmarshalText(b []byte) error { return unhex(b, (*uint64)(id)) }

// ParseNodeID reads the 16 hexadecimal digits that String gives.
func ParseNodeID(s string) (NodeID, error) {
	var id NodeID
	err := id.UnmarshalText([]byte(s))
	return id, err
}

func hex(v uint64) string { return fmt.Sprintf("%016x", v) }

func unhex(b []byte, to *uint64) error {
	v, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("%q is not an identity of 16 hexadecimal digits", b)
	}
	*to = v
	return nil
}

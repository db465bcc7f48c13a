package store

import (
	"bytes"
	"unsafe"

	"github.com/etolabo/kumofs/subjects"
)

// memtable is what one partition's committed entries did that bbolt does not
// hold yet. It stands before bbolt: a key that it has, or a mask covers, is not
// looked up further. The part's lock guards it.
type memtable struct {
	// vals by user key. The strings alias the entries' bytes, which nobody
	// changes.
	vals  map[string]*value
	masks []*mask
}

// value is what a key has; nobody changes it once it is in a memtable.
type value struct {
	data    []byte
	version subjects.Version
	flags   uint32
	bits    uint32
	expiry  int64
	token   uint64
	gone    bool // a delete
}

func (v *value) record(key []byte) subjects.Record {
	return subjects.Record{
		Key: key, Value: v.data, Flags: v.flags, Expiry: v.expiry, Bits: v.bits, Version: v.version, Token: v.token,
	}
}

// newValue is what a record puts.
func newValue(r *subjects.Record) *value {
	return &value{data: r.Value, version: r.Version, flags: r.Flags, bits: r.Bits, expiry: r.Expiry, token: r.Token}
}

// mask voids what bbolt holds in a range of a partition; the values there are
// removed in the background. Bounds are places (a space byte and a user key).
type mask struct {
	from []byte
	to   []byte // exclusive; nil: the end of the partition
}

// Every place in a partition begins with one of the spaces.
const (
	spaceSystem = 0 // the store's and the protocol's own, none so far
	spaceUser   = 1
)

func place(key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), spaceUser), key...)
}

func (m *mask) covers(place []byte) bool {
	return bytes.Compare(place, m.from) >= 0 && (m.to == nil || bytes.Compare(place, m.to) < 0)
}

// alias makes a map key of bytes that are never changed, without a copy.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } // #nosec G103 -- see above

func (t *memtable) set(key []byte, v *value) {
	if t.vals == nil {
		t.vals = make(map[string]*value)
	}
	t.vals[alias(key)] = v
}

// masked reports whether bbolt's value of a key is void.
func (t *memtable) masked(key []byte) bool {
	if len(t.masks) == 0 {
		return false
	}
	var buf [1 + subjects.MaxKey]byte
	at := append(append(buf[:0], spaceUser), key...)
	for _, m := range t.masks {
		if m.covers(at) {
			return true
		}
	}
	return false
}

// wipe voids everything, the system's places as well.
func (t *memtable) wipe() {
	t.vals = nil
	t.masks = []*mask{{from: []byte{}}}
}

// empty voids every user key.
func (t *memtable) empty() {
	t.vals = nil
	t.masks = append(t.masks[:len(t.masks):len(t.masks)], &mask{from: []byte{spaceUser}})
}

// void removes the user keys of [from, to).
func (t *memtable) void(from, to []byte, last bool) {
	for k := range t.vals {
		if within([]byte(k), from, to, last) {
			delete(t.vals, k)
		}
	}
	m := &mask{from: place(from)}
	if !last {
		m.to = place(to)
	}
	t.masks = append(t.masks[:len(t.masks):len(t.masks)], m)
}

func within(key, from, to []byte, last bool) bool {
	return bytes.Compare(key, from) >= 0 && (last || bytes.Compare(key, to) < 0)
}

// settle forgets what bbolt holds now: the values that are still those written
// to it, and the masks whose ranges were cleared.
func (t *memtable) settle(keys []string, vals []*value, masks []*mask) {
	for i, k := range keys {
		if t.vals[k] == vals[i] {
			delete(t.vals, k)
		}
	}
	if len(t.vals) == 0 {
		t.vals = nil // a map never shrinks
	}
	if len(masks) == 0 {
		return
	}
	var keep []*mask
	for _, m := range t.masks {
		cleared := false
		for _, c := range masks {
			cleared = cleared || c == m
		}
		if !cleared {
			keep = append(keep, m)
		}
	}
	t.masks = keep
}

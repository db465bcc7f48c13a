package replica_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// memory is a store without a disk.
type memory struct {
	state   replica.State
	base    subjects.Version // before the first entry
	entries []*subjects.Entry
	data    map[string]subjects.Record
	past    subjects.Sessions
	bad     map[string]bool // keys whose records cannot be read
}

// newMemory makes a store with a log of this outline, in which entry n puts
// kn=vn.
func newMemory(self ring.Process, outline subjects.Outline) *memory {
	m := &memory{data: map[string]subjects.Record{}}
	if outline == nil {
		outline = subjects.Outline{{}} // an empty log, which is whole
	}
	m.state.Outline = slices.Clone(outline)
	if len(outline) > 0 && outline[0].Seq > 0 {
		m.base = outline[0] // begun by a stream
	}
	for prev := m.base; prev != outline.Tail(); {
		e := &subjects.Entry{Version: outline.At(prev.Seq + 1), Prev: prev, Kind: subjects.EntryPut, Answer: subjects.StatusOK}
		e.Key, e.Value = fmt.Appendf(nil, "k%d", e.Version.Seq), fmt.Appendf(nil, "v%d", e.Version.Seq)
		e.Encode(nil)
		m.entries, prev = append(m.entries, e), e.Version
	}
	return m
}

func (m *memory) tail() subjects.Version {
	if n := len(m.entries); n > 0 {
		return m.entries[n-1].Version
	}
	return m.base
}

// recovered is what a new process finds.
func (m *memory) recovered() replica.State { return m.state }

// do carries out an effect. It refuses what a store refuses.
func (m *memory) do(t *testing.T, e replica.Effect) {
	t.Helper()
	switch e := e.(type) {
	case replica.Append:
		if e.Prev != m.tail() {
			t.Errorf("append %s after %s", e.Version, m.tail())
		}
		m.entries = append(m.entries, e.Entry)
		m.state.Outline = m.state.Outline.Add(e.Version)
	case replica.Promise:
		m.state.Promised = e.Epoch
	case replica.Cut:
		m.state.Promised = e.Epoch
		m.entries = slices.Clone(m.entries[:e.After.Seq-m.base.Seq])
		m.state.Outline = m.state.Outline.Cut(e.After)
	case replica.Reset:
		*m = memory{base: e.Base, data: map[string]subjects.Record{}}
		m.state = replica.State{Promised: e.Epoch, Outline: subjects.Outline{e.Base}, Commit: e.Base.Seq, Incomplete: true}
	case replica.Clean:
		m.state.Unclean = false
	case replica.Adopt:
		if len(m.state.Outline) == 0 {
			m.state.Outline = subjects.Outline{{}}
		}
		m.state.Incomplete, m.state.Cursor, m.state.Unclean = false, nil, false
	case replica.Install:
		m.state.Incomplete, m.state.Cursor = !e.Last, bytes.Clone(e.To)
		for _, r := range e.Records {
			m.data[string(r.Key)] = r
		}
	case replica.Commit:
		for ; m.state.Commit < e.Seq; m.state.Commit++ {
			m.apply(m.entries[m.state.Commit-m.base.Seq])
		}
	}
}

func (m *memory) apply(e *subjects.Entry) {
	m.past.Fold(e)
	switch e.Kind {
	case subjects.EntryPut:
		m.data[string(e.Key)] = e.Record()
	case subjects.EntryDelete:
		delete(m.data, string(e.Key))
	case subjects.EntryFlush:
		clear(m.data)
	}
}

func (m *memory) trim(to uint64) {
	m.entries, m.base = slices.Clone(m.entries[to-m.base.Seq:]), m.entries[to-m.base.Seq-1].Version
}

// Entries is part of replica.Log.
func (m *memory) Entries(from uint64, maxBytes int) ([]*subjects.Entry, bool) {
	if from <= m.base.Seq {
		return nil, false
	}
	if from > m.tail().Seq {
		return nil, true
	}
	all := m.entries[from-m.base.Seq-1:]
	n, size := 0, 0
	for n < len(all) && (n == 0 || size+len(all[n].Raw) <= maxBytes) {
		size += len(all[n].Raw)
		n++
	}
	return slices.Clone(all[:n]), true
}

// Get is part of replica.Log.
func (m *memory) Get(key []byte) (subjects.Record, bool, error) {
	if m.bad[string(key)] {
		return subjects.Record{}, false, errors.New("damaged")
	}
	r, ok := m.data[string(key)]
	return r, ok, nil
}

// Session is part of replica.Log.
func (m *memory) Session(op subjects.OpID) (subjects.Recorded, subjects.Past) {
	return m.past.Lookup(op)
}

// Sessions is part of replica.Log.
func (m *memory) Sessions() []byte { return m.past.Append(nil) }

// Clock is part of replica.Log.
func (m *memory) Clock() int64 { return m.past.Clock() }

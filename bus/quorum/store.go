package quorum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// ErrInUse says that another process has the folder open.
var ErrInUse = errors.New("folder is in use by another process")

// ErrDamaged says that the log's file cannot be read, or a record does not have the checksum it was written with.
var ErrDamaged = errors.New("log is damaged")

// lockWait is how long Open waits for a folder whose process is just ending.
const lockWait = time.Second

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// store is raft's log and its few durable values (term and vote), in one bbolt file that is synced with every write.
// Each entry and value carries a CRC-32C of all that counts in it. After the first write that fails nothing is written any
// more: what the file holds then is not known (R14), and the process should end.
type store struct {
	bolt    *raftboltdb.BoltStore
	onFault func(error)

	written atomic.Int64 // bytes of entries since the last snapshot
	damaged atomic.Bool  // a damaged record was read
	begun   atomic.Pointer[boundary]

	failed sync.Once
	silent atomic.Bool // nothing that this voter says is sent any more
	mu     sync.Mutex
	fault  error
}

// openStore opens or makes the file. bbolt meets damage with a panic or a fault, which becomes ErrDamaged here; the list of
// free pages is kept in the file, since bbolt looks for them in a goroutine of its own otherwise, out of reach.
func openStore(path string, onFault func(error)) (_ *store, err error) {
	var file *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			release(file)
			err = fmt.Errorf("open %s: %w: %v", path, ErrDamaged, p)
		}
	}()
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:      lockWait,
			FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		},
	})
	if err != nil {
		release(file)
	}
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: %w", path, ErrInUse)
	}
	for _, bad := range []error{bbolterrors.ErrInvalid, bbolterrors.ErrVersionMismatch, bbolterrors.ErrChecksum, bbolterrors.ErrInvalidMapping} {
		if errors.Is(err, bad) {
			return nil, fmt.Errorf("open %s: %w: %w", path, ErrDamaged, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return &store{bolt: bolt, onFault: onFault}, nil
}

// release closes a file that bbolt may have left open, and gives up its lock, which a mapping of the file would keep.
func release(file *os.File) {
	if file != nil {
		_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
		_ = file.Close()
	}
}

// check reads all entries behind those that a snapshot has, and the term: who has forgotten one may not vote as if he had
// not. Before them there may be gaps, where a snapshot came from another voter. What a single bit
// hides whole is not missed: the last entries, by their page's number of records, and the last vote, by its name.
func (s *store) check(snapshot uint64) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	var l raft.Log
	for i := max(first, snapshot+1); i <= last && last > 0; i++ {
		if err := s.GetLog(i, &l); errors.Is(err, raft.ErrLogNotFound) {
			return s.damage(fmt.Sprint("read entry ", i), err)
		} else if err != nil {
			return err
		}
	}
	// The term is there before the first entry.
	if _, err := s.GetUint64(currentTerm); err != nil && (last > 0 || !errors.Is(err, raftboltdb.ErrKeyNotFound)) {
		return s.damage("read the term", err)
	}
	return nil
}

// currentTerm is raft's name for it.
var currentTerm = []byte("CurrentTerm")

// write runs one write, unless one failed before.
func (s *store) write(what string, f func() error) error {
	s.mu.Lock()
	err := s.fault
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err = s.guard(what, f); err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", what, err)
	s.failed.Do(func() {
		s.onFault(err)
		s.mu.Lock()
		s.fault = err
		s.mu.Unlock()
	})
	return err
}

// writeState is write for terms and votes. Raft panics where it cannot write a term, so once this voter is silent it is
// told that it could: no promise that rests on it leaves this process.
func (s *store) writeState(key []byte, f func() error) error {
	err := s.write("write "+string(key), f)
	if err != nil && s.silent.Load() {
		return nil
	}
	return err
}

// sum is the checksum of an entry.
func sum(l *raft.Log) []byte {
	var head [17]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	c := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, l.Data)
	return binary.BigEndian.AppendUint32(nil, c)
}

// StoreLogs implements raft.LogStore. The checksum travels in Extensions, which raft leaves to its users.
func (s *store) StoreLogs(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	bytes := 0
	for i, l := range logs {
		c := *l // raft goes on using its own
		c.Extensions = sum(l)
		sealed[i] = &c
		bytes += len(l.Data)
	}
	s.written.Add(int64(bytes))
	return s.write("append to the log", func() error { return s.bolt.StoreLogs(sealed) })
}

// StoreLog implements raft.LogStore.
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// guard runs what looks at the file, on whichever goroutine, and turns what bbolt does with damage, panics and faults,
// into ErrDamaged.
func (s *store) guard(what string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = s.damage(what, p)
		}
	}()
	return f()
}

// damage takes note of damage that was met.
func (s *store) damage(what string, why any) error {
	s.damaged.Store(true)
	return fmt.Errorf("%s: %w: %v", what, ErrDamaged, why)
}

// GetLog implements raft.LogStore.
func (s *store) GetLog(index uint64, l *raft.Log) error {
	what := fmt.Sprint("read entry ", index)
	return s.guard(what, func() error {
		switch err := s.bolt.GetLog(index, l); {
		case errors.Is(err, raft.ErrLogNotFound):
			return err // raft compares with it
		case err != nil:
			return s.damage(what, err)
		case l.Index != index || string(l.Extensions) != string(sum(l)):
			return s.damage(what, "its checksum is another")
		}
		l.Extensions = nil
		return nil
	})
}

// FirstIndex implements raft.LogStore.
func (s *store) FirstIndex() (index uint64, err error) {
	return s.end("read the first index", s.bolt.FirstIndex)
}

// LastIndex implements raft.LogStore.
func (s *store) LastIndex() (index uint64, err error) {
	return s.end("read the last index", s.bolt.LastIndex)
}

func (s *store) end(what string, of func() (uint64, error)) (index uint64, err error) {
	err = s.guard(what, func() (err error) {
		index, err = of()
		return err
	})
	return index, err
}

// DeleteRange implements raft.LogStore.
func (s *store) DeleteRange(min, max uint64) error {
	return s.write("cut the log", func() error { return s.bolt.DeleteRange(min, max) })
}

// sealed is a durable value with its checksum behind it, where versions that write none do not look.
func sealed(key, val []byte) []byte {
	return binary.BigEndian.AppendUint32(slices.Clone(val), crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, val))
}

// unsealed takes the checksum off a value; ok is false if it does not match, or there is none.
func unsealed(key, val []byte) (_ []byte, ok bool) {
	n := len(val) - crc32.Size
	if n < 0 || !bytes.Equal(val, sealed(key, val[:n])) {
		return val, false
	}
	return val[:n], true
}

// Set implements raft.StableStore.
func (s *store) Set(key, val []byte) error {
	return s.writeState(key, func() error { return s.bolt.Set(key, sealed(key, val)) })
}

// Get implements raft.StableStore. What it is asked for is the voter's last vote: one that is damaged, or without a
// checksum, is returned as it is, and is at worst no candidate's name, so that nobody gets the vote of that term.
func (s *store) Get(key []byte) ([]byte, error) {
	val, err := s.value(key)
	if err != nil {
		return nil, err
	}
	val, _ = unsealed(key, val)
	return val, nil
}

// value is what a key has in the file. Raft compares the error with ErrKeyNotFound.
func (s *store) value(key []byte) (val []byte, err error) {
	err = s.guard("read "+string(key), func() (err error) {
		val, err = s.bolt.Get(key)
		return err
	})
	return val, err
}

// SetUint64 implements raft.StableStore.
func (s *store) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 implements raft.StableStore. Older versions write the number alone.
func (s *store) GetUint64(key []byte) (uint64, error) {
	val, err := s.value(key)
	if err != nil {
		return 0, err
	}
	const size = 8
	if n, ok := unsealed(key, val); ok && len(n) == size {
		val = n
	} else if len(val) != size {
		return 0, s.damage("read "+string(key), "its checksum is another")
	}
	return binary.BigEndian.Uint64(val), nil
}

func (s *store) close() error { return s.bolt.Close() }

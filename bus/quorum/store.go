package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
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
// Each record carries a CRC-32C of all that counts in it. After the first write that fails nothing is written any more:
// what the file holds then is not known (R14), and the process should end.
type store struct {
	bolt    *raftboltdb.BoltStore
	onFault func(error)

	written atomic.Int64 // bytes of entries since the last snapshot
	damaged atomic.Bool  // a damaged record was read

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
			if file != nil {
				_ = file.Close() // and with it the lock
			}
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
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: %w", path, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return &store{bolt: bolt, onFault: onFault}, nil
}

// write runs one write, unless one failed before.
func (s *store) write(what string, f func() error) error {
	s.mu.Lock()
	err := s.fault
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err = f(); err == nil {
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

// GetLog implements raft.LogStore.
func (s *store) GetLog(index uint64, l *raft.Log) error {
	if err := s.bolt.GetLog(index, l); err != nil {
		return err // raft compares with ErrLogNotFound
	}
	if l.Index != index || string(l.Extensions) != string(sum(l)) {
		s.damaged.Store(true)
		return fmt.Errorf("read entry %d: %w", index, ErrDamaged)
	}
	l.Extensions = nil
	return nil
}

// FirstIndex implements raft.LogStore.
func (s *store) FirstIndex() (uint64, error) { return s.bolt.FirstIndex() }

// LastIndex implements raft.LogStore.
func (s *store) LastIndex() (uint64, error) { return s.bolt.LastIndex() }

// DeleteRange implements raft.LogStore.
func (s *store) DeleteRange(min, max uint64) error {
	return s.write("cut the log", func() error { return s.bolt.DeleteRange(min, max) })
}

// Set implements raft.StableStore.
func (s *store) Set(key, val []byte) error {
	return s.writeState(key, func() error { return s.bolt.Set(key, val) })
}

// Get implements raft.StableStore.
func (s *store) Get(key []byte) ([]byte, error) { return s.bolt.Get(key) }

// SetUint64 implements raft.StableStore.
func (s *store) SetUint64(key []byte, val uint64) error {
	return s.writeState(key, func() error { return s.bolt.SetUint64(key, val) })
}

// GetUint64 implements raft.StableStore.
func (s *store) GetUint64(key []byte) (uint64, error) { return s.bolt.GetUint64(key) }

func (s *store) close() error { return s.bolt.Close() }

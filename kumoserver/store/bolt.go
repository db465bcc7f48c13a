package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// The file has two buckets. "data" holds the values: the key is the partition
// (2 bytes, big-endian), a space byte and the user's key, so that a partition is
// a range. "meta" holds the state of each copy under "p" and the partition, and
// that of the store under "store".
var (
	bucketData = []byte("data")
	bucketMeta = []byte("meta")
	keyStore   = []byte("store")
	keyPad     = []byte("~")
	userSpace  = []byte{spaceUser}
)

func appendDataKey(b []byte, p ring.Partition, place []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(p)), place...)
}

func appendUserKey(b []byte, p ring.Partition, key []byte) []byte {
	b = append(binary.BigEndian.AppendUint16(b, uint16(p)), spaceUser)
	return append(b, key...)
}

func metaKey(p ring.Partition) []byte {
	return binary.BigEndian.AppendUint16([]byte{'p'}, uint16(p))
}

// A stored value: CRC-32C over the bbolt key and all that follows (4 bytes),
// epoch (4), seq (8), flags (4), bits (4), expiry (8), token (8), value. Numbers
// are little-endian.
const valueHead = 40

func appendValue(b, key []byte, v *value) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(v.version.Epoch))
	b = binary.LittleEndian.AppendUint64(b, v.version.Seq)
	b = binary.LittleEndian.AppendUint32(b, v.flags)
	b = binary.LittleEndian.AppendUint32(b, v.bits)
	b = binary.LittleEndian.AppendUint64(b, uint64(v.expiry))
	b = binary.LittleEndian.AppendUint64(b, v.token)
	b = append(b, v.data...)
	binary.LittleEndian.PutUint32(b[at:], valueSum(key, b[at:]))
	return b
}

func valueSum(key, val []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, val[4:])
}

// readValue takes a stored value apart; Value aliases val.
func readValue(dataKey, val []byte) (subjects.Record, error) {
	if len(val) < valueHead || binary.LittleEndian.Uint32(val) != valueSum(dataKey, val) {
		return subjects.Record{}, &badRecord{
			partition: ring.Partition(binary.BigEndian.Uint16(dataKey)), key: string(dataKey[3:]), another: keyIsAnother(dataKey, val),
		}
	}
	return subjects.Record{
		Key:   dataKey[3:],
		Value: val[valueHead:],
		Version: subjects.Version{
			Epoch: ring.Epoch(binary.LittleEndian.Uint32(val[4:])),
			Seq:   binary.LittleEndian.Uint64(val[8:]),
		},
		Flags:  binary.LittleEndian.Uint32(val[16:]),
		Bits:   binary.LittleEndian.Uint32(val[20:]),
		Expiry: int64(binary.LittleEndian.Uint64(val[24:])),
		Token:  binary.LittleEndian.Uint64(val[32:]),
	}, nil
}

// keyIsAnother reports whether a record whose checksum does not match is whole but for
// one bit of its key, and so is the record of another key. A bit that is changed
// changes the checksum by what depends on the bytes behind it alone.
func keyIsAnother(dataKey, val []byte) bool {
	if len(val) < valueHead {
		return false
	}
	differs := binary.LittleEndian.Uint32(val) ^ valueSum(dataKey, val)
	var by [8]uint32 // by each bit of the last byte
	for i := range by {
		by[i] = castagnoli[1<<i]
	}
	for n := 1 - (len(val) - 4); n <= len(dataKey); n++ {
		for i, x := range by {
			if n > 0 && x == differs {
				return true
			}
			by[i] = castagnoli[byte(x)] ^ x>>8
		}
	}
	return false
}

// partMeta is a copy's state as bbolt has it.
type partMeta struct {
	promised   ring.Epoch
	applied    subjects.Version // every entry through it is in the data
	seen       uint64           // entries through it are known to have committed
	base       subjects.Version
	outline    subjects.Outline // of the log through applied
	incomplete bool
	lost       bool
	unclean    bool
	cursor     []byte
	sessions   []byte // subjects.Sessions, folded through applied or beyond
	items      int64
	lsn        uint64 // the log's records before it are reflected, entries behind applied aside
	// torn: the data is between this state and that at LSN need. Only with the
	// log through need can the copy be put together.
	torn bool
	need uint64
}

const (
	metaVersion    = 1
	flagIncomplete = 1 << 0
	flagLost       = 1 << 1
	flagTorn       = 1 << 2
	flagUnclean    = 1 << 3
)

func (m *partMeta) encode() []byte {
	var flags byte
	for _, f := range []struct {
		on  bool
		bit byte
	}{{m.incomplete, flagIncomplete}, {m.lost, flagLost}, {m.torn, flagTorn}, {m.unclean, flagUnclean}} {
		if f.on {
			flags |= f.bit
		}
	}
	b := []byte{metaVersion, flags}
	b = binary.AppendUvarint(b, uint64(m.promised))
	b = appendVersion(b, m.applied)
	b = binary.AppendUvarint(b, m.seen)
	b = appendVersion(b, m.base)
	b = appendBytes(b, m.cursor)
	b = binary.AppendUvarint(b, uint64(max(m.items, 0)))
	b = binary.AppendUvarint(b, m.lsn)
	b = binary.AppendUvarint(b, m.need)
	b = binary.AppendUvarint(b, uint64(len(m.outline)))
	for _, v := range m.outline {
		b = appendVersion(b, v)
	}
	return sealed(appendBytes(b, m.sessions))
}

func (m *partMeta) decode(b []byte) error {
	b, ok := unseal(b)
	if !ok || len(b) < 2 || b[0] != metaVersion {
		return fmt.Errorf("state of a copy: %w", ErrDamaged)
	}
	m.incomplete, m.lost = b[1]&flagIncomplete != 0, b[1]&flagLost != 0
	m.torn, m.unclean = b[1]&flagTorn != 0, b[1]&flagUnclean != 0
	r := numbers{b: b[2:]}
	m.promised = ring.Epoch(r.uint())
	m.applied = r.version()
	m.seen = r.uint()
	m.base = r.version()
	m.cursor = append([]byte{}, r.bytes()...)
	m.items = int64(r.uint())
	m.lsn, m.need = r.uint(), r.uint()
	n := r.uint()
	if n > subjects.MaxOutline {
		r.fail = true
		n = 0
	}
	m.outline = make(subjects.Outline, 0, n)
	for range n {
		m.outline = append(m.outline, r.version())
	}
	m.sessions = append([]byte(nil), r.bytes()...)
	if r.fail {
		return fmt.Errorf("state of a copy: %w", ErrDamaged)
	}
	return nil
}

// storeMeta is what the file says of the whole store.
type storeMeta struct {
	// lost: an earlier file was set aside, so that a copy without a state is
	// not an empty one but a lost one.
	lost bool
	// from: records of the log before this LSN belong to a file that was set
	// aside; only their promises count.
	from uint64
	// lsn: the log reached at least this far.
	lsn uint64
}

func (m *storeMeta) encode() []byte {
	var flags byte
	if m.lost {
		flags = flagLost
	}
	b := binary.AppendUvarint([]byte{metaVersion, flags}, m.from)
	return sealed(binary.AppendUvarint(b, m.lsn))
}

func (m *storeMeta) decode(b []byte) error {
	b, ok := unseal(b)
	if !ok || len(b) < 2 || b[0] != metaVersion {
		return fmt.Errorf("state of the store: %w", ErrDamaged)
	}
	r := numbers{b: b[2:]}
	m.lost, m.from, m.lsn = b[1]&flagLost != 0, r.uint(), r.uint()
	if r.fail {
		return fmt.Errorf("state of the store: %w", ErrDamaged)
	}
	return nil
}

// pad puts a record behind all others that is too large for the bucket to be kept
// within another's page, so that tree can look at its pages. It is a record of no
// partition, and whole like any other. The states have one, too (keyPad).
func pad(data *bbolt.Bucket) error {
	if had, err := sound(data, padKey, nil); had || err != nil {
		return err
	}
	return data.Put(padKey, appendValue(nil, padKey, &value{data: make([]byte, os.Getpagesize()/4)}))
}

// padKey is shorter than any user's key is stored under, so that damage to one of
// these does not make it this.
var padKey = appendDataKey(nil, ^ring.Partition(0), []byte{spaceSystem})

func sealed(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func unseal(b []byte) ([]byte, bool) {
	n := len(b) - 4
	if n < 0 || binary.LittleEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return nil, false
	}
	return b[:n], true
}

// openBolt opens the file. An error that is ErrDamaged says that the file
// itself is no good.
func (d *disk) openBolt(path string, lax bool) (db *bbolt.DB, err error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		if err := d.ask(deed{what: deedCreate, path: path}); err != nil {
			return nil, err
		}
	}
	err = guard(func() error {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      time.Second, // the folder's lock is ours: nobody has it
			FreelistType: bbolt.FreelistMapType,
			// Growing the map waits for every reader; address space is free.
			InitialMmapSize: 1 << 30,
			NoStatistics:    true,
			NoSync:          lax,
			NoGrowSync:      lax,
		})
		return err
	})
	if err == nil {
		if d.bolt != nil {
			d.bolt(path, db)
		}
		return db, nil
	}
	for _, bad := range []error{berrors.ErrInvalid, berrors.ErrVersionMismatch, berrors.ErrChecksum, berrors.ErrInvalidMapping} {
		if errors.Is(err, bad) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	if fi, e := os.Stat(path); e == nil && fi.Size() < 4*int64(os.Getpagesize()) && !errors.Is(err, ErrDamaged) && !isNoSpace(err) {
		err = fmt.Errorf("%w: %d bytes: %w", ErrDamaged, fi.Size(), err)
	}
	return nil, err
}

// guard turns what bbolt does with a damaged file, panics and memory faults,
// into ErrDamaged.
func guard(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return f()
}

// loadBolt reads the states, and makes the buckets in a new file. found is
// false when the store's own state is missing: the file is new.
func loadBolt(db *bbolt.DB) (st storeMeta, found bool, parts map[ring.Partition]*partMeta, err error) {
	parts = make(map[ring.Partition]*partMeta)
	err = guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			data, err := tx.CreateBucketIfNotExists(bucketData)
			if err == nil {
				err = pad(data)
			}
			if err != nil {
				return err
			}
			b, err := tx.CreateBucketIfNotExists(bucketMeta)
			if err == nil && b.Get(keyPad) == nil {
				err = b.Put(keyPad, sealed(make([]byte, os.Getpagesize()/4)))
			}
			if err != nil {
				return err
			}
			if v := b.Get(keyStore); v != nil {
				found = true
				if err := st.decode(v); err != nil {
					return err
				}
			}
			if err := b.ForEach(func(k, v []byte) error {
				if len(k) != 3 || k[0] != 'p' {
					return nil
				}
				p := ring.Partition(binary.BigEndian.Uint16(k[1:]))
				if p >= ring.MaxPartitions {
					return fmt.Errorf("state of partition %d: %w", p, ErrDamaged)
				}
				m := &partMeta{}
				parts[p] = m
				return m.decode(v)
			}); err != nil {
				return err
			}
			return owned(data, parts)
		})
	})
	return st, found, parts, err
}

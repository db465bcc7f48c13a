package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// recordKind tells the log's records apart.
type recordKind uint8

const (
	recEntry    recordKind = iota + 1 // an entry as encoded
	recPromises                       // (partition, epoch) pairs; all of them at the head of a segment
	recCommits                        // (partition, seq) pairs
	recCut                            // partition, epoch, version: promise, and drop what is after
	recReset                          // partition, epoch, version: promise, and begin anew after
	recRange                          // a Range message
	recDrop                           // partition: the copy is forgotten
	recLost                           // partition: the copy turned out to be unusable
	recUnclean                        // partition: the copy may lack entries that it acknowledged
	recClean                          // partition: that no longer matters
	recAdopt                          // partition: what the copy holds is all that there is
)

// A record is: length of kind and body (4 bytes, little-endian), CRC-32C of
// length, kind and body (4), kind (1), body. A length of 0 is where the log
// ends.
const (
	recordHead = 9
	maxRecord  = subjects.MaxValue + 2<<20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errEnd = errors.New("end of the log")
	errBad = errors.New("bad record")
)

// beginRecord appends room for a record's head; endRecord fills it in once the
// body is there.
func beginRecord(b []byte, kind recordKind) []byte {
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, byte(kind))
}

func endRecord(b []byte, start int) {
	rec := b[start:]
	binary.LittleEndian.PutUint32(rec, uint32(len(rec)-8))
	binary.LittleEndian.PutUint32(rec[4:], recordSum(rec))
}

func recordSum(rec []byte) uint32 {
	return crc32.Update(crc32.Checksum(rec[:4], castagnoli), castagnoli, rec[8:])
}

// readRecord takes a record from the front of b. It gives errEnd where nothing
// was written and errBad where something was that is no record.
func readRecord(b []byte) (kind recordKind, body []byte, size int, err error) {
	if len(b) < recordHead {
		if allZero(b) {
			return 0, nil, 0, errEnd
		}
		return 0, nil, 0, errBad
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n == 0 {
		if allZero(b[:recordHead]) {
			return 0, nil, 0, errEnd
		}
		return 0, nil, 0, errBad
	}
	if n > maxRecord || n+8 > int64(len(b)) {
		return 0, nil, 0, errBad
	}
	rec := b[:n+8]
	if binary.LittleEndian.Uint32(rec[4:]) != recordSum(rec) {
		return 0, nil, 0, errBad
	}
	return recordKind(rec[8]), rec[recordHead:], len(rec), nil
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// numbers reads the unsigned varints of a small body.
type numbers struct {
	b    []byte
	fail bool
}

func (r *numbers) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *numbers) partition() ring.Partition {
	v := r.uint()
	if v >= ring.MaxPartitions {
		r.fail = true
		return 0
	}
	return ring.Partition(v)
}

func (r *numbers) version() subjects.Version {
	return subjects.Version{Epoch: ring.Epoch(r.uint()), Seq: r.uint()}
}

func (r *numbers) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func appendVersion(b []byte, v subjects.Version) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(v.Epoch)), v.Seq)
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

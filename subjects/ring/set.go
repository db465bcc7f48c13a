package ring

import (
	"encoding/base64"
	"fmt"
)

// PartitionSet is a set of partitions: a bitmap, in base64 where it is text. Sets
// are compared with ==.
type PartitionSet struct {
	bits string // bit p%8 of byte p/8; no zero bytes at the end
}

// SetOf returns the set of these partitions, which are below MaxPartitions.
func SetOf(ps ...Partition) PartitionSet {
	var bits []byte
	for _, p := range ps {
		for len(bits) <= int(p)/8 {
			bits = append(bits, 0)
		}
		bits[p/8] |= 1 << (p % 8)
	}
	return PartitionSet{string(bits)}
}

// Has reports whether a partition is in the set.
func (s PartitionSet) Has(p Partition) bool {
	return int(p)/8 < len(s.bits) && s.bits[p/8]&(1<<(p%8)) != 0
}

// IsZero reports whether the set is empty.
func (s PartitionSet) IsZero() bool { return s.bits == "" }

// MarshalText implements encoding.TextMarshaler.
func (s PartitionSet) MarshalText() ([]byte, error) {
	return base64.RawStdEncoding.AppendEncode(nil, []byte(s.bits)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. It refuses what MarshalText
// does not make.
func (s *PartitionSet) UnmarshalText(text []byte) error {
	bits, err := base64.RawStdEncoding.Strict().AppendDecode(nil, text)
	switch n := len(bits); {
	case err != nil:
		return fmt.Errorf("set of partitions: %w", err)
	case n > MaxPartitions/8:
		return fmt.Errorf("set of partitions: %d bytes, at most %d", n, MaxPartitions/8)
	case n > 0 && bits[n-1] == 0:
		return fmt.Errorf("set of partitions: a zero byte at its end")
	}
	s.bits = string(bits)
	return nil
}

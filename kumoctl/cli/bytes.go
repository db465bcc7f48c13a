package cli

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is a flag for a number of bytes, such as 4096, 64K or 10M (powers of 1024).
type Bytes int64

func (b *Bytes) String() string { return strconv.FormatInt(int64(*b), 10) }

// Type names the value in a usage text.
func (b *Bytes) Type() string { return "bytes" }

// Set reads "4096", "64K", "10MiB" or "1.5g".
func (b *Bytes) Set(text string) error {
	s := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(text), "B"), "I")
	unit := float64(1)
	for i, letter := range "KMGT" {
		if rest, ok := strings.CutSuffix(s, string(letter)); ok {
			s, unit = rest, float64(int64(1)<<(10*(i+1)))
			break
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0) || n*unit < 1 || n*unit >= 1<<62 {
		return fmt.Errorf("%q is no number of bytes such as 4096, 64K or 10M", text)
	}
	*b = Bytes(n * unit)
	return nil
}

// Size is Bytes that may be 0.
type Size int64

func (s *Size) String() string { return strconv.FormatInt(int64(*s), 10) }

// Type names the value in a usage text.
func (s *Size) Type() string { return "bytes" }

// Set reads what Bytes.Set reads, or 0.
func (s *Size) Set(text string) error {
	if text == "0" {
		*s = 0
		return nil
	}
	return (*Bytes)(s).Set(text)
}

package repeat

// Numbers hands out the operation numbers of one partition and knows the lowest
// that is still open, by which a server forgets what it has kept of the others.
// The zero value is ready.
type Numbers struct {
	next   uint64   // the next to hand out
	lowest uint64   // the lowest open one; next if there is none
	closed []uint64 // a bit for each from lowest to next, in a ring of a power of two words
}

// Take opens the next number, from 1.
func (s *Numbers) Take() (n, lowest uint64) {
	if s.next == 0 {
		s.next, s.lowest = 1, 1
		s.closed = make([]uint64, 1)
	}
	// The words of lowest and next must not be one and the same word of the
	// ring unless they are the same word of the sequence.
	if s.next/64-s.lowest/64 == uint64(len(s.closed)) {
		s.grow()
	}
	n = s.next
	s.next++
	return n, s.lowest
}

func (s *Numbers) grow() {
	old := s.closed
	s.closed = make([]uint64, 2*len(old))
	for w := s.lowest / 64; w < s.next/64; w++ {
		s.closed[w&uint64(len(s.closed)-1)] = old[w&uint64(len(old)-1)]
	}
}

// Low returns the lowest open number.
func (s *Numbers) Low() uint64 { return s.lowest }

// Release closes a number that was taken.
func (s *Numbers) Release(n uint64) {
	mask := uint64(len(s.closed) - 1)
	s.closed[n/64&mask] |= 1 << (n % 64)
	for s.lowest < s.next {
		word := &s.closed[s.lowest/64&mask]
		if *word&(1<<(s.lowest%64)) == 0 {
			return
		}
		*word &^= 1 << (s.lowest % 64)
		s.lowest++
	}
}

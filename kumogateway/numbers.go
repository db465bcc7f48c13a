package kumogateway

import "sync"

// numbers hands out the operation numbers of one partition and knows the
// lowest that is still open, so that servers can forget the answers of the
// ones below it.
type numbers struct {
	mu     sync.Mutex
	next   uint64   // the next to hand out
	lowest uint64   // the lowest open one; next if there is none
	closed []uint64 // a bit for each from lowest to next, in a ring of a power of two words
}

// take opens the next number, from 1.
func (s *numbers) take() (n, lowest uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

func (s *numbers) grow() {
	old := s.closed
	s.closed = make([]uint64, 2*len(old))
	for w := s.lowest / 64; w < s.next/64; w++ {
		s.closed[w&uint64(len(s.closed)-1)] = old[w&uint64(len(old)-1)]
	}
}

// low returns the lowest open number.
func (s *numbers) low() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lowest
}

// release closes a number that was taken.
func (s *numbers) release(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

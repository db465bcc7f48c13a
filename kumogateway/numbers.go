package kumogateway

import (
	"sync"

	"github.com/etolabo/kumofs/kumogateway/repeat"
)

// numbers are a partition's, for all connections.
type numbers struct {
	mu sync.Mutex
	n  repeat.Numbers
}

func (s *numbers) take() (n, lowest uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n.Take()
}

func (s *numbers) low() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n.Low()
}

func (s *numbers) release(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n.Release(n)
}

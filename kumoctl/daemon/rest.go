package daemon

import "time"

// A daemon that was busy has as much garbage as it has data, and Go keeps the room for
// more. Once there is nothing to do it is collected and given back: others on the
// machine may want it, and nobody waits for the pages that are taken again later.

// rest notices when a daemon has been at rest for a while.
type rest struct {
	worked bool // since it was at rest last
	calm   int  // looks in turn at which it had next to nothing to do
}

const (
	// restBusy is the part of a processor below which a daemon has next to nothing to do.
	restBusy = 0.2
	// restAfter is how long that goes on before a rest begins.
	restAfter = 30 * time.Second
)

// begins takes how many processors were kept busy since the last look, procsEvery ago.
// It says once that a rest begins.
func (r *rest) begins(busy float64) bool {
	if busy >= restBusy {
		r.worked, r.calm = true, 0
		return false
	}
	if r.calm++; !r.worked || r.calm < int(restAfter/procsEvery) {
		return false
	}
	r.worked = false
	return true
}

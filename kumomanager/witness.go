package kumomanager

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/bus/quorum"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// WitnessOptions say where a server votes among the managers. All but FailAfter
// and Log must be given.
type WitnessOptions struct {
	Bus     *bus.Bus // the server's own, which outlives the witness
	Cluster subjects.Cluster
	// Store is the identity of the server's store, under which it votes. Dir, of
	// its own within the store's folder, must come and go with the store.
	Store ring.NodeID
	Dir   string
	// FailAfter and MaxMoves are as for managers; 0 is the default.
	FailAfter time.Duration
	MaxMoves  int
	Log       *slog.Logger
}

// Witness is a server's vote among two managers, so that one of them and a
// server may be lost together. It waits until the leader gives it the vote. One
// that is elected fails partitions over and answers for their configurations,
// plans nothing, and hands the lead to a manager as soon as one is up to date.
type Witness struct {
	seat *seat
	once sync.Once
}

// ErrDamaged says that what a voter knew is not as it was written. It cannot vote
// then: it may have forgotten what it promised.
var ErrDamaged = quorum.ErrDamaged

// OpenWitness starts a witness. An error may be ErrDamaged.
func OpenWitness(o WitnessOptions) (*Witness, error) {
	d := Defaults()
	if o.FailAfter == 0 {
		o.FailAfter = d.FailAfter
	}
	if o.MaxMoves == 0 {
		o.MaxMoves = d.MaxMoves
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := openSeat(seatOptions{
		settings: settings{learners: o.MaxMoves, failAfter: o.FailAfter, witness: true},
		bus:      o.Bus, cluster: o.Cluster, name: WitnessID(o.Store), dir: o.Dir, log: o.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("witness %s: %w", o.Dir, err)
	}
	return &Witness{seat: s}, nil
}

// Leads reports whether this witness leads the managers.
func (w *Witness) Leads() bool { return w.seat.leads.Load() }

// Failed gives an error when the witness can take no more part: its log could
// not be written.
func (w *Witness) Failed() <-chan error { return w.seat.failed }

// Close ends the witness, after giving the lead away if it has it. It may be
// called twice.
func (w *Witness) Close() error {
	w.once.Do(w.seat.handOver)
	return w.seat.close()
}

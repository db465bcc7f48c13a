package sim

import "math/rand/v2"

// Profile is what kind of trouble a seed makes, and how much.
type Profile struct {
	Name       string
	Nodes      int // that there are in the end
	Late       int // of them, that start later
	Partitions int // a power of two
	Replicas   int
	Clients    int
	Keys       int
	Trouble    int64 // until when, nanoseconds

	Loss, Dup float64 // of a message between nodes
	Slow      float64 // that a message takes up to SlowMax
	SlowMax   int64   // milliseconds
	FlushMax  int64   // milliseconds

	CrashEvery int64 // milliseconds, about; 0: never
	CutEvery   int64
	PauseEvery int64
	// AmbushEvery: a primary is cut off while its replicas restart.
	AmbushEvery int64
	MoveEvery   int64
	TrimEvery   int64
	Gone        float64 // that a crashed node lost its data
	Unclean     float64 // that a crashed node lost what it had acknowledged
	Drop        float64 // that a node forgets a copy that it need not hold

	// Planned: the managers decide as the product's do (package rebalance); else
	// more wildly, within the table's rules.
	Planned bool

	// PlainReads: fail-over follows crashes alone, so that a read needs no
	// lease to be linearizable.
	PlainReads bool

	RangeKeys int // records in a range
	JoinLag   uint64
	Window    int
}

// Names of the profiles, in the order of seed modulo their number.
var profiles = []func(*Profile, *rand.Rand){
	func(p *Profile, r *rand.Rand) {
		p.Name, p.PlainReads = "crashes", true
		p.CrashEvery = 300 + r.Int64N(1500)
	},
	func(p *Profile, r *rand.Rand) {
		p.Name = "cuts"
		p.CutEvery = 150 + r.Int64N(800)
		p.PauseEvery = 300 + r.Int64N(1500)
		p.AmbushEvery = 500 + r.Int64N(2000)
	},
	func(p *Profile, r *rand.Rand) {
		p.Name = "moves"
		p.MoveEvery = 150 + r.Int64N(800)
		p.TrimEvery = 50 + r.Int64N(300)
		p.CrashEvery = 500 + r.Int64N(3000)
		p.Drop = 0.3
		p.Late = r.IntN(2)
	},
	func(p *Profile, r *rand.Rand) {
		p.Name = "all"
		p.CrashEvery = 300 + r.Int64N(2000)
		p.CutEvery = 150 + r.Int64N(1000)
		p.PauseEvery = 300 + r.Int64N(1500)
		p.AmbushEvery = 500 + r.Int64N(4000)
		p.MoveEvery = 200 + r.Int64N(1000)
		p.TrimEvery = 50 + r.Int64N(500)
		p.Gone, p.Unclean, p.Drop = 0.05, 0.15, 0.3
		p.Late = r.IntN(2)
	},
}

func draw(r *rand.Rand, seed uint64) Profile {
	p := Profile{
		Nodes:      3 + r.IntN(3),
		Partitions: 1 << r.IntN(2),
		Replicas:   2 + r.IntN(2),
		Clients:    4,
		Keys:       8,
		Trouble:    (3000 + r.Int64N(4000)) * ms,
		Loss:       pick(r, 0, 0.01, 0.1),
		Dup:        pick(r, 0, 0.02, 0.2),
		Slow:       pick(r, 0, 0.02, 0.2),
		SlowMax:    pick[int64](r, 20, 300, 3000),
		FlushMax:   pick[int64](r, 0, 2, 20),
		RangeKeys:  1 + r.IntN(3),
		JoinLag:    pick[uint64](r, 0, 3, 64),
		Window:     pick(r, 1, 300, 8<<20),
	}
	profiles[seed%uint64(len(profiles))](&p, r)
	if p.Planned = r.IntN(2) == 0; p.Planned {
		p.Name += ", planned"
		p.PlainReads = false // leads move while the old primary runs
	}
	return p
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

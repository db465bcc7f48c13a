package sim

import "math/rand/v2"

// Profile is what kind of trouble a seed makes, and how much.
type Profile struct {
	Name       string
	Nodes      int // that there are in the end
	Late       int // of them, that start later
	Partitions int // a power of two
	Replicas   int
	Gateways   int
	Clients    int
	Keys       int
	Trouble    int64 // until when, nanoseconds

	Loss, Dup float64 // of a message between nodes
	Slow      float64 // that a message takes up to SlowMax
	SlowMax   int64   // milliseconds
	FlushMax  int64   // milliseconds
	Sync      syncMode

	// Times between troubles, milliseconds, about; 0: never.
	CrashEvery   int64
	PairEvery    int64 // two copies of a partition are killed, together or apart
	RestartEvery int64 // everybody is
	StopEvery    int64 // a process is told to stop
	CutEvery     int64
	FlapEvery    int64 // a cut comes and goes
	PauseEvery   int64
	AmbushEvery  int64 // a primary is cut off while its replicas restart
	MoveEvery    int64
	TrimEvery    int64
	JumpEvery    int64 // a wall clock is set
	GatewayEvery int64 // a gateway crashes, or pauses
	QuorumEvery  int64 // the managers lose their leader, or their quorum

	Machine float64 // that a crash is one of the whole machine
	Gone    float64 // that a crashed node lost its data
	Drop    float64 // that a node forgets a copy that it need not hold
	Proof   float64 // that the end of a process is proved to another
	Stale   float64 // that a ring which is delivered is an older one
	Drift   float64 // by how much a clock may run fast or slow
	Ghosts  float64 // that messages of a crashed process arrive after the next has begun
	Expire  float64 // that a write gives its key an end
	Flush   float64 // that a write empties its partition

	Rogue float64 // that the managers ask for a configuration that may be against the rules

	FailAfter int64 // silence after which the managers take a process for dead, milliseconds
	OpTimeout int64 // for how long gateways repeat, milliseconds

	// Confirm: reads are confirmed by a round instead of leases, and clocks run as
	// they like.
	Confirm bool

	// Planned: the managers decide as the product's do (package rebalance); else
	// more wildly, within the table's rules.
	Planned bool

	// PlainReads: fail-over follows crashes alone, so that a read needs no
	// lease to be linearizable.
	PlainReads bool

	// Still: nothing is wrong but the managers, and so nobody may notice (R12).
	Still bool

	RangeKeys int // records in a range
	JoinLag   uint64
	Window    int
}

// syncMode is when a log is fsynced.
type syncMode uint8

const (
	syncInterval syncMode = iota // now and then: a crash of the machine makes the store unclean
	syncAlways                   // before anything is acknowledged
	syncNever
)

// Profiles, in the order of seed modulo their number.
var profiles = []func(*Profile, *rand.Rand){
	func(p *Profile, r *rand.Rand) {
		p.Name, p.PlainReads = "crashes", true
		p.CrashEvery = 300 + r.Int64N(1500)
		p.GatewayEvery = 1000 + r.Int64N(3000)
	},
	func(p *Profile, r *rand.Rand) {
		p.Name = "cuts"
		p.CutEvery = 150 + r.Int64N(800)
		p.FlapEvery = 1000 + r.Int64N(3000)
		p.PauseEvery = 300 + r.Int64N(1500)
		p.AmbushEvery = 500 + r.Int64N(2000)
	},
	func(p *Profile, r *rand.Rand) {
		p.Name = "moves"
		p.MoveEvery = 150 + r.Int64N(800)
		p.TrimEvery = 50 + r.Int64N(300)
		p.CrashEvery = 500 + r.Int64N(3000)
		p.StopEvery = 1000 + r.Int64N(2000)
		p.Drop = 0.3
		p.Late = r.IntN(2)
	},
	everything,
	func(p *Profile, r *rand.Rand) {
		p.Name = "clocks"
		p.JumpEvery = 200 + r.Int64N(800)
		p.GatewayEvery = 300 + r.Int64N(1500)
		p.CrashEvery = 500 + r.Int64N(3000)
		p.CutEvery = 500 + r.Int64N(2000)
		p.AmbushEvery = 800 + r.Int64N(3000)
		p.Expire, p.Flush = 0.4, 0.03
		p.Keys = 5
	},
	func(p *Profile, r *rand.Rand) {
		p.Name = "managers"
		p.QuorumEvery = 200 + r.Int64N(800)
		p.Stale = 0.3
		p.CrashEvery = 500 + r.Int64N(3000)
		p.PauseEvery = 800 + r.Int64N(3000)
		p.CutEvery = 500 + r.Int64N(2000)
		p.MoveEvery = 300 + r.Int64N(2000)
	},
	func(p *Profile, r *rand.Rand) {
		p.Name = "machines"
		p.Sync = syncAlways
		p.CrashEvery = 300 + r.Int64N(1500)
		p.PairEvery = 1000 + r.Int64N(3000)
		p.RestartEvery = 1500 + r.Int64N(3000)
		p.TrimEvery = 100 + r.Int64N(1000)
		p.Machine = 0.5
	},
	func(p *Profile, r *rand.Rand) {
		p.Name = "pairs"
		p.PairEvery = 500 + r.Int64N(1500)
		p.RestartEvery = 2000 + r.Int64N(4000)
		p.StopEvery = 1500 + r.Int64N(3000)
		p.CutEvery = 1000 + r.Int64N(3000)
	},
	everything,
	func(p *Profile, r *rand.Rand) {
		p.Name = "late" // messages that outlive processes and their data
		p.Slow, p.SlowMax, p.Dup, p.Ghosts = 0.3, 3000, 0.2, 0.7
		p.CrashEvery = 200 + r.Int64N(1000)
		p.MoveEvery = 200 + r.Int64N(1000)
		p.TrimEvery = 50 + r.Int64N(300)
		p.Machine, p.Gone, p.Drop = 0.5, 0.1, 0.3
		p.Flush = 0.02
	},
	func(p *Profile, r *rand.Rand) {
		p.Name, p.Confirm = "confirm", true
		p.Drift = pick(r, 0.1, 0.5, 0.9)
		p.CutEvery = 150 + r.Int64N(800)
		p.PauseEvery = 300 + r.Int64N(1500)
		p.AmbushEvery = 500 + r.Int64N(2000)
		p.CrashEvery = 500 + r.Int64N(3000)
		p.JumpEvery = 500 + r.Int64N(2000)
	},
	func(p *Profile, r *rand.Rand) {
		p.Name, p.Still = "still", true
		if r.IntN(2) == 0 {
			p.QuorumEvery = 300 + r.Int64N(1500)
		} else {
			p.Name, p.StopEvery = "stops", 500+r.Int64N(2000)
		}
		p.Stale = 0.3
		p.JumpEvery = 500 + r.Int64N(2000)
		p.Loss, p.Slow = min(p.Loss, 0.01), 0
	},
}

func everything(p *Profile, r *rand.Rand) {
	p.Name = "all"
	p.CrashEvery = 300 + r.Int64N(2000)
	p.PairEvery = 2000 + r.Int64N(4000)
	p.StopEvery = 2000 + r.Int64N(4000)
	p.CutEvery = 150 + r.Int64N(1000)
	p.FlapEvery = 2000 + r.Int64N(5000)
	p.PauseEvery = 300 + r.Int64N(1500)
	p.AmbushEvery = 500 + r.Int64N(4000)
	p.MoveEvery = 200 + r.Int64N(1000)
	p.TrimEvery = 50 + r.Int64N(500)
	p.JumpEvery = 500 + r.Int64N(3000)
	p.GatewayEvery = 1000 + r.Int64N(4000)
	p.QuorumEvery = 1000 + r.Int64N(4000)
	p.Machine, p.Gone, p.Drop = 0.15, 0.05, 0.3
	p.Stale, p.Ghosts = 0.1, pick(r, 0, 0.3)
	p.Sync = pick(r, syncInterval, syncInterval, syncAlways, syncNever)
	p.Late = r.IntN(2)
}

func draw(r *rand.Rand, seed uint64) Profile {
	p := Profile{
		Nodes:      3 + r.IntN(3),
		Partitions: 1 << r.IntN(2),
		Replicas:   2 + r.IntN(2),
		Gateways:   1 + r.IntN(3),
		Clients:    4,
		Keys:       8,
		Trouble:    (3000 + r.Int64N(4000)) * ms,
		Loss:       pick(r, 0, 0.01, 0.1),
		Dup:        pick(r, 0, 0.02, 0.2),
		Slow:       pick(r, 0, 0.02, 0.2),
		SlowMax:    pick[int64](r, 20, 300, 3000),
		FlushMax:   pick[int64](r, 0, 2, 20),
		Proof:      pick(r, 0, 0.7, 1),
		Stale:      pick(r, 0, 0.02),
		Drift:      pick(r, 0, maxDrift, maxDrift),
		Expire:     0.1,
		Flush:      0.003,
		FailAfter:  pick[int64](r, 450, 450, 700),
		OpTimeout:  pick[int64](r, 2500, 10_000),
		RangeKeys:  1 + r.IntN(3),
		JoinLag:    pick[uint64](r, 0, 3, 64),
		Window:     pick(r, 1, 300, 8<<20),
	}
	profiles[seed%uint64(len(profiles))](&p, r)
	p.Rogue = pick(r, 0, 0, 0.02)
	if p.Planned = r.IntN(2) == 0; p.Planned {
		p.Name += ", planned"
		p.PlainReads = false // leads move while the old primary runs
	}
	if p.PlainReads || p.Still {
		p.Rogue = 0
	}
	return p
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

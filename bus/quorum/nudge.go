package quorum

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/raft"
)

// nudge is by how much a follower's time-out is shortened to have it looked at now. Leases are shorter by as much, since
// they must not outlast it.
const nudge = time.Millisecond

// nudger has raft notice in time that a leader is gone. Raft looks at the time of the last heartbeat only every one to two
// time-outs, so that it may notice after three; and since nobody votes for another while he believes in a leader, the
// slowest of a majority counts. Here every follower notices after one time-out and a random part of half of another.
//
// A voter that has just started need not wait that long either: a living leader is heard of within a fifth of a time-out.
type nudger struct {
	raft    *raft.Raft
	timeout time.Duration // Heartbeat
	begun   time.Time     // when this voter was started
	alone   bool          // there is no other voter to hear of
	started bool          // the first election was asked for
	jitter  time.Duration
}

func newNudger(r *raft.Raft, timeout time.Duration, alone bool) *nudger {
	return &nudger{raft: r, timeout: timeout, begun: time.Now(), alone: alone, jitter: jitter(timeout / 2)}
}

// interval is how often tick wants to be called.
func (n *nudger) interval() time.Duration { return max(n.timeout/16, time.Millisecond) }

// tick looks at what this follower has heard of its leader.
func (n *nudger) tick(now time.Time) error {
	if n.raft.State() != raft.Follower {
		return nil
	}
	_, leader := n.raft.LeaderWithID()
	contact := n.raft.LastContact()
	switch {
	case leader != "" && !contact.IsZero():
		if now.Sub(contact) < n.timeout+n.jitter {
			return nil
		}
	case leader == "" && contact.IsZero() && !n.started:
		if !n.alone && now.Sub(n.begun) < n.timeout/4+n.jitter/2 {
			return nil
		}
	default:
		return nil // raft's own timers run
	}
	n.started = true
	n.jitter = jitter(n.timeout / 2)
	// Raft looks at once when its time-out is made shorter.
	c := n.raft.ReloadableConfig()
	for _, timeout := range []time.Duration{n.timeout, n.timeout - nudge} {
		c.HeartbeatTimeout = timeout
		if err := n.raft.ReloadConfig(c); err != nil {
			return fmt.Errorf("set time-out to %v: %w", timeout, err)
		}
	}
	return nil
}

func jitter(limit time.Duration) time.Duration { return rand.N(limit) } // #nosec G404 -- nothing secret is drawn

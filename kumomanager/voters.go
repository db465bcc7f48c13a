package kumomanager

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/etolabo/kumofs/kumomanager/members"
	"github.com/etolabo/kumofs/subjects/ring"
)

// witnessPrefix begins the voter's name of a server: its store's identity
// follows, since a voter is its folder, wherever that is started.
const witnessPrefix = "w-"

// replaceWitnessAfter is how long a server that votes may be down before
// another takes its vote.
const replaceWitnessAfter = time.Minute

// WitnessID is the name under which a server votes.
func WitnessID(store ring.NodeID) string { return witnessPrefix + store.String() }

// isWitness tells a server's vote from a manager's.
func isWitness(voter string) bool { return strings.HasPrefix(voter, witnessPrefix) }

// candidate is a server that may vote.
type candidate struct {
	id   ring.NodeID
	zone string
	up   bool
	lost bool // down for long, or with a damaged log, so that another should vote in its place
}

// nextVoter returns the next step towards the voters that the managers need:
// none of the servers beside one manager or three and more, and beside two
// managers three servers, or one where fewer than three are attached. Votes
// follow attachment and not life: a crash changes no majority, only a long
// absence does.
func nextVoter(managers int, voters []string, servers []candidate) (add, remove string) {
	want := 0
	if managers == 2 {
		want = 1
		if len(servers) >= 3 {
			want = 3
		}
		if len(servers) == 0 {
			want = 0
		}
	}
	var votes []string
	for _, v := range voters {
		if isWitness(v) {
			votes = append(votes, v)
		}
	}
	find := func(voter string) (candidate, bool) {
		i := slices.IndexFunc(servers, func(c candidate) bool { return WitnessID(c.id) == voter })
		if i < 0 {
			return candidate{lost: true}, false
		}
		return servers[i], true
	}
	// Those that are away first.
	slices.SortStableFunc(votes, func(a, b string) int {
		ca, _ := find(a)
		cb, _ := find(b)
		return cmp.Compare(rank(ca), rank(cb))
	})
	fresh := pickWitness(votes, servers, find)
	switch {
	case len(votes) > want:
		return "", votes[0]
	case len(votes) < want:
		return fresh, ""
	case len(votes) > 0 && fresh != "":
		if c, attached := find(votes[0]); !attached || c.lost {
			return "", votes[0]
		}
	}
	return "", ""
}

func rank(c candidate) int {
	switch {
	case c.lost:
		return 0
	case !c.up:
		return 1
	}
	return 2
}

// pickWitness chooses a server that is up to vote beside the others, in a zone
// of its own if that can be; "" if there is none.
func pickWitness(votes []string, servers []candidate, find func(string) (candidate, bool)) string {
	zones := map[string]bool{}
	for _, v := range votes {
		if c, ok := find(v); ok && c.zone != "" {
			zones[c.zone] = true
		}
	}
	best := -1
	for i, c := range servers {
		if !c.up || slices.Contains(votes, WitnessID(c.id)) {
			continue
		}
		if best < 0 || zones[servers[best].zone] && !zones[c.zone] {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return WitnessID(servers[best].id)
}

// candidates are the servers that may vote: the attached ones.
func (c *core) candidates(now time.Time) (out []candidate) {
	for _, n := range c.table.Nodes {
		if n.Attached {
			m, known := c.members.Server(n.ID)
			damaged := known && m.Disk.NoVote
			out = append(out, candidate{
				id: n.ID, zone: n.Zone, up: n.Up && c.members.UpFor(n.ID, c.at(now)) > 0 && !damaged,
				lost: c.members.DownFor(n.ID, c.at(now)) > int64(replaceWitnessAfter) || damaged,
			})
		}
	}
	return out
}

// heir returns a manager to which a server that leads can hand over: one that
// votes, was heard just now and knows the newest table; "" if there is none.
func (c *core) heir(voters []string, now time.Time) string {
	var names []string
	for name, o := range c.members.Others() {
		if slices.Contains(voters, name) && c.at(now)-o.Heard < members.SucceedAfter && !o.Stopping && o.Revision >= c.table.Revision {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

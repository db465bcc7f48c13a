package testenv_test

import (
	"fmt"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// fetch asks for a key as the n-th operation of a gateway, for the winner of it
// to make the value.
func (a *asker) fetch(key string, n uint64, attempt uint32) *answerOf {
	m := subjects.Write{
		Partition: a.table.Of([]byte(key)), Epoch: a.epoch(key), Key: []byte(key), Verb: subjects.VerbFetch,
		Options: subjects.OptionVivify, Op: subjects.OpID{Boot: 7, N: n, Lowest: 1}, Attempt: attempt,
	}
	return a.ask(key, subjects.VerbWrite, m.Append(nil))
}

func (a *asker) wantMarks(ans *answerOf, marks uint32, cas uint64, hit bool) {
	a.t.Helper()
	a.want(ans, subjects.StatusOK, "")
	if r := ans.rep; r.Marks != marks || cas != 0 && r.Cas != cas || r.Hit != hit {
		a.t.Errorf("marks %b, token %x, hit %v; want %b, %x, %v", r.Marks, r.Cas, r.Hit, marks, cas, hit)
	}
}

// One of two fetches wins, also for a server that knows of it from another; it
// alone is told so, as often as it asks.
func TestOneFetchWins(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.EventuallyWhole()
	key := "key"
	for i := 0; c.PrimaryOf(key) == "server1"; i++ { // which the asker is connected through
		key = fmt.Sprint("key-", i)
	}
	const sent, won = subjects.MarkSent, subjects.MarkSent | subjects.MarkWon
	a := newAsker(t, c)
	first := a.fetch(key, 1, 1)
	a.wantMarks(first, won, 0, false)
	token := first.rep.Cas
	a.wantMarks(a.fetch(key, 2, 1), sent, token, true)
	a.wantMarks(a.read(key, 0), sent, token, true)
	a.wantMarks(a.fetch(key, 1, 2), won, token, true)

	was := c.PrimaryOf(key)
	c.Kill(was)
	c.EventuallyState(was, "down")
	c.Eventually("another leads", func() bool { return c.PrimaryOf(key) != was })
	a.table = c.Table()
	served := func(n uint64, attempt uint32) *answerOf {
		ans := a.fetch(key, n, attempt)
		for ans.again() { // the new primary has no leases yet
			ans = a.fetch(key, n, attempt)
		}
		return ans
	}
	a.wantMarks(served(1, 3), won, token, false) // what was read is forgotten
	a.wantMarks(served(3, 1), sent, token, true)
}

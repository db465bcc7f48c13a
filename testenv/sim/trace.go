package sim

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// trace keeps the last lines of a run.
type trace struct {
	limit int
	ring  []string
	next  int
}

func (t *trace) add(line string) {
	if len(t.ring) < t.limit {
		t.ring = append(t.ring, line)
		return
	}
	t.ring[t.next] = line
	t.next = (t.next + 1) % t.limit
}

func (t *trace) lines() []string {
	return append(append([]string(nil), t.ring[t.next:]...), t.ring[:t.next]...)
}

func stack() string {
	b := make([]byte, 4<<10)
	return string(b[:runtime.Stack(b, false)])
}

// Show prints an event, effect or message in one line.
func Show(x any) string {
	switch x := x.(type) {
	case replica.Send:
		d := ""
		if x.Durable {
			d = " once durable"
		}
		return fmt.Sprintf("send to %d%s: %s", x.To, d, Show(x.Msg))
	case replica.Append:
		return "append " + Show(x.Entry)
	case replica.Install:
		return "install " + Show(x.Range)
	case replica.Ask:
		return "ask " + showChange(x.Change)
	case replica.Configure:
		c := x.Config
		return fmt.Sprintf("configure e%d primary %d/%d isr %v learners %v", c.Epoch, c.Primary.Store, c.Primary.Boot, ids(c.ISR), ids(c.Learners))
	case replica.Receive:
		return "receive " + Show(x.Msg)
	case *replica.Propose:
		return fmt.Sprintf("propose #%d verb %d %s=%s cas %s", x.ID, x.Write.Verb, x.Write.Key, x.Write.Value, subjects.FromCAS(x.Write.Cas))
	case replica.RangeRead:
		return fmt.Sprintf("range read for %d from %q to %q last %v through %d, %d records", x.To, x.From, x.Next, x.Last, x.Through, len(x.Records))
	case replica.Reply:
		return fmt.Sprintf("reply #%d %s %q cas %s", x.ID, x.Reply.Status, x.Reply.Value, subjects.FromCAS(x.Reply.Cas)) + marks(x.Reply.Marks)
	case *subjects.Entry:
		return fmt.Sprintf("%s<-%s %s=%q kind %d", x.Version, x.Prev, x.Key, x.Value, x.Kind) + marks(x.Bits)
	case *subjects.Prepare:
		b := &strings.Builder{}
		fmt.Fprintf(b, "%s prepare prev %s:", head(x.Header), x.Prev)
		for _, e := range x.Entries {
			fmt.Fprintf(b, " %s", e.Version)
		}
		return b.String()
	case *subjects.PrepareReply:
		return fmt.Sprintf("%s prepare reply %s tail %s", head(x.Header), answers[x.Answer], x.Tail)
	case *subjects.EpochStart:
		return fmt.Sprintf("%s epoch start %v isr %v learners %v restart %v base %s", head(x.Header), x.Outline, ids(x.ISR), ids(x.Learners), x.Restart, x.Base)
	case *subjects.EpochReply:
		return fmt.Sprintf("%s epoch reply %s %v incomplete %v cursor %q", head(x.Header), answers[x.Answer], x.Outline, x.Incomplete, x.Cursor)
	case *subjects.Range:
		return fmt.Sprintf("%s range [%q %q) last %v through %d, %d records", head(x.Header), x.From, x.To, x.Last, x.Through, len(x.Records))
	case *subjects.RangeReply:
		return fmt.Sprintf("%s range reply %s cursor %q complete %v", head(x.Header), answers[x.Answer], x.Cursor, x.Complete)
	}
	return fmt.Sprintf("%T%+v", x, x)
}

var answers = [...]string{"?", "ok", "gap", "refused", "fault"}

// marks names those that are set.
func marks(bits uint32) (s string) {
	for i, name := range []string{" stale", " sent", " won"} {
		if bits&(1<<i) != 0 {
			s += name
		}
	}
	return s
}

func head(h subjects.Header) string {
	return fmt.Sprintf("e%d %d/%d commit %d", h.Epoch, h.From.Store, h.From.Boot, h.Commit)
}

func ids[T ~uint64](in []T) []uint64 {
	out := make([]uint64, len(in))
	for i, id := range in {
		out[i] = uint64(id)
	}
	return out
}

func showChange(c ring.Change) string {
	told := ""
	if c.Told {
		told = " (they said so)"
	}
	return fmt.Sprintf("p%d after e%d primary %d/%d isr %v learners %v: %s%s", c.Partition, c.Epoch, c.Primary.Store, c.Primary.Boot, ids(c.ISR), ids(c.Learners), c.Reason, told)
}

package chaos

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Answers that are not memcached's own words.
const (
	answerOpen       = "?"           // nobody knows what became of it, nor ever will
	answerValue      = "VALUE"       // with Text, and after gets with Token
	answerMiss       = "END"         //
	answerNumber     = "NUMBER"      // with Text
	answerNonNumeric = "NON-NUMERIC" // a counter operation on something else
)

// Op is one operation of one client.
type Op struct {
	Client, Gateway int
	Verb, Key       string
	Value           string // that was sent
	Delta           uint64 // incr, decr
	Cas             uint64 // cas
	Call, Ret       int64  // nanoseconds since the run began; Ret is 0 while it is open
	Answer          string
	Text            string // that was read
	Token           uint64 // that gets read
}

func (o *Op) String() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%11.6f ", time.Duration(o.Call).Seconds())
	if o.Ret == 0 {
		b.WriteString("+?        ")
	} else {
		fmt.Fprintf(b, "+%8.6f ", time.Duration(o.Ret-o.Call).Seconds())
	}
	fmt.Fprintf(b, "c%-2d g%d %s", o.Client, o.Gateway+1, o.describe())
	return b.String()
}

func (o *Op) describe() string {
	s := o.Verb
	switch o.Verb {
	case "incr", "decr":
		s += fmt.Sprintf(" %d", o.Delta)
	case "cas":
		s += fmt.Sprintf(" %s if %x", short(o.Value), o.Cas)
	default:
		if o.Value != "" {
			s += " " + short(o.Value)
		}
	}
	s += " -> " + o.Answer
	if o.Text != "" {
		s += " " + short(o.Text)
	}
	if o.Token != 0 {
		s += fmt.Sprintf(" at %x", o.Token)
	}
	return s
}

// short leaves of a long value its two ends, where what was added last is.
func short(s string) string {
	const most = 48
	if len(s) <= most {
		return s
	}
	return s[:most/2] + "…" + s[len(s)-most/2:]
}

// History is what clients asked and were told, by key. A key's history is short
// since the clients leave it for others after some seconds.
type History struct {
	mu  sync.Mutex
	ops map[string][]*Op
	n   int
}

// Add takes an operation whose answer is known, or never will be. What had no
// effect for certain, such as a get without an answer, is not for it.
func (h *History) Add(o *Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ops == nil {
		h.ops = map[string][]*Op{}
	}
	h.ops[o.Key] = append(h.ops[o.Key], o)
	h.n++
}

// Keys lists all keys.
func (h *History) Keys() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys := make([]string, 0, len(h.ops))
	for k := range h.ops {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// operations is a key's history for porcupine. An open operation may take
// effect at any time after its call, which includes after everything else.
func operations(ops []*Op) []porcupine.Operation {
	ops = slices.SortedFunc(slices.Values(ops), func(a, b *Op) int { return cmp.Compare(a.Call, b.Call) })
	list := make([]porcupine.Operation, 0, len(ops))
	for _, o := range ops {
		p := porcupine.Operation{ClientId: o.Client, Input: o, Output: o, Call: o.Call, Return: o.Ret}
		if o.Ret == 0 {
			p.Return = math.MaxInt64
		}
		list = append(list, p)
	}
	return list
}

// Tell prints a key's history in order of call.
func Tell(ops []*Op) string {
	b := &strings.Builder{}
	for _, o := range operations(ops) {
		fmt.Fprintln(b, o.Input.(*Op))
	}
	return b.String()
}

package chaos

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/anishathalye/porcupine"
)

// The verdicts on a history.
const (
	NotLinearizable = "not linearizable"
	Lost            = "acknowledged write lost"
	Resurrected     = "deleted key back"
)

// Verdict is what became of all keys, by name.
type Verdict struct{ Illegal, Undecided []string }

// Judge holds every key's history against the model.
func Judge(h *History) Verdict {
	var v Verdict
	var mu sync.Mutex
	var wg sync.WaitGroup
	keys := make(chan string)
	for range checkers {
		wg.Go(func() {
			for key := range keys {
				res := check(h.ops[key])
				mu.Lock()
				switch res {
				case porcupine.Illegal:
					v.Illegal = append(v.Illegal, key)
				case porcupine.Unknown:
					v.Undecided = append(v.Undecided, key)
				}
				mu.Unlock()
			}
		})
	}
	for _, key := range h.Keys() {
		keys <- key
	}
	close(keys)
	wg.Wait()
	slices.Sort(v.Illegal)
	slices.Sort(v.Undecided)
	return v
}

// check decides on a key's history. What is open may have taken effect at any
// time, which is what makes checking long; but it may also never have. So a
// history that is linearizable without some of it is linearizable, and those
// writes go first of which no client has ever read a trace.
func check(ops []*Op) porcupine.CheckResult {
	read := &strings.Builder{}
	for _, o := range ops {
		if o.Text != "" {
			read.WriteString(o.Text + "\n")
		}
	}
	seen := read.String()
	for _, keep := range []func(*Op) bool{
		func(o *Op) bool { return o.Value != "" && strings.Contains(seen, o.Value) },
		func(o *Op) bool { return o.Value == "" || strings.Contains(seen, o.Value) },
	} {
		some := slices.DeleteFunc(slices.Clone(ops), func(o *Op) bool { return o.Ret == 0 && !keep(o) })
		if len(some) < len(ops) && porcupine.CheckOperationsTimeout(Model, operations(some), checkSome) == porcupine.Ok {
			return porcupine.Ok
		}
	}
	return porcupine.CheckOperationsTimeout(Model, operations(ops), checkKey)
}

// Explain says what is wrong with a history that cannot be, and draws it. If
// all was well but for what the audit read, then something was lost or is back.
func Explain(ops []*Op, auditor int, path string) string {
	res, info := porcupine.CheckOperationsVerbose(Model, operations(ops), checkKey)
	if res == porcupine.Illegal {
		if err := draw(info, path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	var before []*Op
	var read *Op
	for _, o := range ops {
		if o.Client < auditor {
			before = append(before, o)
		} else {
			read = o
		}
	}
	switch {
	case read == nil || check(before) != porcupine.Ok:
		return NotLinearizable
	case read.Answer == answerMiss:
		return Lost
	}
	missed := *read
	missed.Answer, missed.Text, missed.Token = answerMiss, "", 0
	if check(append(before, &missed)) == porcupine.Ok {
		return Resurrected
	}
	return Lost
}

func draw(info porcupine.LinearizationInfo, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("draw a history: %w", err)
	}
	defer f.Close()
	if err := porcupine.Visualize(Model, info, f); err != nil {
		return fmt.Errorf("draw a history: %w", err)
	}
	return nil
}

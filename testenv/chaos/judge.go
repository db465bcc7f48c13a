package chaos

import (
	"fmt"
	"os"
	"slices"
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
				res := porcupine.CheckOperationsTimeout(Model, operations(h.ops[key]), checkKey)
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
	case read == nil || porcupine.CheckOperationsTimeout(Model, operations(before), checkKey) != porcupine.Ok:
		return NotLinearizable
	case read.Answer == answerMiss:
		return Lost
	}
	missed := *read
	missed.Answer, missed.Text, missed.Token = answerMiss, "", 0
	if porcupine.CheckOperationsTimeout(Model, operations(append(before, &missed)), checkKey) == porcupine.Ok {
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

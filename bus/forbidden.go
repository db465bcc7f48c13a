package bus

import (
	"context"
	"regexp"
	"strings"
	"sync"
)

// asked are the requests that wait for answers: NATS says apart from them that one
// was not allowed, and their answers would be waited for in vain.
type asked struct {
	mu   sync.Mutex
	next uint64
	wait map[uint64]*asking // guarded by mu
}

type asking struct {
	subject string
	end     context.CancelCauseFunc
}

// expect is called before a request, and done after it. The context that it returns
// ends with ErrForbidden if the request is refused.
func (a *asked) expect(ctx context.Context, subject string) (_ context.Context, done func()) {
	ctx, end := context.WithCancelCause(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wait == nil {
		a.wait = map[uint64]*asking{}
	}
	a.next++
	n := a.next
	a.wait[n] = &asking{subject, end}
	return ctx, func() {
		end(nil)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.wait, n)
	}
}

// refusal is how NATS says that a message was not taken.
var refusal = regexp.MustCompile(`(?i)publish to "?([^"\s]+)"?`)

// forbid ends the requests that a permissions violation is about.
func (a *asked) forbid(violation error) {
	found := refusal.FindStringSubmatch(violation.Error())
	if found == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.wait {
		if w.subject == found[1] {
			w.end(ErrForbidden)
		}
	}
}

// inboxOnly leaves out a reply subject that is no inbox: whoever asks must not have
// others speak where he may not.
func inboxOnly(reply string) string {
	if rest, ok := strings.CutPrefix(reply, inboxes); ok && strings.HasPrefix(rest, ".") {
		return reply
	}
	return ""
}

package quorum

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// quietFor is how long a warning of raft keeps the next one of the same words about the same peer out of the log.
const quietFor = 10 * time.Second

// maxWarnings bounds the warnings that are remembered.
const maxWarnings = 256

// raftLogger hands hclog's records to slog: what raft calls info is debug here, its warnings (elections, refused votes)
// are info, its errors warnings; the last two at most once per quietFor.
type raftLogger struct {
	hclog.Logger // answers what nobody asks
	log          *slog.Logger
	said         *said
}

// said remembers which warnings were given. It is shared by the loggers that With makes.
type said struct {
	mu   sync.Mutex
	when map[string]*saying
}

type saying struct {
	last    time.Time
	skipped int
}

func newRaftLogger(log *slog.Logger) *raftLogger {
	return &raftLogger{Logger: hclog.NewNullLogger(), log: log, said: newSaid()}
}

func newSaid() *said { return &said{when: make(map[string]*saying)} }

// may says whether words may be logged now, and how often they were not since the last time.
func (s *said) may(words string, now time.Time) (skipped int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.when[words]
	if one == nil {
		if len(s.when) >= maxWarnings {
			clear(s.when)
		}
		s.when[words] = &saying{last: now}
		return 0, true
	}
	if now.Sub(one.last) < quietFor {
		one.skipped++
		return 0, false
	}
	skipped, one.skipped, one.last = one.skipped, 0, now
	return skipped, true
}

// expected are warnings of raft that tell nothing here: a voter that has not been taken in yet, as every server beside
// one manager is, has no peers and elects nobody.
var expected = map[string]bool{
	"no known peers, aborting election":                   true,
	"not part of stable configuration, aborting election": true,
}

func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	switch level {
	case hclog.Trace, hclog.NoLevel, hclog.Off:
	case hclog.Debug, hclog.Info:
		if l.log.Enabled(context.Background(), slog.LevelDebug) {
			l.log.Debug(msg, plain(args)...)
		}
	case hclog.Warn:
		if expected[msg] {
			l.log.Debug(msg, plain(args)...)
			return
		}
		l.sparing(slog.LevelInfo, msg, args)
	default:
		l.sparing(slog.LevelWarn, msg, args)
	}
}

// sparing logs at most once per quietFor and peer.
func (l *raftLogger) sparing(level slog.Level, msg string, args []any) {
	skipped, ok := l.said.may(msg+about(args), time.Now())
	if !ok {
		return
	}
	args = plain(args)
	if skipped > 0 {
		args = append(args, "repeated", skipped)
	}
	l.log.Log(context.Background(), level, msg, args...)
}

// about finds the peer that a record is about.
func about(args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "target", "from", "server-id", "candidate":
			return " " + fmt.Sprint(args[i+1])
		}
	}
	return ""
}

// plain turns hclog's formatted values into strings.
func plain(args []any) []any {
	out := make([]any, 0, len(args)+2)
	for _, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		out = append(out, a)
	}
	return out
}

func (l *raftLogger) Trace(string, ...any)          {}
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{Logger: l.Logger, log: l.log.With(plain(args)...), said: l.said}
}
func (l *raftLogger) Named(string) hclog.Logger      { return l }
func (l *raftLogger) ResetNamed(string) hclog.Logger { return l }

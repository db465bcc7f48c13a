package quorum

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestRaftLoggerLevels(t *testing.T) {
	tests := []struct {
		say  func(*raftLogger)
		want string // beginning with the level; "" for nothing
	}{
		{func(l *raftLogger) { l.Info("entering follower state") }, ""},
		{func(l *raftLogger) { l.Warn("no known peers, aborting election") }, ""},
		{func(l *raftLogger) { l.Warn("heartbeat timeout reached, starting election") }, "level=INFO"},
		{func(l *raftLogger) { l.Error("failed to contact", "peer", "a") }, "level=WARN"},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		tt.say(newRaftLogger(slog.New(slog.NewTextHandler(&out, nil))))
		if got := out.String(); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("logged %q, want %q", got, tt.want)
		}
	}
}

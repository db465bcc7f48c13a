package subjects

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShowKey(t *testing.T) {
	for _, tt := range []struct {
		key  string
		most int
		want string
	}{
		{"user:1", 20, "user:1"},
		{"", 20, ""},
		{"日本語", 20, "日本語"},
		{"a b\r\n\x00\x7f\xff", 20, `a b\x0d\x0a\x00\x7f\xff`},
		{`a\x41`, 20, `a\\x41`},
		{"\u202eevil\x1b[31m", 40, `\xe2\x80\xaeevil\x1b[31m`},
		{"abcdef", 3, "abc…"},
		{"abc日", 4, `abc\xe6…`},
	} {
		if got := ShowKey([]byte(tt.key), tt.most); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.key, got, tt.want)
		}
	}
}

// Whatever clients sent, the answers fit into a message of the bus.
func TestInsightFits(t *testing.T) {
	const message = 1 << 20
	worst := strings.Repeat("\x00", MaxKey)
	log := SlowLog{Operations: make([]SlowOp, MaxSlowLog)}
	for i := range log.Operations {
		log.Operations[i] = SlowOp{
			Time: 1 << 41, Verb: "replace", Key: ShowKey([]byte(worst), MaxSlowKey), KeyBytes: MaxKey, Size: MaxValue, Duration: 1 << 40,
			Retries: 1000, Server: strings.Repeat("s", 64), Outcome: "SERVER_ERROR out of memory storing object",
		}
	}
	hot := HotKeys{Keys: make([]HotKey, MaxHotKeys)}
	for i := range hot.Keys {
		hot.Keys[i] = HotKey{Key: ShowKey([]byte(worst), MaxKey), Count: 1 << 60, Error: 1 << 60, Writes: 1 << 60}
	}
	for _, v := range []any{log, hot} {
		data, err := json.Marshal(v)
		if err != nil || len(data) > message {
			t.Errorf("%T has %d bytes (%v)", v, len(data), err)
		}
	}
}

func FuzzShowKey(f *testing.F) {
	f.Add([]byte("a\\\x00é"), 3)
	f.Fuzz(func(t *testing.T, key []byte, most int) {
		shown := ShowKey(key, max(0, most%300))
		if !utf8.ValidString(shown) || strings.ContainsAny(shown, "\r\n\t\x00\x1b") {
			t.Errorf("%q is shown as %q", key, shown)
		}
	})
}

package subjects

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

// SlowLogRequest asks a gateway for its slow log.
type SlowLogRequest struct {
	Reset bool `json:"reset,omitempty"` // forget what is answered
}

// MaxSlowLog bounds the operations of a SlowLog, so that it fits into a message.
const MaxSlowLog = 1024

// SlowLog is the last operations of a gateway that took long, the newest first.
type SlowLog struct {
	Threshold  int64    `json:"threshold_ns"` // that they took at least; 0: none are kept
	Room       int      `json:"room"`         // how many are kept
	Total      uint64   `json:"total"`        // that took so long since the start or the last reset
	Operations []SlowOp `json:"operations"`
}

// SlowOp is an operation that took long.
type SlowOp struct {
	Time     int64  `json:"time_ms"` // when it ended, Unix milliseconds
	Verb     string `json:"verb"`    // memcached's word
	Key      string `json:"key"`     // as ShowKey shows it, MaxSlowKey bytes at most
	KeyBytes int    `json:"key_bytes"`
	Size     int    `json:"size"` // bytes of the value that was sent or came
	Duration int64  `json:"duration_ns"`
	Retries  int    `json:"retries"`          // attempts after the first
	Server   string `json:"server,omitempty"` // that was asked last; empty: none was
	Outcome  string `json:"outcome"`          // memcached's answer
}

// MaxSlowKey is how many bytes of a key a SlowOp has.
const MaxSlowKey = 128

// HotKeys are a gateway's most frequent keys of the last half minute to minute,
// by a sample of its operations (Space-Saving, see package heavy). Counts are of
// samples.
type HotKeys struct {
	Every   int     `json:"every"`   // operations for a sample, on average
	Seconds float64 `json:"seconds"` // for which samples were taken
	Samples uint64  `json:"samples"`
	// Floor is what a key may have that is not listed.
	Floor uint64   `json:"floor"`
	Keys  []HotKey `json:"keys"` // MaxHotKeys at most, the most frequent first
}

// MaxHotKeys bounds HotKeys, so that it fits into a message.
const MaxHotKeys = 256

// HotKey is a key with its samples: Count at most, and Error fewer at least.
type HotKey struct {
	Key    string `json:"key"` // as ShowKey shows it
	Count  uint64 `json:"count"`
	Error  uint64 `json:"error"`
	Writes uint64 `json:"writes"` // of Count, at least
}

// ShowKey makes a key, which may be any bytes, fit to be read: at most so many
// bytes of it, what does not print as \xNN, a backslash as \\, and … for what is
// left out.
func ShowKey(key []byte, most int) string {
	rest := ""
	if len(key) > most {
		key, rest = key[:most], "…"
	}
	out := make([]byte, 0, len(key)+len(rest))
	for len(key) > 0 {
		r, n := utf8.DecodeRune(key)
		switch {
		case r == '\\':
			out = append(out, `\\`...)
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r):
			for _, b := range key[:n] {
				out = append(out, '\\', 'x')
				if b < 16 {
					out = append(out, '0')
				}
				out = strconv.AppendUint(out, uint64(b), 16)
			}
		default:
			out = append(out, key[:n]...)
		}
		key = key[n:]
	}
	return string(append(out, rest...))
}

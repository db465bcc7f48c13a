package subjects

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/etolabo/kumofs/subjects/ring"
)

// FeedRequest asks all servers to tell of changes of the keys that begin with a
// prefix, for FeedLasts from now. The prefix is text, or base64 where it is none.
type FeedRequest struct {
	Prefix       string `json:"prefix,omitempty"`
	PrefixBase64 []byte `json:"prefix_base64,omitempty"`
	// Values has values told, too, those of MaxFeedValue bytes at most.
	Values bool `json:"values,omitempty"`
}

// The bounds of feeds.
const (
	FeedLasts    = 10 * time.Second // from a request on; ask again sooner
	MaxFeeds     = 16               // that a server tells at a time
	MaxFeedValue = 64 << 10         // bytes of a value that is told
)

// NewFeedRequest asks for a prefix, which may be any bytes.
func NewFeedRequest(prefix []byte, values bool) FeedRequest {
	r := FeedRequest{Values: values}
	r.Prefix, r.PrefixBase64 = textOr64(prefix)
	return r
}

// Key is the prefix that is asked for.
func (r *FeedRequest) Key() []byte {
	if r.PrefixBase64 != nil {
		return r.PrefixBase64
	}
	return []byte(r.Prefix)
}

// Check returns an error if nobody can answer the request.
func (r *FeedRequest) Check() error {
	if n := len(r.Key()); n > MaxKey {
		return fmt.Errorf("%w: a prefix of %d bytes: keys have at most %d", ErrBadRequest, n, MaxKey)
	}
	return nil
}

// Hash is the last token of the feed's subject, since a prefix may hold what no
// subject does: the XXH64 of the prefix, and -values if they are told.
func (r *FeedRequest) Hash() string {
	name := fmt.Sprintf("%016x", ring.Hash(r.Key()))
	if r.Values {
		name += "-values"
	}
	return name
}

// FeedReport is what a server tells on a feed.
type FeedReport struct {
	FeedRequest             // of which the feed is; hashes may collide
	Node        string      `json:"node"`
	Boot        ring.BootID `json:"boot"`
	Error       string      `json:"error,omitempty"` // why this server tells nothing
	Spans       []FeedSpan  `json:"spans"`
}

// FeedSpan is a piece of a partition's log, that behind After up to Through: all that
// became of the feed's keys in it is in Changes. Spans of a primary follow each other;
// where one begins behind the end of the last, what is between was not told, and can
// not be told any more. Of other primaries they may overlap: a change is told again,
// with the same version.
type FeedSpan struct {
	Partition ring.Partition `json:"partition"`
	After     Version        `json:"after"`
	Through   Version        `json:"through"`
	Changes   []Change       `json:"changes,omitempty"`
}

// The kinds of changes.
const (
	ChangeSet    = "set"    // the key has this value now: set, add, incr, touch, …
	ChangeDelete = "delete" // a client deleted it
	ChangeExpire = "expire" // somebody asked for it when its time was over
	ChangeFlush  = "flush"  // every key of the partition is gone; it has no key
)

// Change is what one entry of the log did to a key. A key whose time is over is gone
// without a change, until somebody asks for it.
type Change struct {
	Version   Version `json:"version"`
	Time      int64   `json:"time_ms"` // the primary's clock, Unix milliseconds
	Kind      string  `json:"kind"`
	Key       string  `json:"key,omitempty"`
	KeyBase64 []byte  `json:"key_base64,omitempty"` // in the place of Key where it is no text
	Size      int     `json:"size,omitempty"`       // bytes of the value
	Flags     uint32  `json:"flags,omitempty"`
	Expiry    int64   `json:"expiry,omitempty"` // Unix seconds; 0: never
	CAS       uint64  `json:"cas,omitempty"`
	// The value, if it was asked for and is not too large.
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

// ChangeOf is the change that an entry makes; ok is false if it makes none. It keeps
// the value's bytes.
func ChangeOf(e *Entry, values bool) (c Change, ok bool) {
	c = Change{Version: e.Version, Time: e.Clock}
	switch e.Kind {
	case EntryFlush:
		c.Kind = ChangeFlush
		return c, true
	case EntryDelete:
		c.Kind = ChangeDelete
		if e.Answer != StatusOK { // nobody deleted it
			c.Kind = ChangeExpire
		}
	case EntryPut:
		c.Kind = ChangeSet
		c.Size, c.Flags, c.Expiry = len(e.Value), e.Flags, e.Expiry
		c.CAS = token(e.Token, e.Version)
		if values && len(e.Value) <= MaxFeedValue {
			if utf8.Valid(e.Value) {
				v := string(e.Value)
				c.Value = &v
			} else {
				c.ValueBase64 = e.Value
			}
		}
	default:
		return c, false
	}
	c.Key, c.KeyBase64 = textOr64(e.Key)
	return c, true
}

// Bytes is the key of a change.
func (c *Change) Bytes() []byte {
	if c.KeyBase64 != nil {
		return c.KeyBase64
	}
	return []byte(c.Key)
}

func textOr64(b []byte) (string, []byte) {
	if utf8.Valid(b) {
		return string(b), nil
	}
	return "", b
}

package subjects

import (
	"errors"
	"fmt"
)

// Status is the outcome of one operation on the wire. The first group answers
// a client; the second never reaches one: the gateway repeats the operation.
type Status uint8

const (
	StatusOK         Status = iota + 1 // stored, deleted, touched, counted, or here is the value
	StatusNotFound                     // no such key
	StatusNotStored                    // add, replace, append or prepend does not apply
	StatusExists                       // the token of cas is not the value's
	StatusNonNumeric                   // incr or decr of a value that is no number
	StatusTooLarge                     // the value would be over the limit
	StatusNoSpace                      // the disk is full; reads go on
	StatusCorrupt                      // the only copy of this key is damaged
	StatusBad                          // the request makes no sense
	StatusUnknown                      // the outcome can no longer be told
)

const (
	StatusNotPrimary Status = iota + 64 // ask the primary of a newer ring
	StatusRetry                         // not now (starting, failing over, queue full): again, under the same Op
)

// Routed reports whether the gateway must repeat the operation.
func (s Status) Routed() bool { return s >= StatusNotPrimary }

var statusNames = map[Status]string{
	StatusOK: "ok", StatusNotFound: "not found", StatusNotStored: "not stored", StatusExists: "exists",
	StatusNonNumeric: "not a number", StatusTooLarge: "too large", StatusNoSpace: "no space",
	StatusCorrupt: "corrupt", StatusBad: "bad request", StatusUnknown: "unknown",
	StatusNotPrimary: "not the primary", StatusRetry: "retry",
}

func (s Status) String() string {
	if n, ok := statusNames[s]; ok {
		return n
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Errors that cross the control plane as a code and come back as themselves:
// errors.Is works on both sides.
var (
	ErrNotLeader   = errors.New("not the leader")
	ErrNoLeader    = errors.New("the managers have no leader")
	ErrNoCluster   = errors.New("the cluster has not been made yet")
	ErrUnknownNode = errors.New("unknown node")
	ErrBadRequest  = errors.New("bad request")
	ErrRefused     = errors.New("refused")
	ErrTimeout     = errors.New("timed out")
	ErrUnavailable = errors.New("unavailable")
	ErrBusy        = errors.New("busy, ask again later")
	ErrPassed      = errors.New("it is past that entry")
	ErrInternal    = errors.New("internal error")
)

var codes = []struct {
	code string
	err  error
}{
	{"not_leader", ErrNotLeader},
	{"no_leader", ErrNoLeader},
	{"no_cluster", ErrNoCluster},
	{"unknown_node", ErrUnknownNode},
	{"bad_request", ErrBadRequest},
	{"refused", ErrRefused},
	{"timeout", ErrTimeout},
	{"unavailable", ErrUnavailable},
	{"busy", ErrBusy},
	{"passed", ErrPassed},
	{"internal", ErrInternal},
}

// WireError is an error in a JSON answer.
type WireError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ToWire turns an error into its wire form; nil stays nil.
func ToWire(err error) *WireError {
	if err == nil {
		return nil
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &WireError{c.code, err.Error()}
		}
	}
	return &WireError{"internal", err.Error()}
}

func (e *WireError) Error() string { return e.Message }

// Unwrap gives the sentinel of the code back.
func (e *WireError) Unwrap() error {
	for _, c := range codes {
		if c.code == e.Code {
			return c.err
		}
	}
	return ErrInternal
}

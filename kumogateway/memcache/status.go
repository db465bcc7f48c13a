package memcache

// Status is the outcome of a request in no syntax's words.
type Status uint8

// The outcomes. The text is what the text protocol says; where it says nothing
// the word depends on the operation.
const (
	StatusOK Status = iota
	StatusNotFound
	StatusExists     // the token was another one
	StatusNotStored  // a condition on presence failed
	StatusNonNumeric // incr or decr of what is no number

	StatusUnknownCommand
	StatusBadFormat   // wrong arguments or an impossible key
	StatusBadChunk    // the value did not end where it should
	StatusBadExptime  //
	StatusBadDelta    //
	StatusDeleteUsage //
	StatusStatsUsage  //
	StatusStatsDetail //
	StatusLineTooLong //
	StatusNoSyntax    // the first byte begins no syntax that is spoken here
	StatusMetaFlag    // a letter that is no flag
	StatusMetaTwice   // the same flag again
	StatusMetaMany    // more flags than there are
	StatusMetaToken   // what stands behind a flag makes no sense
	StatusMetaKey     // base64 that is none
	StatusMetaOpaque  // the opaque is too long
	StatusMetaInitial //
	StatusMetaDelta   //
	StatusMetaArith   // any of those, in ma
	StatusMetaMode    // of ms
	StatusArithMode   // of ma
	StatusBadLength   // lengths of a binary packet that contradict each other
	StatusBadPacket   // a binary packet that is not as its opcode wants it

	StatusTooLarge        // value over the limit
	StatusOutOfMemory     // no room to store
	StatusFlushDisabled   //
	StatusShutdown        // shutdown is never allowed
	StatusDumpDisabled    // cachedump is never allowed
	StatusTooManyConns    //
	StatusUnauthenticated // the client has not authenticated
	StatusAuthFailed      // wrong user or password
	StatusAuthContinue    // SASL goes on
	StatusAuthTooLong     // over the limit of what authenticates
	StatusAuthFormat      // not "USER PASSWORD"
	StatusAuthEnd         // the same did not end where it should
	StatusReadNotAllowed  // the user may not read
	StatusWriteNotAllowed // the user may not write
	StatusNotAllowed      // the user may not do what concerns others
	StatusWantsTLS        // the client comes without
	StatusTimedOut        // a read got no answer in time
	StatusOutcomeUnknown  // a write got no answer in time: it may or may not have happened
	StatusBusy            // too much waits already
	StatusShuttingDown    // the gateway is closing
	StatusInternal        // a peer answered something that makes no sense
	StatusCorrupt         // the stored record is damaged
	StatusUnsupported     // the server does not know the operation
	numStatuses           = iota
)

var statusText = [numStatuses]string{
	StatusOK:              "OK",
	StatusNotFound:        "NOT_FOUND",
	StatusExists:          "EXISTS",
	StatusNotStored:       "NOT_STORED",
	StatusNonNumeric:      "CLIENT_ERROR cannot increment or decrement non-numeric value",
	StatusUnknownCommand:  "ERROR",
	StatusBadFormat:       "CLIENT_ERROR bad command line format",
	StatusBadChunk:        "CLIENT_ERROR bad data chunk",
	StatusBadExptime:      "CLIENT_ERROR invalid exptime argument",
	StatusBadDelta:        "CLIENT_ERROR invalid numeric delta argument",
	StatusDeleteUsage:     "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]",
	StatusStatsUsage:      "CLIENT_ERROR bad command line",
	StatusStatsDetail:     "CLIENT_ERROR usage: stats detail on|off|dump",
	StatusLineTooLong:     "CLIENT_ERROR line too long",
	StatusNoSyntax:        "CLIENT_ERROR not a memcached command",
	StatusMetaFlag:        "CLIENT_ERROR invalid flag",
	StatusMetaTwice:       "CLIENT_ERROR duplicate flag",
	StatusMetaMany:        "CLIENT_ERROR options flags are too long",
	StatusMetaToken:       "CLIENT_ERROR bad token in command line format",
	StatusMetaKey:         "CLIENT_ERROR error decoding key",
	StatusMetaOpaque:      "CLIENT_ERROR opaque token too long",
	StatusMetaInitial:     "CLIENT_ERROR invalid numeric initial value",
	StatusMetaDelta:       "CLIENT_ERROR invalid numeric delta value",
	StatusMetaArith:       "CLIENT_ERROR invalid or duplicate flag",
	StatusMetaMode:        "CLIENT_ERROR invalid mode for ms M token",
	StatusArithMode:       "CLIENT_ERROR invalid mode for ma M token",
	StatusBadLength:       "CLIENT_ERROR bad lengths",
	StatusBadPacket:       "CLIENT_ERROR bad packet",
	StatusTooLarge:        "SERVER_ERROR object too large for cache",
	StatusOutOfMemory:     "SERVER_ERROR out of memory storing object",
	StatusFlushDisabled:   "CLIENT_ERROR flush_all not allowed",
	StatusShutdown:        "ERROR: shutdown not enabled",
	StatusDumpDisabled:    "CLIENT_ERROR stats cachedump not allowed",
	StatusUnauthenticated: "CLIENT_ERROR unauthenticated",
	StatusAuthFailed:      "CLIENT_ERROR authentication failure",
	StatusAuthContinue:    "CLIENT_ERROR authentication failure",
	StatusAuthTooLong:     "CLIENT_ERROR auth token too long",
	StatusAuthFormat:      "CLIENT_ERROR bad authentication token format",
	StatusAuthEnd:         "CLIENT_ERROR bad command line termination",
	StatusReadNotAllowed:  "CLIENT_ERROR read not allowed",
	StatusWriteNotAllowed: "CLIENT_ERROR write not allowed",
	StatusNotAllowed:      "CLIENT_ERROR not allowed",
	StatusWantsTLS:        "CLIENT_ERROR this port wants TLS",
	StatusTooManyConns:    "ERROR Too many open connections",
	StatusTimedOut:        "SERVER_ERROR timed out",
	StatusOutcomeUnknown:  "SERVER_ERROR outcome unknown",
	StatusBusy:            "SERVER_ERROR too many requests are waiting",
	StatusShuttingDown:    "SERVER_ERROR shutting down",
	StatusInternal:        "SERVER_ERROR internal error",
	StatusCorrupt:         "SERVER_ERROR stored value is damaged",
	StatusUnsupported:     "SERVER_ERROR not supported by the server",
}

// String returns the text protocol's line without its end.
func (s Status) String() string {
	if int(s) < len(statusText) {
		return statusText[s]
	}
	return statusText[StatusInternal]
}

// IsError says whether the status is a fault and not an outcome: in the answer
// to a list of keys it takes the place of all that would follow.
func (s Status) IsError() bool { return s > StatusNotStored }

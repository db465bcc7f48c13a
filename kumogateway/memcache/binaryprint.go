package memcache

import (
	"bytes"
	"encoding/binary"
)

// binaryStatus is what the binary protocol calls a status, and the text that
// stands behind it. Those beyond 0x82 are not memcached's but of the protocol's
// description, which libraries know: what one memcached on its own cannot say.
type binaryStatus struct {
	code uint16
	text string
}

var binaryStatuses = [numStatuses]binaryStatus{
	StatusNotFound:      {0x01, "Not found"},
	StatusExists:        {0x02, "Data exists for key."},
	StatusTooLarge:      {0x03, "Too large."},
	StatusBadPacket:     {0x04, "Invalid arguments"},
	StatusBadFormat:     {0x04, "Invalid arguments"},
	StatusNotStored:     {0x05, "Not stored."},
	StatusNonNumeric:    {0x06, "Non-numeric server-side value for incr or decr"},
	StatusFlushDisabled: {0x20, "Auth failure."},
	StatusAuthFailed:    {0x20, "Auth failure."},

	StatusUnauthenticated: {0x20, "Auth failure."},
	StatusReadNotAllowed:  {0x20, "Read not allowed."},
	StatusWriteNotAllowed: {0x20, "Write not allowed."},
	StatusNotAllowed:      {0x20, "Not allowed."},
	StatusAuthContinue:    {0x21, ""},
	StatusUnknownCommand:  {0x81, "Unknown command"},
	StatusBadLength:       {0x81, "Unknown command"},
	StatusOutOfMemory:     {0x82, "Out of memory"},
	StatusUnsupported:     {0x83, "Not supported"},
	StatusCorrupt:         {0x84, "Stored value is damaged"},
	StatusOutcomeUnknown:  {0x84, "Outcome unknown"},
	StatusBusy:            {0x85, "Too many requests are waiting"},
	StatusTimedOut:        {0x86, "Timed out"},
	StatusShuttingDown:    {0x86, "Shutting down"},
}

// binaryStatusOf is the status of an answer. Where a condition on presence
// failed it says which.
func binaryStatusOf(r *Request, s Status) binaryStatus {
	switch {
	case s == StatusNotStored && r.Op == OpAdd:
		s = StatusExists
	case s == StatusNotStored && r.Op == OpReplace, s == StatusDumpDisabled, s == StatusStatsDetail,
		s == StatusUnknownCommand && r.Op == OpStats:
		s = StatusNotFound
	}
	if b := binaryStatuses[s]; b.code != 0 {
		return b
	}
	return binaryStatus{0x84, "Internal error"}
}

// AppendBinary appends the answer to r in the binary protocol. The key is
// needed where the opcode has it returned.
func AppendBinary(dst []byte, r *Request, a *Reply) []byte {
	if r.Noreply {
		return dst
	}
	var o opcode
	if int(r.Opcode) < len(opcodes) {
		o = opcodes[r.Opcode]
	}
	get := r.Op == OpGet || r.Op == OpGetAndTouch
	if a.Status != StatusOK {
		if get && a.Status == StatusNotFound {
			if r.Quiet {
				return dst
			}
			if o.key {
				return append(appendPacket(dst, r, 0x01, 0, len(r.Key), 0, 0), r.Key...)
			}
		}
		b := binaryStatusOf(r, a.Status)
		return append(appendPacket(dst, r, b.code, 0, 0, len(b.text), 0), b.text...)
	}
	switch {
	case get:
		var key []byte
		if o.key {
			key = r.Key
		}
		dst = appendPacket(dst, r, 0, 4, len(key), len(a.Value), a.CAS)
		dst = binary.BigEndian.AppendUint32(dst, a.Flags)
		return append(append(dst, key...), a.Value...)
	case r.Quiet:
		return dst
	case r.Op == OpTouch:
		return binary.BigEndian.AppendUint32(appendPacket(dst, r, 0, 4, 0, 0, a.CAS), a.Flags)
	case r.Op == OpIncr, r.Op == OpDecr:
		return binary.BigEndian.AppendUint64(appendPacket(dst, r, 0, 0, 0, 8, a.CAS), a.Number)
	case r.Op == OpVersion, r.Op == OpMechanisms, r.Op == OpAuth:
		return append(appendPacket(dst, r, 0, 0, 0, len(a.Value), 0), a.Value...)
	case r.Op == OpStats:
		return appendBinaryStats(dst, r, a.Value)
	case r.Op.IsStore():
		return appendPacket(dst, r, 0, 0, 0, 0, a.CAS)
	}
	return appendPacket(dst, r, 0, 0, 0, 0, 0)
}

// appendPacket appends the header of an answer whose body has parts of these
// lengths.
func appendPacket(dst []byte, r *Request, status uint16, extra, key, value int, cas uint64) []byte {
	dst = append(dst, magicReply, r.Opcode)
	dst = binary.BigEndian.AppendUint16(dst, uint16(key))
	dst = append(dst, byte(extra), 0)
	dst = binary.BigEndian.AppendUint16(dst, status)
	dst = binary.BigEndian.AppendUint32(dst, uint32(extra+key+value))
	dst = binary.BigEndian.AppendUint32(dst, r.Opaque)
	return binary.BigEndian.AppendUint64(dst, cas)
}

// appendBinaryStats makes a packet of each line of a text, and one without a
// key, which is the end.
func appendBinaryStats(dst []byte, r *Request, text []byte) []byte {
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		name, value, ok := bytes.Cut(bytes.TrimPrefix(line, []byte("STAT ")), []byte(" "))
		if ok && len(name) > 0 && len(line) > len(name)+len(value)+1 {
			dst = appendPacket(dst, r, 0, 0, len(name), len(value), 0)
			dst = append(append(dst, name...), value...)
		}
	}
	return appendPacket(dst, r, 0, 0, 0, 0, 0)
}

// AppendBinaryRequest appends r as a client writes it: the inverse of
// BinaryParser.Next for requests other than errors. The opcode counts, and not
// the operation.
func AppendBinaryRequest(dst []byte, r *Request) []byte {
	if r.Op == OpAuth {
		return appendBinaryAuth(dst, r)
	}
	o := &opcodes[r.Opcode]
	key := r.Key
	if r.Op == OpStats {
		key = r.Args
	}
	dst = append(dst, magicRequest, r.Opcode)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(key)))
	dst = append(dst, o.extra, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(int(o.extra)+len(key)+len(r.Value)))
	dst = binary.BigEndian.AppendUint32(dst, r.Opaque)
	dst = binary.BigEndian.AppendUint64(dst, r.CAS)
	switch {
	case o.extra == 8:
		dst = binary.BigEndian.AppendUint32(dst, r.Flags)
		dst = binary.BigEndian.AppendUint32(dst, uint32(r.Exptime))
	case o.extra == 20:
		fresh := uint32(r.Fresh)
		if !r.Vivify {
			fresh = noCreation
		}
		dst = binary.BigEndian.AppendUint64(dst, r.Delta)
		dst = binary.BigEndian.AppendUint64(dst, r.Initial)
		dst = binary.BigEndian.AppendUint32(dst, fresh)
	case o.extra == 4:
		dst = binary.BigEndian.AppendUint32(dst, uint32(r.Exptime))
	}
	return append(append(dst, key...), r.Value...)
}

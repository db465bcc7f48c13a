package bus

import "errors"

// Outbox collects items and sends those for the same destination as one frame
// at Flush. It belongs to one goroutine, a loop that works in turns: no locks,
// and nothing is allocated once its buffers have grown.
//
//	buf := o.Begin(node, subject, replySubject, id)
//	buf = appendBody(buf) // exactly one msgpack value
//	o.End(buf)
//	...
//	err := o.Flush()
type Outbox struct {
	b         *Bus
	clusterID func() uint64
	limit     int // see Limit

	frames map[destination]*outFrame
	order  []*outFrame // those with items, in the order of their first
	turn   uint64      // counts Flush
	cur    *outFrame   // between Begin and End
	start  int         // where the item of Begin starts in cur.buf
	curSub string      // the subject given to Begin
	last   *outFrame   // saves the map lookup for runs to one destination
	errs   []error     // of frames that left early, for Flush
}

// destination is what items are merged by.
type destination struct{ dest, reply string }

// outFrame is a frame in the making.
type outFrame struct {
	destination
	subject string
	buf     []byte
	count   uint32
	countAt int    // offset of the count in buf
	listed  bool   // in order
	used    uint64 // the turn that last put something in
}

const (
	// keepBuffer is the largest buffer in bytes that is kept for reuse.
	keepBuffer = 2 << 20
	// forgetAfter is the number of turns after which an idle destination is
	// forgotten.
	forgetAfter = 4096
	// maxItems keeps the count within what a frame needs.
	maxItems = 1 << 20
)

// NewOutbox makes an outbox. clusterID is asked once for every frame.
func (b *Bus) NewOutbox(clusterID func() uint64) *Outbox {
	return &Outbox{b: b, clusterID: clusterID, limit: frameBytes, frames: make(map[destination]*outFrame)}
}

// Limit sets how many bytes are gathered in a frame, 1 MiB and a little otherwise;
// what is larger leaves alone.
func (o *Outbox) Limit(bytes int) *Outbox {
	o.limit = min(bytes, frameBytes)
	return o
}

// Begin starts an item and returns the buffer to append its body to: exactly
// one msgpack value. End takes the buffer back; nothing else may be called in
// between.
//
// dest is the key under which items are merged: a node, or a reply subject.
// subject is used if the item is the first of its frame. reply is where answers
// go, empty for none. id is repeated by the answer, 0 for none.
func (o *Outbox) Begin(dest, subject, reply string, id uint64) []byte {
	f := o.frame(destination{dest, reply})
	if f.count == 0 {
		f.subject = subject
		f.used = o.turn
		f.buf, f.countAt = appendFrameHead(f.buf[:0], o.clusterID(), reply)
		if !f.listed { // as it is after an item that had no End
			f.listed = true
			o.order = append(o.order, f)
		}
	}
	o.cur, o.start, o.curSub = f, len(f.buf), subject
	return appendItemHead(f.buf, id)
}

// End takes back the buffer that Begin gave, with the body appended.
func (o *Outbox) End(buf []byte) {
	f := o.cur
	o.cur = nil
	if len(buf) > o.limit && f.count > 0 || f.count == maxItems {
		// The frame leaves without this item, which begins the next one.
		f.buf = buf[:o.start]
		o.send(f)
		f.buf = append(buf[:f.countAt+4], buf[o.start:]...) // in the same memory, further up front
		f.count, f.subject = 1, o.curSub
		return
	}
	f.buf = buf
	f.count++
}

// Add is Begin and End around a function that appends the body.
func (o *Outbox) Add(dest, subject, reply string, id uint64, appendBody func([]byte) []byte) {
	o.End(appendBody(o.Begin(dest, subject, reply, id)))
}

// Flush sends what was collected, a frame for each destination. Frames that
// could not be sent are lost, and the error tells of them: ErrDisconnected,
// ErrTooLarge for an item that no frame can carry, or ErrClosed.
func (o *Outbox) Flush() error {
	for _, f := range o.order {
		o.send(f)
		f.count, f.listed = 0, false
		if cap(f.buf) > keepBuffer {
			f.buf = nil
		}
	}
	clear(o.order)
	o.order = o.order[:0]
	o.turn++
	if o.turn%forgetAfter == 0 {
		o.forget()
	}
	err := errors.Join(o.errs...)
	o.errs = o.errs[:0]
	return err
}

// frame finds the frame for a destination.
func (o *Outbox) frame(d destination) *outFrame {
	if o.last != nil && o.last.destination == d {
		return o.last
	}
	f := o.frames[d]
	if f == nil {
		f = &outFrame{destination: d}
		o.frames[d] = f
	}
	o.last = f
	return f
}

func (o *Outbox) send(f *outFrame) {
	patchCount(f.buf, f.countAt, f.count)
	o.b.sent.add(f.count, len(f.buf))
	done, err := o.b.hand(f.subject, f.buf)
	if !done {
		err = o.b.Publish(f.subject, f.buf)
	}
	if err != nil {
		o.errs = append(o.errs, err)
	}
}

// forget drops the buffers of destinations that were not used lately.
func (o *Outbox) forget() {
	o.last = nil
	for d, f := range o.frames {
		if o.turn-f.used > forgetAfter {
			delete(o.frames, d)
		}
	}
}

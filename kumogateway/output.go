package kumogateway

import (
	"errors"
	"syscall"
	"time"
)

// flush writes what is ready, if nobody does so already.
func (c *conn) flush() {
	c.mu.Lock()
	c.leave()
	c.mu.Unlock()
}

// parses says that the reader is at work on what came, so that answers leave
// together when it is done; and parsed that it is.
func (c *conn) parses() {
	c.nowFor = 0
	c.mu.Lock()
	c.parsing = true
	c.mu.Unlock()
}

func (c *conn) parsed() {
	c.mu.Lock()
	c.parsing = false
	c.leave()
	c.mu.Unlock()
}

// aside lets the reader wait for f. Whatever the reader waits for, it does so here,
// in pause or in fill, so that answers which are there do not wait with it.
func (c *conn) aside(f func()) {
	c.parsed()
	f()
	c.parses()
}

// leave is flush with mu held. What has grown large leaves in any case.
func (c *conn) leave() {
	if c.parsing && len(c.out) < listOut {
		return
	}
	if len(c.out) > 0 && !c.writing && !c.broken && !c.partial() {
		c.write()
	}
}

// Flush writes the answers that came in one frame.
func (c *conn) Flush() {
	c.mu.Lock()
	c.put = false
	c.leave()
	c.count()
	if c.waits {
		c.changed.Signal()
	}
	c.mu.Unlock()
}

// write sends the output as far as the socket takes it without waiting, and
// leaves the rest to a goroutine that ends with it: whoever calls delivers the
// answers of other clients too. Called with mu held, which it lets go while it
// writes.
func (c *conn) write() {
	c.writing = true
	for len(c.out) > 0 && !c.broken {
		b := c.out
		c.out, c.spare = c.spare[:0], nil
		c.written = len(b)
		if c.sealed != nil { // which cannot write a part of something without waiting
			c.waitFor(b, 0)
			return
		}
		c.mu.Unlock()
		n, err := c.try(b)
		c.mu.Lock()
		c.stats.bytesWritten += uint64(n)
		c.written -= n
		if err != nil {
			c.fail()
			break
		}
		if n < len(b) {
			c.waitFor(b, n)
			return
		}
		c.reuse(b)
	}
	c.writing = false
	c.count()
}

// try writes what the socket takes at once. Only the writer calls it.
func (c *conn) try(b []byte) (n int, err error) {
	c.trying, c.tried, c.tryErr = b, 0, nil
	err = c.raw.Write(c.tryFunc)
	c.trying = nil
	if c.tryErr != nil {
		err = c.tryErr
	}
	return c.tried, err
}

// tryOn is try with the file descriptor in hand. It is made a function value
// once, since a closure for each write would be allocated. It returns true:
// whatever came of it, there is nothing to wait for.
func (c *conn) tryOn(fd uintptr) bool {
	for c.tried < len(c.trying) {
		n, err := give(int(fd), c.trying[c.tried:])
		switch {
		case n > 0:
			c.tried += n
		case errors.Is(err, syscall.EAGAIN), err == nil:
			return true
		default:
			c.tryErr = err
			return true
		}
	}
	return true
}

// waitFor has the rest of b written as fast as the client takes it. Called with mu
// held.
func (c *conn) waitFor(b []byte, from int) {
	c.holding = cap(b)
	c.count()
	c.writer.Add(1)
	go c.writeRest(b, from)
}

// writeRest writes in a goroutine of its own until all output has left, of b what
// is behind from. It does so in parts, that it is seen what the client takes.
func (c *conn) writeRest(b []byte, from int) {
	defer c.writer.Done()
	for {
		n, err := c.nc.Write(b[from:min(len(b), from+outBuffer)])
		from += n
		c.mu.Lock()
		c.stats.bytesWritten += uint64(n)
		switch {
		case err != nil:
			c.fail()
		case c.broken:
			c.written = 0
		case from < len(b):
			c.written = len(b) - from
		default:
			c.written = 0
			c.reuse(b)
		}
		if c.broken || from == len(b) {
			c.holding = 0
		}
		c.count()
		if c.broken || from == len(b) && len(c.out) == 0 {
			c.writing = false
			c.changed.Signal()
			c.mu.Unlock()
			return
		}
		if from == len(b) {
			b, from = c.out, 0
			c.out, c.spare = c.spare[:0], nil
			c.written, c.holding = len(b), cap(b)
			c.count()
		}
		c.changed.Signal()
		c.mu.Unlock()
	}
}

// endStalled ends a connection whose client has taken nothing of its answers for
// too long: for longer than a connection may be idle, or while all such answers
// together take more memory than they should. So it does with one that sends a
// large request for too long. It is called every second or so.
func (c *conn) endStalled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.halfForTooLong(now) {
		c.stats.idleKicks++
		c.fail()
		c.count()
		return
	}
	if !c.writing || c.broken || c.stats.bytesWritten != c.takenAt {
		c.takenAt, c.tookAt = c.stats.bytesWritten, now
		return
	}
	o, stalled := &c.g.o, now.Sub(c.tookAt)
	if idle := c.g.lim.silence(); idle > 0 && stalled > idle || stalled > o.StallTimeout && c.g.answers.Load() > int64(o.MaxAnswers) {
		c.stats.idleKicks++
		c.fail()
		c.count()
	}
}

// halfForTooLong tells whether a large request has taken too long to come, while
// such requests together take memory that others need: however few bytes come now
// and then.
func (c *conn) halfForTooLong(now time.Time) bool {
	since := c.halfSince.Load()
	return since > 0 && !c.broken && now.UnixNano()-since > int64(c.g.o.StallTimeout) && c.g.reading.Load() > int64(c.g.o.MaxHeld)/2
}

// fail marks the connection broken; the reader ends when it reads next, and closes
// it. Called with mu held.
func (c *conn) fail() {
	c.broken = true
	c.out, c.written = nil, 0
	c.changed.Signal()
	// To close it would be to wait for the reader, and with TLS to take its leave.
	if s, ok := c.sock.(interface {
		CloseRead() error
		CloseWrite() error
	}); ok {
		s.CloseRead()
		s.CloseWrite()
	}
	c.sock.SetDeadline(time.Unix(1, 0))
}

// replyHead is about how many bytes an answer has beside its key and value.
const replyHead = 64

// widen makes room for so many bytes more of output, if they fit into a buffer that
// all connections share. Called with mu held, as is reuse.
func (c *conn) widen(more int) {
	if size := len(c.out) + more; size <= cap(c.out) || size <= keepOut || size > outBuffer {
		return
	}
	old := c.out
	c.out = append(c.g.outs.Get().(*outBuf)[:0], old...)
	c.reuse(old)
}

// reuse keeps a buffer for the next output.
func (c *conn) reuse(b []byte) {
	switch {
	case cap(b) == outBuffer:
		c.g.outs.Put((*outBuf)(b[:outBuffer]))
	case cap(b) <= keepOut:
		c.spare = b[:0]
	}
}

package kumogateway

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/etolabo/kumofs/kumogateway/memcache"
)

// ahead is how many bytes a buffer may be larger than twice what has come: a
// client that announces a large value has to send it before it takes memory.
const ahead = 64 << 10

// spread makes room for more input, in a buffer that grows towards what the parser
// wants. It returns false where the parser is to go on without.
func (c *conn) spread() bool {
	want := 0
	if c.parser != nil {
		want = c.parser.Want()
	}
	need := max(want, c.w-c.r+1)
	if c.r == c.w {
		c.halfSince.Store(0)
	} else if len(c.buf) > readBuffer && c.halfSince.Load() == 0 {
		c.halfSince.Store(time.Now().UnixNano())
	}
	switch {
	case c.r == c.w:
		c.r, c.w = 0, 0
		if len(c.buf) != readBuffer && need <= readBuffer {
			if c.small++; c.small == keepFills || len(c.buf) > keepRead || c.g.reading.Load() > int64(c.g.o.MaxHeld)/4 {
				c.use(c.g.buffers.Get().(*readBuf)[:])
			}
		}
	case c.r > 0 && c.r+need > len(c.buf):
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w-c.r == len(c.buf) {
		size := 2*len(c.buf) + ahead
		if want > 0 {
			size = min(size, need)
		}
		if want > 0 && c.g.reading.Load()+int64(size-len(c.buf)) > int64(c.g.o.MaxHeld) {
			c.parser.Refuse(memcache.StatusBusy)
			return false
		}
		grown := make([]byte, size)
		c.w, c.r = copy(grown, c.buf[c.r:c.w]), 0
		c.use(grown)
		c.small = 0
	}
	return true
}

// work executes what has come, see came, and makes room for more. It returns false
// when the connection is over.
func (c *conn) work() bool {
	for {
		if !c.requests() {
			c.over = true
			return false
		}
		if c.spread() {
			return true
		}
		c.parses()
	}
}

// keepHalf is how many bytes of a request that has half come are kept without a
// buffer.
const keepHalf = 256

// receive works on input until the connection is over or cannot be read, or until
// the client was silent for too long.
func (c *conn) receive() error {
	if c.sealed != nil {
		n, err := c.receiveSealed()
		if n > 0 && c.came(n) {
			c.work()
			return nil
		}
		return err
	}
	c.workErr = nil
	if err := c.raw.Read(c.workFunc); err != nil {
		return err
	}
	return c.workErr
}

// workOn is receive with the file descriptor in hand; false waits until there is
// something to take. It is made a function value once, as tryOn is.
//
// All of a connection's work is done in here, since raw.Read begins with forgetting
// that something came meanwhile, and whoever returns to it has to look. While it
// only waits nothing is forgotten, so that one that has taken all can wait without a
// system call. While an idle or slow client is waited for there is no buffer.
func (c *conn) workOn(fd uintptr) bool {
	for {
		if c.buf == nil {
			c.use(c.g.buffers.Get().(*readBuf)[:])
			c.r, c.w = 0, copy(c.buf, c.half)
			c.half = c.half[:0]
		}
		n, more, err := c.intake.take(int(fd), c.buf[c.w:])
		switch {
		case errors.Is(err, syscall.EAGAIN):
			more = false
		case n == 0 && err == nil:
			c.workErr = io.EOF
			return true
		case err != nil:
			c.workErr = err
			return true
		default:
			if !c.came(n) {
				c.workErr = net.ErrClosed
				return true
			}
			if !c.work() {
				return true
			}
			if c.workErr = c.deadline(); c.workErr != nil {
				return true
			}
		}
		if more && !c.stopping() {
			continue // until shut: a client that never stops must not go on
		}
		if c.w-c.r <= keepHalf && len(c.buf) == readBuffer {
			c.half = append(c.half, c.buf[c.r:c.w]...)
			c.use(nil)
		}
		return false
	}
}

// stopping tells whether the reader is to read no more.
func (c *conn) stopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing || c.broken
}

// came takes note of input, which is going to be parsed; false: the connection is
// broken.
func (c *conn) came(n int) bool {
	c.w += n
	c.nowFor = 0
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.bytesRead += uint64(n)
	c.probed = false
	c.parsing = !c.broken
	return c.parsing
}

// trim gives back what a connection keeps for its next requests if none has come
// since the last call.
func (c *conn) trim() {
	c.mu.Lock()
	defer c.mu.Unlock()
	read := c.stats.bytesRead
	if read == c.idleAt && c.head == c.tail && !c.writing && len(c.out) == 0 {
		c.out, c.spare, c.free, c.spareBytes = nil, nil, nil, 0
		clear(c.ring)
		if len(c.ring) > firstRing {
			c.ring = make([]*op, firstRing)
		}
		c.probe()
	}
	c.idleAt = read
}

// probe has the reader look once for an end of input of which it may not hear: one
// that came together with the last input, see workOn. Called with mu held.
func (c *conn) probe() {
	if c.sealed == nil && !c.probed && !c.closing && !c.broken {
		c.probed, c.poked = true, true
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// use goes on with another buffer for what is read, or ends with none. Those
// that are larger than usual are counted.
func (c *conn) use(buf []byte) {
	if len(c.buf) == readBuffer {
		c.g.buffers.Put((*readBuf)(c.buf))
	}
	if d := max(len(buf), readBuffer) - max(len(c.buf), readBuffer); d != 0 {
		c.g.reading.Add(int64(d))
	}
	c.buf = buf
}

// deadline sets the time until which the client may be silent.
func (c *conn) deadline() error {
	idle := c.silence()
	if idle == 0 && !c.limited {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.broken { // its deadline has been set
		return nil
	}
	c.limited, c.until = idle > 0, time.Time{} // no longer
	if c.limited {
		c.until = time.Now().Add(idle)
	}
	return c.nc.SetReadDeadline(c.until)
}

// silence is for how long the client may be silent from now on; 0: for ever. One
// that does not say who it is has to do so before long, or it would take the place
// of those that do.
func (c *conn) silence() time.Duration {
	idle := c.g.lim.silence()
	if c.g.users == nil || c.user != nil {
		return idle
	}
	left := max(1, loginFor-time.Since(c.began))
	if idle == 0 {
		return left
	}
	return min(idle, left)
}

// looked takes back the deadline of probe, and returns false if it was the client's
// that has passed.
func (c *conn) looked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.poked
	c.poked = false
	if !was || c.closing || c.broken || !c.until.IsZero() && !time.Now().Before(c.until) {
		return false
	}
	return c.nc.SetReadDeadline(c.until) == nil
}

// keep tells whether a silent connection stays open: its client may be waiting
// for an answer of ours.
func (c *conn) keep() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.broken {
		return false
	}
	if c.head == c.tail && !c.writing {
		c.stats.idleKicks++
		return false
	}
	return true
}

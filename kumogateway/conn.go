package kumogateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/etolabo/kumofs/kumogateway/memcache"
)

// conn is one client's connection. Requests are numbered as they come; ring
// holds those from head to tail, whose answers leave in that order.
type conn struct {
	g      *Gateway
	nc     net.Conn
	sock   net.Conn // the same without TLS
	raw    syscall.RawConn
	sealed *tls.Conn // the same as nc; nil: it is plain
	began  time.Time

	mu         sync.Mutex
	changed    sync.Cond // an answer came, output left, or the connection broke
	waits      bool      // the reader waits for changed
	ring       []*op     // a power of two
	head       uint64
	tail       uint64
	free       []*op
	spareBytes int        // of the buffers in free
	marks      [64]uint16 // outstanding operations by their hash's upper bits
	asked      int        // bytes of outstanding requests
	parked     int        // bytes of answers that wait for their turn
	guess      int        // bytes that the next answer may have
	spoiled    bool       // an error took the place of the rest of a list's answer
	out        []byte     // answers that can leave
	spare      []byte     // the buffer that out was before
	written    int        // bytes of out that are with the writer
	holding    int        // bytes of the buffer that a waiting writer has, what it has written of it too
	counted    int        // bytes of answers that the gateway's sum has of this connection
	uncounted  bool       // none any more: the connection has ended
	writing    bool       // somebody writes
	put        bool       // output waits for the rest of a frame of answers; see Flush
	parsing    bool       // the reader is at work, and writes output before it waits
	broken     bool       // nothing can be written any more
	writer     sync.WaitGroup
	stats      counters
	took       times

	halfSince atomic.Int64 // when a request began to come that needs a large buffer; 0: none does

	takenAt uint64    // stats.bytesWritten when the client took something last; see endStalled
	tookAt  time.Time // when that was seen

	idleAt uint64 // stats.bytesRead when it was last looked at; see trim
	probed bool   // it was looked at since it is idle; see probe
	poked  bool   // the reader is to look whether there is something

	// These belong to whoever set writing; see try.
	tryFunc func(fd uintptr) bool
	trying  []byte
	tried   int
	tryErr  error

	// The rest belongs to the reader.
	closing bool // Close was called; guarded by mu
	parser  parser
	req     memcache.Request
	buf     []byte // nil while an idle connection waits
	r, w    int    // what of buf is not parsed yet
	half    []byte
	small   int       // reads since a large buffer was needed
	limited bool      // there is a time until which the client may be silent
	until   time.Time // that time, the zero time if there is none
	key     []byte
	gap     int              // operations to the next that hotKeys hears of
	now     time.Time        // see clock
	nowFor  int              // requests more; 0: it was not looked at since the reader waited
	user    *account         // who the client is, where clients authenticate; nil: nobody yet
	grant   *grant           // what the user may do, as of the request that is carried out
	tries   int              // to authenticate that failed
	first   *[firstRead]byte // with TLS: what an idle client sends

	workFunc func(fd uintptr) bool // see receive
	over     bool                  // we are to close the connection
	workErr  error                 // why it cannot be read, or goes on no more
	intake   intake
}

// parser is one of memcache's.
type parser interface {
	Next(buf []byte, r *memcache.Request) (n int, ok bool)
	Want() int
	Refuse(memcache.Status)
	Admit()
}

const (
	readBuffer = 16 << 10
	firstRing  = 8 // requests that may be outstanding before ring grows; a power of two
	// A larger buffer is kept for keepFills reads that do not need it, if it
	// has at most keepRead bytes.
	keepRead  = 256 << 10
	keepFills = 64
	// keepBody is the largest request in bytes whose buffer is used again, keepBodies
	// what all of these may have, and keepOps how many operations are.
	keepBody   = 16 << 10
	keepBodies = 256 << 10
	keepOps    = 256
	// listOut is how many bytes of a list's answers leave together.
	listOut = 64 << 10
	// keepOut is the largest buffer of answers in bytes that a connection keeps.
	// Larger ones, of outBuffer, are all connections'.
	keepOut   = 16 << 10
	outBuffer = 2 * listOut
	// flushFor is how long a client that ended its half may take for the rest.
	flushFor = 30 * time.Second
	// lingerFor is how long, and lingerBytes how many bytes, a connection that
	// we close is still read, so that the last answer is not lost to a reset.
	lingerFor   = 500 * time.Millisecond
	lingerBytes = 1 << 20
)

func newConn(g *Gateway, nc net.Conn, secure bool) (*conn, error) {
	c := &conn{
		g: g, nc: nc, sock: nc, began: time.Now(),
		ring: make([]*op, firstRing),
		// Until sizes are known, answers are taken to be large, so that a first
		// burst cannot fill the memory.
		guess: g.o.MaxBuffered / 16,
		// Or the first answer, if endStalled came while it is written, would be one
		// that nobody has taken since ever.
		tookAt: time.Now(),
		gap:    hotGap(),
	}
	c.changed.L = &c.mu
	c.tryFunc, c.workFunc = c.tryOn, c.workOn
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, errors.New("connection without a file descriptor")
	}
	raw, err := sc.SyscallConn()
	if c.raw = raw; secure {
		c.seal()
	} else if err == nil {
		err = raw.Control(c.intake.begin)
	}
	return c, err
}

// serve reads requests until the connection ends, and returns when everything
// that it started has ended too.
func (c *conn) serve() {
	if c.sealed != nil {
		defer c.g.secure.open.Add(-1)
		if !c.handshake() {
			c.sock.Close()
			return
		}
	}
	err := c.read()
	c.mu.Lock()
	c.probed = true // what follows has deadlines of its own
	if err != nil && !errors.Is(err, io.EOF) {
		c.broken = c.broken || !c.closing
	}
	c.mu.Unlock()
	// A client that closed only its half, as nc does, gets its answers.
	c.nc.SetWriteDeadline(time.Now().Add(c.g.lim.operation() + flushFor))
	c.flush()
	// Whoever delivers an answer may still write, also where the reader has seen that
	// the connection is broken.
	c.await(func() bool { return c.head == c.tail && !c.writing && (c.broken || len(c.out) == 0) })
	c.writer.Wait()
	c.mu.Lock()
	c.uncount()
	c.mu.Unlock()
	if err == nil {
		c.linger()
	}
	c.nc.Close()
}

// linger ends our half and waits a moment for the client to end its own.
func (c *conn) linger() {
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		c.nc.SetReadDeadline(time.Now().Add(lingerFor))
		io.CopyN(io.Discard, c.nc, lingerBytes)
	}
}

// shut makes the connection end once what is outstanding has been answered.
func (c *conn) shut() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

// abort ends the connection at once.
func (c *conn) abort() {
	c.mu.Lock()
	c.fail()
	c.mu.Unlock()
}

// read receives and executes requests. It returns nil when we are to close the
// connection, and otherwise why it cannot be read.
func (c *conn) read() error {
	c.use(c.g.buffers.Get().(*readBuf)[:])
	defer func() { c.use(nil) }()
	err := c.deadline()
	for err == nil {
		err = c.receive()
		late := errors.Is(err, os.ErrDeadlineExceeded)
		switch {
		case c.over:
			return err
		case late && c.looked():
			err = nil
		case err == nil, late && c.keep():
			err = c.deadline()
		}
	}
	return err
}

// requests parses and executes what has come, until more has to come or, then it
// returns false, the connection is over. It is called while parsing.
func (c *conn) requests() bool {
	defer c.parsed()
	if c.parser == nil && !c.greet() {
		return false
	}
	for {
		n, ok := c.parser.Next(c.buf[c.r:c.w], &c.req)
		c.r += n
		if !ok {
			c.req.Key, c.req.Value, c.req.Args = nil, nil, nil // or an idle connection would keep the buffer
			return true
		}
		if c.req.Noreply && c.req.Close {
			c.stranger(c.buf[c.r-n : c.r]) // who is told nothing, as memcached's tests want it
		}
		if !c.execute(&c.req) || c.req.Close {
			return false
		}
	}
}

// greet finds out which protocol the client speaks.
func (c *conn) greet() bool {
	switch memcache.Sniff(c.buf[c.r]) {
	case memcache.SyntaxText:
		c.parser = &memcache.TextParser{MaxValue: c.g.o.MaxItemSize, Auth: c.g.users != nil}
	case memcache.SyntaxBinary:
		c.parser = &memcache.BinaryParser{MaxValue: c.g.o.MaxItemSize, Auth: c.g.users != nil}
	default:
		c.foreign(c.buf[c.r:c.w])
		return false
	}
	return true
}

// await blocks the reader until the condition, which is asked with mu held.
func (c *conn) await(cond func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !cond() {
		c.pause()
	}
}

// pause blocks the reader until something changed. Output that was left for
// later leaves first, since the change may depend on it. Called with mu held.
func (c *conn) pause() {
	if len(c.out) > 0 && !c.writing && !c.broken {
		c.write()
		return
	}
	was := c.parsing
	c.waits, c.parsing = true, false
	c.changed.Wait()
	c.waits, c.parsing = false, was
	c.nowFor = 0
}

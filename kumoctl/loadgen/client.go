package loadgen

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// fill sets this client's share of the keys.
func (c *client) fill(i, of int) error {
	for k := i; k < c.o.Keys; {
		n := 0
		for ; k < c.o.Keys && n < fillBatch; k += of {
			c.set(k)
			n++
		}
		if err := c.send(); err != nil {
			return err
		}
		for range n {
			if err := c.stored(); err != nil {
				return err
			}
		}
		if c.errors > 0 {
			return fmt.Errorf("the server says %s", c.firstError)
		}
	}
	return nil
}

// measure runs operations until a time and counts those that began after from.
func (c *client) measure(from, until time.Time) error {
	for {
		began := time.Now()
		if !began.Before(until) {
			return nil
		}
		if err := c.batch(); err != nil {
			return err
		}
		if began.Before(from) {
			c.hits, c.misses, c.errors, c.firstError = 0, 0, 0, ""
			continue
		}
		c.ops += int64(len(c.pending))
		if err := c.latency.RecordValue(min(time.Since(began).Microseconds(), maxMicros)); err != nil {
			return err
		}
	}
}

// batch sends a pipeline of requests and reads their answers.
func (c *client) batch() error {
	c.pending = c.pending[:0]
	for range c.o.Pipeline {
		isSet := c.o.Sets > 0 && c.random.Float64() < c.o.Sets
		if isSet {
			c.set(c.random.IntN(c.o.Keys))
		} else {
			c.get()
		}
		c.pending = append(c.pending, isSet)
	}
	if err := c.send(); err != nil {
		return err
	}
	for _, isSet := range c.pending {
		var err error
		if isSet {
			err = c.stored()
		} else {
			err = c.values()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *client) send() error {
	if err := c.conn.SetDeadline(time.Now().Add(ioTimeout)); err != nil {
		return err
	}
	return c.w.Flush()
}

// key writes a key's name. Errors of the buffered writer come out of Flush.
func (c *client) key(k int) {
	c.w.WriteString("key-")
	c.w.Write(strconv.AppendInt(c.w.AvailableBuffer(), int64(k), 10))
}

func (c *client) set(k int) {
	c.w.WriteString("set ")
	c.key(k)
	c.w.WriteString(" 0 0 ")
	c.w.Write(strconv.AppendInt(c.w.AvailableBuffer(), int64(len(c.value)), 10))
	c.w.WriteString("\r\n")
	c.w.Write(c.value)
	c.w.WriteString("\r\n")
}

func (c *client) get() {
	c.w.WriteString("get")
	for range c.o.MultiGet {
		c.w.WriteByte(' ')
		c.key(c.random.IntN(c.o.Keys))
	}
	c.w.WriteString("\r\n")
}

// stored reads the answer to a set.
func (c *client) stored() error {
	line, err := c.r.ReadSlice('\n')
	if err == nil && !bytes.Equal(line, []byte("STORED\r\n")) {
		c.fail(line)
	}
	return err
}

// values reads the answer to a get.
func (c *client) values() error {
	hits := 0
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(line, []byte("VALUE ")) {
			c.hits += int64(hits)
			c.misses += int64(c.o.MultiGet - hits)
			if !bytes.Equal(line, []byte("END\r\n")) {
				c.fail(line)
			}
			return nil
		}
		line = bytes.TrimRight(line, "\r\n")
		n, err := strconv.Atoi(string(line[bytes.LastIndexByte(line, ' ')+1:]))
		if err != nil {
			return fmt.Errorf("answer %q: %w", line, err)
		}
		if _, err := c.r.Discard(n + 2); err != nil {
			return err
		}
		hits++
	}
}

func (c *client) fail(line []byte) {
	if c.errors++; c.firstError == "" {
		c.firstError = string(bytes.TrimSpace(line))
	}
}

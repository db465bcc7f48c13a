package loadgen

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// A wire speaks one of memcached's protocols. What it writes cannot fail before
// the writer is flushed. An answer that says no is returned as refused; after any
// other error the connection is of no use.
type wire interface {
	set(w *bufio.Writer, key, value []byte)
	stored(r *bufio.Reader) error
	get(w *bufio.Writer, keys [][]byte)
	// values reads the answer to a get of n keys, and returns how many were there.
	values(r *bufio.Reader, n int) (hits int, err error)
}

// refused is an answer that says no.
type refused string

func (e refused) Error() string { return string(e) }

func refusal(line []byte) error { return refused(bytes.TrimSpace(line)) }

func newWire(protocol string) wire {
	switch protocol {
	case "meta":
		return meta{}
	case "binary":
		return &binaryWire{}
	}
	return text{}
}

func number(w *bufio.Writer, n int) { w.Write(strconv.AppendInt(w.AvailableBuffer(), int64(n), 10)) }

// want reads a line that should be this one.
func want(r *bufio.Reader, line string) error {
	got, err := r.ReadSlice('\n')
	if err == nil && string(got) != line {
		return refusal(got)
	}
	return err
}

// block skips the block of data that a line announces in one of its fields.
func block(r *bufio.Reader, size []byte) error {
	n, err := strconv.Atoi(string(size))
	if err != nil {
		return fmt.Errorf("answer with a block of %q bytes", size)
	}
	_, err = r.Discard(n + 2)
	return err
}

type text struct{}

func (text) set(w *bufio.Writer, key, value []byte) {
	w.WriteString("set ")
	w.Write(key)
	w.WriteString(" 0 0 ")
	number(w, len(value))
	w.WriteString("\r\n")
	w.Write(value)
	w.WriteString("\r\n")
}

func (text) stored(r *bufio.Reader) error { return want(r, "STORED\r\n") }

func (text) get(w *bufio.Writer, keys [][]byte) {
	w.WriteString("get")
	for _, k := range keys {
		w.WriteByte(' ')
		w.Write(k)
	}
	w.WriteString("\r\n")
}

func (text) values(r *bufio.Reader, _ int) (hits int, err error) {
	return records(r, "VALUE ", "END\r\n", false)
}

// records reads blocks, whose size is the last field of their line, until the
// line that ends them; a single one ends by itself.
func records(r *bufio.Reader, head, end string, single bool) (hits int, err error) {
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return hits, err
		case string(line) == end:
			return hits, nil
		case !bytes.HasPrefix(line, []byte(head)):
			return hits, refusal(line)
		}
		line = bytes.TrimSpace(line)
		if err := block(r, line[bytes.LastIndexByte(line, ' ')+1:]); err != nil {
			return hits, err
		}
		if hits++; single {
			return hits, nil
		}
	}
}

type meta struct{}

func (meta) set(w *bufio.Writer, key, value []byte) {
	w.WriteString("ms ")
	w.Write(key)
	w.WriteByte(' ')
	number(w, len(value))
	w.WriteString("\r\n")
	w.Write(value)
	w.WriteString("\r\n")
}

func (meta) stored(r *bufio.Reader) error { return want(r, "HD\r\n") }

// Several keys are several quiet gets and a no-operation.
func (meta) get(w *bufio.Writer, keys [][]byte) {
	for _, k := range keys {
		w.WriteString("mg ")
		w.Write(k)
		if len(keys) > 1 {
			w.WriteString(" v q\r\n")
		} else {
			w.WriteString(" v\r\n")
		}
	}
	if len(keys) > 1 {
		w.WriteString("mn\r\n")
	}
}

func (meta) values(r *bufio.Reader, n int) (hits int, err error) {
	if n == 1 {
		return records(r, "VA ", "EN\r\n", true)
	}
	return records(r, "VA ", "MN\r\n", false)
}

// binaryWire is memcached's binary protocol.
type binaryWire struct{ head [24]byte }

const (
	opGet  = 0x00
	opSet  = 0x01
	opNoop = 0x0a
	opGetQ = 0x09
)

func (b *binaryWire) request(w *bufio.Writer, op byte, extras int, key []byte, value int) {
	b.head = [24]byte{0: 0x80, 1: op, 4: byte(extras)}
	binary.BigEndian.PutUint16(b.head[2:], uint16(len(key)))
	binary.BigEndian.PutUint32(b.head[8:], uint32(extras+len(key)+value))
	w.Write(b.head[:])
	for range extras {
		w.WriteByte(0)
	}
	w.Write(key)
}

func (b *binaryWire) set(w *bufio.Writer, key, value []byte) {
	b.request(w, opSet, 8, key, len(value))
	w.Write(value)
}

func (b *binaryWire) get(w *bufio.Writer, keys [][]byte) {
	if len(keys) == 1 {
		b.request(w, opGet, 0, keys[0], 0)
		return
	}
	for _, k := range keys {
		b.request(w, opGetQ, 0, k, 0)
	}
	b.request(w, opNoop, 0, nil, 0)
}

// answer reads one, and skips its body. A miss is no refusal.
func (b *binaryWire) answer(r *bufio.Reader) (op byte, found bool, err error) {
	if _, err := io.ReadFull(r, b.head[:]); err != nil {
		return 0, false, err
	}
	if b.head[0] != 0x81 {
		return 0, false, fmt.Errorf("an answer that begins with %#x", b.head[0])
	}
	body := int(binary.BigEndian.Uint32(b.head[8:]))
	if status := binary.BigEndian.Uint16(b.head[6:]); status > 1 {
		text := make([]byte, min(body, 200))
		if _, err := io.ReadFull(r, text); err != nil {
			return 0, false, err
		}
		if _, err := r.Discard(body - len(text)); err != nil {
			return 0, false, err
		}
		return b.head[1], false, refused(fmt.Sprintf("status %d: %s", status, text))
	}
	_, err = r.Discard(body)
	return b.head[1], binary.BigEndian.Uint16(b.head[6:]) == 0, err
}

func (b *binaryWire) stored(r *bufio.Reader) error {
	_, _, err := b.answer(r)
	return err
}

func (b *binaryWire) values(r *bufio.Reader, n int) (hits int, err error) {
	var no error
	for {
		op, found, err := b.answer(r)
		if errors.As(err, new(refused)) {
			no, err = err, nil
		}
		if err != nil || op == opNoop {
			return hits, cmp.Or(err, no)
		}
		if found {
			hits++
		}
		if n == 1 {
			return hits, no
		}
	}
}

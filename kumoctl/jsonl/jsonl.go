// Package jsonl is records as lines of JSON, for export and import.
package jsonl

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/etolabo/kumofs/subjects"
)

// line is a record. Key and value are text, or base64 where they are no UTF-8.
type line struct {
	Key         *string `json:"key,omitempty"`
	KeyBase64   []byte  `json:"key_base64,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
	Flags       uint32  `json:"flags,omitempty"`
	Expiry      int64   `json:"expiry,omitempty"` // Unix seconds; left out: never
}

// Append appends a record and the line's end.
func Append(b []byte, r *subjects.Record) ([]byte, error) {
	l := line{Flags: r.Flags, Expiry: r.Expiry}
	l.Key, l.KeyBase64 = text(r.Key)
	l.Value, l.ValueBase64 = text(r.Value)
	w := bytes.NewBuffer(b)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	err := enc.Encode(&l)
	return w.Bytes(), err
}

func text(b []byte) (*string, []byte) {
	if !utf8.Valid(b) {
		return nil, b
	}
	s := string(b)
	return &s, nil
}

// maxLine is longer than any record: each byte of a value may be written as six.
const maxLine = 6*(subjects.MaxValue+subjects.MaxKey) + 4096

// Reader reads records.
type Reader struct {
	r    *bufio.Reader
	name string
	n    int
	buf  []byte
	size int64
}

// NewReader reads records from r, which errors call by its name.
func NewReader(r io.Reader, name string) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 256<<10), name: name}
}

// Size is how many bytes have been read.
func (r *Reader) Size() int64 { return r.size }

// Next returns the next record, which is valid until the next call; io.EOF after the
// last. Empty lines are passed over. Errors name the line.
func (r *Reader) Next() (subjects.Record, error) {
	for {
		text, err := r.line()
		if err == io.EOF && len(text) == 0 {
			return subjects.Record{}, io.EOF
		}
		r.n++
		if err != nil && err != io.EOF {
			return subjects.Record{}, r.fault(err)
		}
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		rec, err := parse(text)
		if err != nil {
			return rec, r.fault(err)
		}
		return rec, nil
	}
}

func (r *Reader) fault(err error) error { return fmt.Errorf("%s, line %d: %w", r.name, r.n, err) }

// line reads one, however long, into memory that is used again.
func (r *Reader) line() ([]byte, error) {
	r.buf = r.buf[:0]
	for {
		part, err := r.r.ReadSlice('\n')
		r.size += int64(len(part))
		if len(r.buf)+len(part) > maxLine {
			return nil, fmt.Errorf("it is longer than %d bytes", maxLine)
		}
		r.buf = append(r.buf, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return r.buf, err
		}
	}
}

func parse(text []byte) (rec subjects.Record, err error) {
	// Package json would put another character in the place of what is none.
	if !utf8.Valid(text) {
		return rec, errors.New("it is no UTF-8: write such keys and values as base64")
	}
	if loneSurrogate(text) {
		return rec, errors.New("half of a surrogate pair is no character: write such keys and values as base64")
	}
	var l line
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := l.read(dec); err == io.EOF { // which would be the end of all lines
		return rec, io.ErrUnexpectedEOF
	} else if err != nil {
		return rec, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return rec, errors.New("something is behind the record")
	}
	if rec.Key, err = one("key", l.Key, l.KeyBase64); err != nil {
		return rec, err
	}
	if rec.Value, err = one("value", l.Value, l.ValueBase64); err != nil {
		return rec, err
	}
	rec.Flags, rec.Expiry = l.Flags, l.Expiry
	switch {
	case len(rec.Key) == 0 || len(rec.Key) > subjects.MaxKey:
		return rec, fmt.Errorf("the key has %d bytes: want 1 to %d", len(rec.Key), subjects.MaxKey)
	case len(rec.Value) > subjects.MaxValue:
		return rec, fmt.Errorf("the value has %d bytes: want at most %d", len(rec.Value), subjects.MaxValue)
	case rec.Expiry < 0:
		return rec, fmt.Errorf("expiry %d: want Unix seconds, or 0 for never", rec.Expiry)
	}
	return rec, nil
}

// read takes each field once, by the name that it has: package json would take it in capitals too, and the last of several.
func (l *line) read(dec *json.Decoder) error {
	if t, err := dec.Token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return errors.New("it is no object")
	}
	seen := 0 // a bit for each field
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		field, bit := l.field(name)
		switch {
		case field == nil:
			return fmt.Errorf("unknown field %q", name)
		case seen&bit != 0:
			return fmt.Errorf("field %q is there twice", name)
		}
		seen |= bit
		if err := dec.Decode(field); err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
	}
	_, err := dec.Token()
	return err
}

// field returns where a field goes, nil if there is none of that name.
func (l *line) field(name string) (to any, bit int) {
	switch name {
	case "key":
		return &l.Key, 1
	case "key_base64":
		return &l.KeyBase64, 2
	case "value":
		return &l.Value, 4
	case "value_base64":
		return &l.ValueBase64, 8
	case "flags":
		return &l.Flags, 16
	case "expiry":
		return &l.Expiry, 32
	}
	return nil, 0
}

// loneSurrogate reports whether a \u escape is half of a pair without the other half.
func loneSurrogate(text []byte) bool {
	for high := false; ; {
		i := bytes.IndexByte(text, '\\')
		if high && i != 0 {
			return true
		}
		if i < 0 || len(text) < i+2 {
			return false
		}
		text = text[i:]
		r, size := rune(0), 2
		if text[1] == 'u' && len(text) >= 6 {
			n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
			if err != nil {
				return false // package json tells what is wrong
			}
			r, size = rune(n), 6
		}
		low := r >= 0xdc00 && r < 0xe000
		if high != low {
			return true
		}
		high = r >= 0xd800 && r < 0xdc00
		text = text[size:]
	}
}

// one returns what was given as text or in base64.
func one(name string, text *string, base64 []byte) ([]byte, error) {
	switch {
	case text != nil && base64 != nil:
		return nil, fmt.Errorf("it has both %s and %s_base64", name, name)
	case text != nil:
		return []byte(*text), nil
	case base64 != nil:
		return base64, nil
	}
	return nil, fmt.Errorf("it has neither %s nor %s_base64", name, name)
}

package memcache

import (
	"bytes"

	"github.com/etolabo/kumofs/subjects"
)

// A list of keys is taken key by key, so that a list of any length needs no
// more memory than one key.

// maxIndent is how many leading spaces memcached forgives before a list that
// does not fit a line.
const maxIndent = 100

// beginList starts on the list of a whole line, whose keys begin at start. If
// there is nothing to take from it, r is what to answer instead.
func (p *TextParser) beginList(t *tokens, line []byte, r *Request) (start int, ok bool) {
	if t.n < 2 {
		return 0, !fail(r, StatusUnknownCommand)
	}
	list := listOf(t.tok[0])
	start = t.end[0]
	if list.Op == OpGetAndTouch {
		if list.Exptime, ok = subjects.ParseInt(t.tok[1]); !ok {
			return 0, !fail(r, StatusBadExptime)
		}
		if t.n == 2 {
			r.Op = OpListEnd
			return 0, false
		}
		start = t.end[1]
	}
	if longKey(line[start:]) {
		return 0, !fail(r, StatusBadFormat)
	}
	p.list = list
	return start, true
}

// longKey says whether a word of the list is too long for a key. memcached
// answers such a list with one error and no values.
func longKey(list []byte) bool {
	if len(list) <= MaxKey {
		return false
	}
	start := 0
	for i, c := range list {
		if c == ' ' {
			start = i + 1
		} else if i-start >= MaxKey {
			return true
		}
	}
	return false
}

func listOf(word []byte) Request {
	return Request{Op: lookup(word), WantCAS: word[len(word)-1] == 's'}
}

// beginLong starts on a list whose line has not ended after MaxLine bytes. n
// is where the keys start.
func (p *TextParser) beginLong(buf []byte) (n int, ok bool) {
	word, n := nextWord(buf, 0)
	if len(word) == 0 || n-len(word) > maxIndent {
		return 0, false
	}
	list := listOf(word)
	if list.Op == OpGetAndTouch {
		var exptime []byte
		exptime, n = nextWord(buf, n)
		if list.Exptime, ok = subjects.ParseInt(exptime); !ok {
			return 0, false
		}
	}
	if list.Op != OpGet && list.Op != OpGetAndTouch {
		return 0, false
	}
	p.list = list
	return n, true
}

// nextWord returns the word at or after buf[i:] and the index after it; nil
// if it does not end in buf.
func nextWord(buf []byte, i int) (word []byte, end int) {
	for i < len(buf) && buf[i] == ' ' {
		i++
	}
	n := bytes.IndexByte(buf[i:], ' ')
	if n < 0 {
		return nil, len(buf)
	}
	return buf[i : i+n], i + n
}

// nextKey takes one key of the list that was begun.
func (p *TextParser) nextKey(buf []byte, r *Request) (n int, ok bool) {
	start := 0
	for start < len(buf) && buf[start] == ' ' {
		start++
	}
	end := start
	for end < len(buf) && buf[end] != ' ' && buf[end] != '\n' && end-start <= MaxKey+1 {
		end++
	}
	if end == len(buf) {
		if start < len(buf) {
			return start, false
		}
		return len(buf), false
	}
	*r = p.list
	p.list.Cont = true
	key := buf[start:end:end]
	if buf[end] == '\n' && len(key) > 0 && key[len(key)-1] == '\r' {
		key = key[:len(key)-1]
	}
	if len(key) == 0 {
		r.Op = OpListEnd
		p.list = Request{}
		return end + 1, true
	}
	if len(key) > MaxKey || bytes.IndexByte(key, 0) >= 0 {
		// Only a list longer than a line comes here, with its first values
		// perhaps answered already. The error takes the place of the end, and
		// the rest of the line is not waited for.
		r.Close = true
		p.list = Request{}
		return len(buf), fail(r, StatusBadFormat)
	}
	r.Key = key
	if buf[end] == ' ' {
		for end < len(buf) && buf[end] == ' ' {
			end++
		}
		if bytes.HasPrefix(buf[end:], []byte("\r\n")) {
			end++
		}
		if end == len(buf) || buf[end] != '\n' {
			r.More = true
			return end, true
		}
	}
	p.list = Request{}
	return end + 1, true
}

package chaos

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// value is what a key holds; the zero value is nothing.
//
// The answer to a write does not tell the token of the value that it made: it
// is 0 here until a gets has read it. That suffices to judge a cas, since a
// client learns a token by a gets that comes before its cas: a version whose
// token nobody has read is not the one that a cas asks for. Tokens of a key only
// grow, so that none comes twice.
type value struct {
	there  bool
	text   string
	token  uint64
	newest uint64 // of all tokens read so far
}

// Model is one key of memcached.
var Model = porcupine.Model{
	Init: func() any { return value{} },
	Step: func(state, input, _ any) (bool, any) {
		ok, next := state.(value).step(input.(*Op))
		return ok, next
	},
	DescribeOperation: func(input, _ any) string { return input.(*Op).describe() },
	DescribeState: func(state any) string {
		v := state.(value)
		if !v.there {
			return "nothing"
		}
		return fmt.Sprintf("%s at %x", short(v.text), v.token)
	},
}

// step tells whether the operation may have been answered so on this value, and
// what it leaves.
func (v value) step(o *Op) (bool, value) {
	if o.Verb == "get" || o.Verb == "gets" {
		return v.read(o)
	}
	want, number, next := v.after(o)
	switch {
	case o.Answer == answerOpen:
		return true, next
	case o.Answer == answerNumber:
		return want == answerNumber && o.Text == number, next
	}
	return o.Answer == want, next
}

func (v value) read(o *Op) (bool, value) {
	if o.Answer == answerMiss {
		return !v.there, v
	}
	if o.Answer != answerValue || !v.there || o.Text != v.text {
		return false, v
	}
	switch {
	case o.Verb == "get":
		return true, v
	case v.token != 0:
		return o.Token == v.token, v
	case o.Token <= v.newest:
		return false, v
	}
	v.token, v.newest = o.Token, o.Token
	return true, v
}

// after is memcached's table of outcomes: the answer that a write gets on this
// value, the number in it if it has one, and the value that it leaves.
func (v value) after(o *Op) (answer, number string, next value) {
	made := func(text string) value { return value{there: true, text: text, newest: v.newest} }
	stored := func(text string) (string, string, value) { return "STORED", "", made(text) }
	switch o.Verb {
	case "set":
		return stored(o.Value)
	case "add":
		if v.there {
			return "NOT_STORED", "", v
		}
		return stored(o.Value)
	case "replace", "append", "prepend":
		switch {
		case !v.there:
			return "NOT_STORED", "", v
		case o.Verb == "append":
			return stored(v.text + o.Value)
		case o.Verb == "prepend":
			return stored(o.Value + v.text)
		}
		return stored(o.Value)
	}
	if !v.there {
		return "NOT_FOUND", "", v
	}
	switch o.Verb {
	case "cas":
		if v.token != o.Cas {
			return "EXISTS", "", v
		}
		return stored(o.Value)
	case "delete":
		return "DELETED", "", value{newest: v.newest}
	case "touch":
		return "TOUCHED", "", v // its token with it
	case "incr", "decr":
		number, text, ok := counted(v.text, o.Verb, o.Delta)
		if !ok {
			return answerNonNumeric, "", v
		}
		return answerNumber, number, made(text)
	}
	panic("chaos: the model knows no " + o.Verb)
}

// counted is a counter's next number and text: one that gets shorter keeps its
// length, with spaces.
func counted(text, verb string, delta uint64) (number, next string, ok bool) {
	n, err := strconv.ParseUint(strings.TrimRight(text, " "), 10, 64)
	if err != nil {
		return "", "", false
	}
	switch {
	case verb == "incr":
		n += delta
	case n < delta:
		n = 0
	default:
		n -= delta
	}
	number = strconv.FormatUint(n, 10)
	return number, number + strings.Repeat(" ", max(0, len(text)-len(number))), true
}

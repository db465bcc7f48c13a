package chaos_test

import (
	"testing"

	"github.com/etolabo/kumofs/testenv/chaos"
)

// A history is written as what each operation asked, was told, and when.
func op(client int, call, ret int64, verb, value, answer, text string) *chaos.Op {
	return &chaos.Op{Client: client, Verb: verb, Key: "k", Value: value, Call: call, Ret: ret, Answer: answer, Text: text}
}

func gets(client int, call, ret int64, text string, token uint64) *chaos.Op {
	o := op(client, call, ret, "gets", "", "VALUE", text)
	o.Token = token
	return o
}

func cas(client int, call, ret int64, value string, token uint64, answer string) *chaos.Op {
	o := op(client, call, ret, "cas", value, answer, "")
	o.Cas = token
	return o
}

func incr(client int, call, ret int64, answer, text string) *chaos.Op {
	o := op(client, call, ret, "incr", "", answer, text)
	o.Delta = 1
	return o
}

// auditor is the client that reads at the end.
const auditor = 100

func TestJudge(t *testing.T) {
	tests := []struct {
		name string
		ops  []*chaos.Op
		want string // the verdict, "" for a history that may be
	}{
		{"one after the other", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), op(1, 3, 4, "append", "b", "STORED", ""),
			op(2, 5, 6, "get", "", "VALUE", "ab"), op(1, 7, 8, "delete", "", "DELETED", ""), op(2, 9, 10, "get", "", "END", ""),
		}, ""},
		{"a stale read", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), op(1, 3, 4, "set", "b", "STORED", ""), op(2, 5, 6, "get", "", "VALUE", "a"),
			op(auditor, 9, 10, "get", "", "VALUE", "b"),
		}, chaos.NotLinearizable},
		{"an old value while a set is under way", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), op(1, 3, 9, "set", "b", "STORED", ""),
			op(2, 4, 5, "get", "", "VALUE", "a"), op(2, 6, 7, "get", "", "VALUE", "b"),
		}, ""},
		{"back to the old value", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), op(1, 3, 9, "set", "b", "STORED", ""),
			op(2, 4, 5, "get", "", "VALUE", "b"), op(2, 6, 7, "get", "", "VALUE", "a"),
		}, chaos.NotLinearizable},
		{"an open write takes effect late", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), op(1, 3, 0, "set", "b", "?", ""),
			op(2, 4, 5, "get", "", "VALUE", "a"), op(auditor, 99, 100, "get", "", "VALUE", "b"),
		}, ""},
		{"an open write never takes effect", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), op(1, 3, 0, "append", "b", "?", ""), op(auditor, 99, 100, "get", "", "VALUE", "a"),
		}, ""},
		{"an open append takes effect twice", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), op(1, 3, 0, "append", "b", "?", ""), op(2, 4, 5, "get", "", "VALUE", "abb"),
		}, chaos.NotLinearizable},
		{"an answered incr takes effect twice", []*chaos.Op{
			op(1, 1, 2, "set", "5", "STORED", ""), incr(1, 3, 4, "NUMBER", "7"),
		}, chaos.NotLinearizable},
		{"counters lose no digit", []*chaos.Op{
			op(1, 1, 2, "set", "9", "STORED", ""), incr(1, 3, 4, "NUMBER", "10"), op(1, 5, 6, "get", "", "VALUE", "10"),
			op(1, 7, 8, "set", "x", "STORED", ""), incr(1, 9, 10, "NON-NUMERIC", ""),
		}, ""},
		{"a cas with the current token", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), gets(1, 3, 4, "a", 7), cas(1, 5, 6, "b", 7, "STORED"),
			gets(1, 7, 8, "b", 9), gets(2, 9, 10, "b", 9),
		}, ""},
		{"a cas with an old token", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), gets(1, 3, 4, "a", 7), op(2, 5, 6, "set", "b", "STORED", ""), cas(1, 7, 8, "c", 7, "STORED"),
		}, chaos.NotLinearizable},
		{"a cas that fails with the current token", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), gets(1, 3, 4, "a", 7), cas(1, 5, 6, "b", 7, "EXISTS"),
		}, chaos.NotLinearizable},
		{"a touched value keeps its token", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), gets(1, 3, 4, "a", 7), op(1, 5, 6, "touch", "", "TOUCHED", ""),
			gets(1, 7, 8, "a", 7), cas(1, 9, 10, "b", 7, "STORED"),
		}, ""},
		{"a touched value has another token", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), gets(1, 3, 4, "a", 7), op(1, 5, 6, "touch", "", "TOUCHED", ""), gets(1, 7, 8, "a", 8),
		}, chaos.NotLinearizable},
		{"a token of two values", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), gets(1, 3, 4, "a", 7), op(1, 5, 6, "set", "b", "STORED", ""), gets(1, 7, 8, "b", 7),
		}, chaos.NotLinearizable},
		{"a value with two tokens", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), gets(1, 3, 4, "a", 7), gets(1, 5, 6, "a", 8),
		}, chaos.NotLinearizable},
		{"an acknowledged write is lost", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), op(auditor, 9, 10, "get", "", "END", ""),
		}, chaos.Lost},
		{"an acknowledged write is undone", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), op(1, 3, 4, "set", "b", "STORED", ""), op(auditor, 9, 10, "get", "", "VALUE", "a"),
		}, chaos.Lost},
		{"a deleted key is back", []*chaos.Op{
			op(1, 1, 2, "set", "a", "STORED", ""), op(1, 3, 4, "delete", "", "DELETED", ""), op(auditor, 9, 10, "get", "", "VALUE", "a"),
		}, chaos.Resurrected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &chaos.History{}
			for _, o := range tt.ops {
				h.Add(o)
			}
			v := chaos.Judge(h)
			got := ""
			if len(v.Illegal) > 0 {
				got = chaos.Explain(tt.ops, auditor, t.TempDir()+"/drawn.html")
			}
			if got != tt.want || len(v.Undecided) > 0 {
				t.Errorf("judged %q, %d undecided, want %q:\n%s", got, len(v.Undecided), tt.want, chaos.Tell(tt.ops))
			}
		})
	}
}

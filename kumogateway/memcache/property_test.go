package memcache

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func drawRequest(t *rapid.T) []Request {
	keys := rapid.StringMatching(`[!-~]{1,20}`)
	r := Request{Op: rapid.SampledFrom([]Op{OpGet, OpGetAndTouch, OpSet, OpAdd, OpReplace, OpAppend,
		OpPrepend, OpCAS, OpDelete, OpIncr, OpDecr, OpTouch, OpVersion, OpVerbosity, OpStats,
		OpFlushAll, OpNoop}).Draw(t, "op")}
	exptime := rapid.Int64Range(-1, 1<<33)
	if r.Op.IsKeyed() {
		r.Key = []byte(keys.Draw(t, "key"))
	}
	switch {
	case r.Op == OpGet || r.Op == OpGetAndTouch:
		if r.Op == OpGetAndTouch {
			r.Exptime = exptime.Draw(t, "exptime")
		}
		r.WantCAS = rapid.Bool().Draw(t, "cas")
		list := make([]Request, rapid.IntRange(1, 40).Draw(t, "keys"))
		for i := range list {
			list[i] = r
			list[i].Key = []byte(keys.Draw(t, "key"))
			list[i].Cont, list[i].More = i > 0, i < len(list)-1
		}
		return list
	case r.Op.IsStore():
		r.Flags = rapid.Uint32().Draw(t, "flags")
		r.Exptime = exptime.Draw(t, "exptime")
		r.Value = clone(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value"))
		if r.Op == OpCAS {
			r.CAS = rapid.Uint64().Draw(t, "token")
		}
	case r.Op == OpIncr || r.Op == OpDecr:
		r.Delta = rapid.Uint64().Draw(t, "delta")
	case r.Op == OpTouch || r.Op == OpFlushAll:
		r.Exptime = exptime.Draw(t, "exptime")
	}
	if r.Op.IsStore() || r.Op >= OpDelete && r.Op <= OpTouch || r.Op == OpVerbosity || r.Op == OpFlushAll {
		r.Noreply = rapid.Bool().Draw(t, "noreply")
	}
	return []Request{r}
}

// What is printed is what is parsed, however the stream is cut.
func TestParsePrintIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []Request
		var in []byte
		for range rapid.IntRange(1, 8).Draw(t, "commands") {
			for _, r := range drawRequest(t) {
				want = append(want, r)
				in = AppendTextRequest(in, &r)
			}
		}
		got := parseAll(t, &TextParser{MaxValue: 300}, in, rapid.IntRange(1, 200).Draw(t, "piece"))
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("-want +got:\n%s\n%q", d, in)
		}
	})
}

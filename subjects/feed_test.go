package subjects

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What goes over the wire is what watchers in other languages read.
func TestFeedGolden(t *testing.T) {
	req := NewFeedRequest([]byte("user:"), true)
	if h := req.Hash(); h != "c1748cff553adec6-values" {
		t.Errorf("the feed's subject ends in %s", h)
	}
	binary := NewFeedRequest([]byte("\xff\x00"), false)
	entries := []Entry{
		{Version: Version{3, 41}, Clock: 1700000000000, Kind: EntryPut, Key: []byte("user:1"), Value: []byte("a\"b"), Flags: 7, Expiry: 1800000000, Answer: StatusOK},
		{Version: Version{3, 42}, Clock: 1700000000001, Kind: EntryPut, Key: []byte("user:\xff"), Value: []byte{0xff}, Token: 9, Answer: StatusOK},
		{Version: Version{3, 43}, Clock: 1700000000002, Kind: EntryDelete, Key: []byte("user:1"), Answer: StatusOK},
		{Version: Version{3, 44}, Clock: 1700000000003, Kind: EntryDelete, Key: []byte("user:2"), Answer: StatusNotFound},
		{Version: Version{3, 45}, Clock: 1700000000004, Kind: EntryFlush, Answer: StatusOK},
		{Version: Version{3, 46}, Kind: EntryNoop},
		{Version: Version{3, 47}, Kind: EntryAnswer, Key: []byte("user:1"), Answer: StatusNotFound},
	}
	span := FeedSpan{Partition: 5, After: Version{2, 40}, Through: Version{3, 47}}
	for i := range entries {
		if c, ok := ChangeOf(&entries[i], true); ok {
			span.Changes = append(span.Changes, c)
		}
	}
	for _, tt := range []struct {
		v    any
		want string
	}{
		{req, `{"prefix":"user:","values":true}`},
		{binary, `{"prefix_base64":"/wA="}`},
		{NewFeedRequest(nil, false), `{}`},
		{FeedReport{FeedRequest: req, Node: "10-0-0-1-19800", Boot: 0xb, Spans: []FeedSpan{span}}, `{"prefix":"user:","values":true,"node":"10-0-0-1-19800","boot":"000000000000000b","spans":[` +
			`{"partition":5,"after":{"epoch":2,"seq":40},"through":{"epoch":3,"seq":47},"changes":[` +
			`{"version":{"epoch":3,"seq":41},"time_ms":1700000000000,"kind":"set","key":"user:1","size":3,"flags":7,"expiry":1800000000,"cas":3298534883369,"value":"a\"b"},` +
			`{"version":{"epoch":3,"seq":42},"time_ms":1700000000001,"kind":"set","key_base64":"dXNlcjr/","size":1,"cas":9,"value_base64":"/w=="},` +
			`{"version":{"epoch":3,"seq":43},"time_ms":1700000000002,"kind":"delete","key":"user:1"},` +
			`{"version":{"epoch":3,"seq":44},"time_ms":1700000000003,"kind":"expire","key":"user:2"},` +
			`{"version":{"epoch":3,"seq":45},"time_ms":1700000000004,"kind":"flush"}]}]}`},
	} {
		got, err := json.Marshal(tt.v)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Error(diff)
		}
	}
	var back FeedRequest
	if err := json.Unmarshal([]byte(`{"prefix_base64":"/wA="}`), &back); err != nil || string(back.Key()) != "\xff\x00" || back.Hash() != binary.Hash() {
		t.Errorf("%+v: %v", back, err)
	}
}

// Values that are not asked for, or too large, are not told; their size is.
func TestChangeWithoutValue(t *testing.T) {
	e := Entry{Kind: EntryPut, Key: []byte("k"), Value: make([]byte, MaxFeedValue+1), Answer: StatusOK}
	for _, values := range []bool{false, true} {
		if c, _ := ChangeOf(&e, values); c.Value != nil || c.ValueBase64 != nil || c.Size != MaxFeedValue+1 {
			t.Errorf("%v: %d bytes", values, c.Size)
		}
	}
	e.Value = e.Value[:MaxFeedValue]
	if c, _ := ChangeOf(&e, true); c.Value == nil || len(*c.Value) != MaxFeedValue {
		t.Error("a value of the largest size is not told")
	}
	if r := NewFeedRequest(make([]byte, MaxKey+1), false); r.Check() == nil {
		t.Error("a prefix that no key has is taken")
	}
}

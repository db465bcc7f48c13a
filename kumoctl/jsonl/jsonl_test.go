package jsonl

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/etolabo/kumofs/subjects"
)

func TestRecordsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytesOf := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 1, 200), rapid.Map(rapid.StringN(1, 30, 200), func(s string) []byte { return []byte(s) }))
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) subjects.Record {
			return subjects.Record{
				Key: bytesOf.Draw(t, "key"), Value: rapid.OneOf(bytesOf, rapid.Just([]byte{})).Draw(t, "value"),
				Flags: rapid.Uint32().Draw(t, "flags"), Expiry: rapid.Int64Min(0).Draw(t, "expiry"),
			}
		}), 0, 5).Draw(t, "records")
		var text []byte
		for i := range want {
			var err error
			if text, err = Append(text, &want[i]); err != nil {
				t.Fatal(err)
			}
		}
		if n := bytes.Count(text, []byte("\n")); n != len(want) {
			t.Fatalf("%d lines of %d records", n, len(want))
		}
		r := NewReader(bytes.NewReader(text), "file")
		for _, w := range want {
			got, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatal(diff)
			}
		}
		if _, err := r.Next(); err != io.EOF || r.Size() != int64(len(text)) {
			t.Fatalf("%v after %d bytes of %d", err, r.Size(), len(text))
		}
	})
}

func TestErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		`{"key":"a"}`:   `neither value nor value_base64`,
		`{"value":"a"}`: `neither key nor key_base64`,
		`{"key":"a","key_base64":"YQ==","value":""}`: `both key and key_base64`,
		`{"key":"","value":""}`:                      `0 bytes: want 1 to 250`,
		`{"key":"a","value":"b","flags":-1}`:         `flags`,
		`{"key":"a","value":"b","expiry":-1}`:        `expiry -1`,
		`{"key":"a","value":"b","flgas":1}`:          `unknown field "flgas"`,
		`{"key":"a","value":"b","KEY":"c"}`:          `unknown field "KEY"`,
		`{"key":"a","value":"b","key":"c"}`:          `field "key" is there twice`,
		`["key","a"]`:                                `no object`,
		`{"key":"a"`:                                 `unexpected EOF`,
		`{`:                                          `unexpected EOF`,
		`{"key":"a","value":"b"} {}`:                 `behind the record`,
		`{"key":"a","value_base64":"?"}`:             `base64`,
		`nonsense`:                                   `invalid`,
		`{"key":"` + strings.Repeat("k", 251) + `","value":""}`: `251 bytes`,
		`{"key":"a`:                              `unexpected`,
		`{"key":"a","value":"b"}}`:               `behind the record`,
		`{"key":"a","value":"b"}]nonsense`:       `behind the record`,
		"{\"key\":\"a\",\"value\":\"\xff\xfe\"}": `no UTF-8`,
		`{"key":"a","value":"\ud83d"}`:           `surrogate`,
		`{"key":"a","value":"\ude00\ud83d"}`:     `surrogate`,
		`{"key":"a\ud83d\u0041","value":""}`:     `surrogate`,
	} {
		r := NewReader(strings.NewReader(`{"key":"a","value":"b"}`+"\n\n"+text+"\n"), "file")
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "file, line 3: ") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// What only looks like half of a surrogate pair is taken as it is.
func TestEscapedText(t *testing.T) {
	for text, want := range map[string]string{
		`\ud83d\ude00`: "\U0001f600", `\\ud83d`: `\ud83d`, `\\\ud83d\ude00\\`: "\\\U0001f600\\", `\u0041\n\ufffd`: "A\n\ufffd",
	} {
		rec, err := NewReader(strings.NewReader(`{"key":"a","value":"`+text+`"}`), "file").Next()
		if err != nil || string(rec.Value) != want {
			t.Errorf("%s: %q, %v, want %q", text, rec.Value, err, want)
		}
	}
}

// A line without end is refused before it fills the memory.
func TestEndlessLine(t *testing.T) {
	r := NewReader(endless{}, "file")
	if _, err := r.Next(); err == nil || !strings.Contains(err.Error(), "line 1: it is longer than") {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func FuzzNext(f *testing.F) {
	f.Add([]byte(`{"key":"a","value_base64":"YQ==","flags":1,"expiry":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b), "file")
		for {
			rec, err := r.Next()
			if err != nil {
				return
			}
			if _, err := Append(nil, &rec); err != nil {
				t.Fatal(err)
			}
		}
	})
}

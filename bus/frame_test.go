package bus

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"
)

const testMesh = 0x0123456789abcdef

type testItem struct {
	ID   uint64
	Body []byte
}

func encodeFrame(clusterID uint64, reply string, items []testItem) []byte {
	b, at := appendFrameHead(nil, clusterID, reply)
	for _, it := range items {
		b = append(appendItemHead(b, it.ID), it.Body...)
	}
	patchCount(b, at, uint32(len(items)))
	return b
}

func items(f Frame) []testItem {
	var got []testItem
	for {
		id, body, ok := f.Next()
		if !ok {
			return got
		}
		got = append(got, testItem{id, body})
	}
}

// anyValue draws a value of each msgpack shape, nested.
func anyValue(t *rapid.T, depth int) any {
	kinds := 8
	if depth > 0 {
		kinds = 10
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Int64().Draw(t, "int")
	case 3:
		return rapid.Uint64().Draw(t, "uint")
	case 4:
		return rapid.Float64().Draw(t, "float")
	case 5:
		return rapid.Float32().Draw(t, "float32")
	case 6:
		return rapid.SliceOfN(rapid.Byte(), 0, 70000).Draw(t, "bin")
	case 7:
		return strings.Repeat("s", rapid.IntRange(0, 70000).Draw(t, "str"))
	case 8:
		a := make([]any, rapid.IntRange(0, 20).Draw(t, "array"))
		for i := range a {
			a[i] = anyValue(t, depth-1)
		}
		return a
	}
	m := make(map[int]any)
	for i := range rapid.IntRange(0, 20).Draw(t, "map") {
		m[i] = anyValue(t, depth-1)
	}
	return m
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reply := rapid.StringMatching(`[a-z.]{0,300}`).Draw(t, "reply")
		var want []testItem
		for range rapid.IntRange(0, 20).Draw(t, "items") {
			body, err := msgpack.Marshal(anyValue(t, 2))
			if err != nil {
				t.Fatal(err)
			}
			id := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 300),
				rapid.Just[uint64](math.MaxUint32), rapid.Just[uint64](math.MaxUint32+1)).Draw(t, "id")
			want = append(want, testItem{id, body})
		}
		data := encodeFrame(testMesh, reply, want)
		f, err := parseFrame(data, testMesh, new(scratch))
		if err != nil {
			t.Fatal(err)
		}
		if f.Reply != reply || f.Len() != len(want) {
			t.Fatalf("reply %q, %d items", f.Reply, f.Len())
		}
		if diff := cmp.Diff(want, items(f)); diff != "" {
			t.Fatal(diff)
		}
		// One byte less or more is no frame any more.
		if _, err := parseFrame(data[:len(data)-1], testMesh, new(scratch)); !errors.Is(err, errMalformed) {
			t.Fatalf("cut: %v", err)
		}
		if _, err := parseFrame(append(data, mpNil), testMesh, new(scratch)); !errors.Is(err, errMalformed) {
			t.Fatalf("longer: %v", err)
		}
	})
}

func TestFrameIsMsgpack(t *testing.T) {
	body, err := msgpack.Marshal([]any{"key", []byte("value")})
	if err != nil {
		t.Fatal(err)
	}
	data := encodeFrame(testMesh, "kumodata.x.reply", []testItem{{7, body}, {0, []byte{mpNil}}, {1 << 40, body}})
	var got struct {
		_msgpack struct{} `msgpack:",as_array"`
		Version  uint64
		Mesh     uint64
		Reply    string
		Items    []struct {
			_msgpack struct{} `msgpack:",as_array"`
			ID       uint64
			Body     msgpack.RawMessage
		}
	}
	if err := msgpack.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != WireVersion || got.Mesh != testMesh || got.Reply != "kumodata.x.reply" || len(got.Items) != 3 {
		t.Fatalf("got %+v", got)
	}
	for i, id := range []uint64{7, 0, 1 << 40} {
		if got.Items[i].ID != id {
			t.Errorf("item %d has id %d", i, got.Items[i].ID)
		}
	}
	if !bytes.Equal(got.Items[2].Body, body) {
		t.Errorf("body %x", got.Items[2].Body)
	}
}

// A frame by somebody else's encoder, with every width that they may choose.
func TestFrameOfAnotherEncoder(t *testing.T) {
	data, err := msgpack.Marshal([]any{uint64(WireVersion), uint64(testMesh), "r", []any{
		[]any{uint8(200), 1}, []any{uint16(300), "x"}, []any{uint32(70000), nil},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseFrame(data, testMesh, new(scratch))
	if err != nil {
		t.Fatal(err)
	}
	got := items(f)
	if len(got) != 3 || got[0].ID != 200 || got[1].ID != 300 || got[2].ID != 70000 {
		t.Fatalf("got %v", got)
	}
}

func TestFrameRefused(t *testing.T) {
	good := encodeFrame(testMesh, "r", []testItem{{1, []byte{mpNil}}})
	version := bytes.Clone(good)
	version[1] = 99
	endless := encodeFrame(testMesh, "r", []testItem{{1, []byte{mpArray32, 0xff, 0xff, 0xff, 0xff, mpNil}}})
	many := bytes.Clone(good)
	many[len(many)-4-1] = 0xff // the count's last bytes
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"empty":       {nil, errMalformed},
		"json":        {[]byte(`{"a":1}`), errMalformed},
		"never used":  {encodeFrame(testMesh, "r", []testItem{{1, []byte{0xc1}}}), errMalformed},
		"no body":     {encodeFrame(testMesh, "r", []testItem{{1, nil}}), errMalformed},
		"two bodies":  {encodeFrame(testMesh, "r", []testItem{{1, []byte{mpNil, mpNil}}}), errMalformed},
		"version":     {version, errVersion},
		"mesh":        {encodeFrame(testMesh+1, "r", nil), errForeign},
		"endless":     {endless, errMalformed},
		"wrong count": {many, errMalformed},
	} {
		if _, err := parseFrame(tt.data, testMesh, new(scratch)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(encodeFrame(testMesh, "reply", []testItem{{1, []byte{mpNil}}, {1 << 50, []byte{0x93, 1, 0xa1, 'x', 0xc4, 1, 0}}}))
	f.Add(encodeFrame(testMesh, "", nil))
	f.Add([]byte{mpFixArray4, WireVersion, mpUint64, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xa0, mpArray32, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		fr, err := parseFrame(data, testMesh, new(scratch))
		if err != nil {
			return
		}
		n := fr.Len()
		got := items(fr)
		if len(got) != n {
			t.Fatalf("%d items of %d", len(got), n)
		}
		again, err := parseFrame(encodeFrame(testMesh, fr.Reply, got), testMesh, &scratch{reply: fr.Reply})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, items(again)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	const n = 32
	body, err := msgpack.Marshal([]any{1, uint64(1) << 40, bytes.Repeat([]byte("k"), 30), make([]byte, 1024), 0, 0})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			var at int
			buf, at = appendFrameHead(buf[:0], testMesh, "kumodata.x.reply")
			for i := range uint64(n) {
				buf = append(appendItemHead(buf, i<<40), body...)
			}
			patchCount(buf, at, n)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/item")
	})
	b.Run("decode", func(b *testing.B) {
		its := make([]testItem, n)
		for i := range its {
			its[i] = testItem{uint64(i) << 40, body}
		}
		data, last := encodeFrame(testMesh, "kumodata.x.reply", its), new(scratch)
		b.ReportAllocs()
		for b.Loop() {
			f, err := parseFrame(data, testMesh, last)
			if err != nil {
				b.Fatal(err)
			}
			for {
				if _, _, ok := f.Next(); !ok {
					break
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/item")
	})
}

package subjects_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// same compares messages; an empty list and none are the same on the wire.
var same = cmp.Options{equal, cmpopts.IgnoreFields(subjects.Entry{}, "Raw")}

// equal compares long byte strings at once, and empty lists with none.
var equal = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) > 0 }, cmp.Comparer(bytes.Equal)),
}

func TestMessagesRoundTrip(t *testing.T) {
	for _, m := range messages {
		t.Run(name(m), rapid.MakeCheck(func(t *rapid.T) {
			in, out := draw(t, m), empty(m)
			b := in.Append([]byte("before"))
			if !bytes.HasPrefix(b, []byte("before")) {
				t.Fatal("Append changed what was there")
			}
			if err := out.Decode(b[len("before"):]); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(in, out, same); d != "" {
				t.Fatal(d)
			}
			if again := out.Append(nil); !bytes.Equal(again, b[len("before"):]) {
				t.Fatalf("encoded again it is another message:\n%x\n%x", b[len("before"):], again)
			}
		}))
	}
}

// A newer node may add fields at the end; an older one passes over them.
func TestMessagesTakeMoreFields(t *testing.T) {
	for _, m := range messages {
		t.Run(name(m), rapid.MakeCheck(func(t *rapid.T) {
			in, out := draw(t, m), empty(m)
			b := longer(in.Append(nil), 0xcf, 0, 0, 0, 0, 0, 0, 0, 1) // a number
			b = longer(b, 0x92, 0xc4, 1, 'x', 0xc3)                   // ["x", true]
			b = longer(b, 0xa1, 'x')
			if err := out.Decode(b); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(in, out, same); d != "" {
				t.Fatal(d)
			}
		}))
	}
}

// longer adds an element to an array.
func longer(b []byte, element ...byte) []byte {
	switch {
	case b[0]&0xf0 == 0x90 && b[0] < 0x9f:
		b[0]++
	case b[0]&0xf0 == 0x90:
		b = append([]byte{0xdc, 0, 16}, b[1:]...)
	default:
		b[2]++
	}
	return append(b, element...)
}

func TestMessagesCutShortAreMalformed(t *testing.T) {
	for _, m := range messages {
		t.Run(name(m), rapid.MakeCheck(func(t *rapid.T) {
			b := draw(t, m).Append(nil)
			n := rapid.IntRange(0, len(b)-1).Draw(t, "kept")
			if err := empty(m).Decode(b[:n:n]); !errors.Is(err, subjects.ErrMalformed) {
				t.Fatalf("%d of %d bytes: %v", n, len(b), err)
			}
		}))
	}
}

// What we write is msgpack: another implementation reads the same elements.
func TestMessagesAreMsgpack(t *testing.T) {
	for _, m := range messages {
		t.Run(name(m), rapid.MakeCheck(func(t *rapid.T) {
			in := draw(t, m)
			b := in.Append(nil)
			r := bytes.NewReader(b)
			v, err := msgpack.NewDecoder(r).DecodeInterface()
			if err != nil || r.Len() > 0 {
				t.Fatalf("%v, %d bytes left", err, r.Len())
			}
			var got []string
			flatten(reflect.ValueOf(v), &got)
			var want []string
			flatten(reflect.ValueOf(in).Elem(), &want)
			if kind := subjects.KindOf(b); isPeer(in) {
				want = append([]string{fmt.Sprint(uint8(kind))}, want...)
			}
			if p, ok := in.(*subjects.Prepare); ok && len(p.Entries) > 0 {
				got = withoutChecksums(got, len(p.Entries))
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatal(d)
			}
		}))
	}
}

func isPeer(m message) bool {
	switch m.(type) {
	case *subjects.Read, *subjects.Write, *subjects.Reply, *subjects.PieceRequest, *subjects.Piece:
		return false
	}
	return true
}

// flatten lists the scalars of a message, or of what msgpack made of it, in
// order. Raw is no element of its own.
func flatten(v reflect.Value, out *[]string) {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		flatten(v.Elem(), out)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Raw" {
				flatten(v.Field(i), out)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			*out = append(*out, fmt.Sprintf("%x", v.Bytes()))
			return
		}
		for i := range v.Len() {
			flatten(v.Index(i), out)
		}
	case reflect.Bool:
		*out = append(*out, fmt.Sprint(v.Bool()))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		*out = append(*out, fmt.Sprint(v.Int()))
	default:
		*out = append(*out, fmt.Sprint(v.Uint()))
	}
}

// withoutChecksums drops the last of each entry's elements, which no field has.
func withoutChecksums(all []string, entries int) (out []string) {
	var fields []string
	flatten(reflect.ValueOf(subjects.Entry{}), &fields)
	each := len(fields) + 1
	head := len(all) - entries*each
	out = append(out, all[:head]...)
	for i := range entries {
		from := head + i*each
		out = append(out, all[from:from+each-1]...)
	}
	return out
}

func TestKindAndPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := *draw(t, &subjects.EpochReply{}).(*subjects.EpochReply)
		kinds := map[subjects.Kind]message{
			subjects.KindPrepare:      &subjects.Prepare{Header: h.Header},
			subjects.KindPrepareReply: &subjects.PrepareReply{Header: h.Header},
			subjects.KindEpochStart:   &subjects.EpochStart{Header: h.Header},
			subjects.KindEpochReply:   &subjects.EpochReply{Header: h.Header},
			subjects.KindRange:        &subjects.Range{Header: h.Header},
			subjects.KindRangeReply:   &subjects.RangeReply{Header: h.Header},
		}
		for kind, m := range kinds {
			b := m.Append(nil)
			if subjects.KindOf(b) != kind || subjects.PartitionOf(b) != h.Partition {
				t.Fatalf("%T: kind %d partition %d", m, subjects.KindOf(b), subjects.PartitionOf(b))
			}
			for other, m := range kinds {
				if err := empty(m).Decode(b); (err == nil) != (other == kind) {
					t.Fatalf("kind %d decoded as %d: %v", kind, other, err)
				}
			}
		}
	})
	if subjects.KindOf(nil) != 0 || subjects.KindOf([]byte("rubbish")) != 0 {
		t.Error("rubbish has a kind")
	}
}

func TestEntryChecksum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := new(subjects.Entry)
		fill(t, reflect.ValueOf(in).Elem())
		b := in.Encode([]byte("before"))[len("before"):]
		if !bytes.Equal(in.Raw, b) {
			t.Fatal("Raw is not what was encoded")
		}
		var out subjects.Entry
		rest, err := out.Decode(append(bytes.Clone(b), "after"...))
		if err != nil || string(rest) != "after" {
			t.Fatalf("%q, %v", rest, err)
		}
		if d := cmp.Diff(in, &out, equal); d != "" {
			t.Fatal(d)
		}
		i, bit := rapid.IntRange(0, len(b)-1).Draw(t, "byte"), rapid.IntRange(0, 7).Draw(t, "bit")
		b = bytes.Clone(b)
		b[i] ^= 1 << bit
		if _, err := out.Decode(b); !errors.Is(err, subjects.ErrMalformed) {
			t.Fatalf("with bit %d of byte %d turned: %v", bit, i, err)
		}
	})
}

// An entry that was encoded keeps nothing else of the message alive, and is
// sent on as the bytes that came.
func TestEntryAliasesOnlyItself(t *testing.T) {
	e := &subjects.Entry{Key: []byte("key"), Value: []byte("value")}
	b := e.Encode(make([]byte, 0, 256))
	b[bytes.Index(b, []byte("key"))] = 'K'
	if string(e.Key) != "Key" || cap(e.Key) != 3 || cap(e.Raw) != len(e.Raw) {
		t.Errorf("key %q of capacity %d, raw of capacity %d for %d", e.Key, cap(e.Key), cap(e.Raw), len(e.Raw))
	}
	m := subjects.Prepare{Entries: []*subjects.Entry{{Key: []byte("other"), Raw: e.Raw}}}
	if !bytes.Contains(m.Append(nil), e.Raw) {
		t.Error("an entry with Raw was encoded anew")
	}
}

// expansion is how many bytes a decoder may allocate for each byte that it was
// given: the smallest record takes 96 bytes of memory.
const expansion = 128

// A message that says it holds more than it does must not be believed.
func TestDecodersBoundAllocation(t *testing.T) {
	huge := []byte{0xdd, 0x7f, 0xff, 0xff, 0xff}
	for _, m := range messages {
		plain := empty(m).Append(nil)
		for at := range plain {
			if c := plain[at]; c&0xf0 != 0x90 && c != 0xdc && c != 0xdd && c != 0xc4 {
				continue
			}
			b := append(bytes.Clone(plain[:at]), huge...)
			if plain[at] == 0xc4 {
				b[at] = 0xc6 // a byte string instead of a list
			}
			b = append(b, make([]byte, 64<<10)...)
			if n := allocated(func() { _ = empty(m).Decode(b) }); n > expansion*uint64(len(b)) {
				t.Errorf("%s with an absurd length at %d: %d bytes allocated for %d", name(m), at, n, len(b))
			}
		}
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestCASIsTheVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		version := rapid.Custom(func(t *rapid.T) subjects.Version {
			return subjects.Version{
				Epoch: ring.Epoch(rapid.Uint64Range(1, 1<<24-1).Draw(t, "epoch")),
				Seq:   rapid.Uint64Range(1, 1<<40-1).Draw(t, "seq"),
			}
		})
		v, w := version.Draw(t, "v"), version.Draw(t, "w")
		if subjects.FromCAS(v.CAS()) != v || v.CAS() == 0 {
			t.Fatalf("%s became %s", v, subjects.FromCAS(v.CAS()))
		}
		if v != w && v.CAS() == w.CAS() || v.Less(w) != (v.CAS() < w.CAS()) {
			t.Fatalf("%s and %s: %x and %x", v, w, v.CAS(), w.CAS())
		}
	})
}

package digest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

func record(t *rapid.T) subjects.Record {
	return subjects.Record{
		Key:   rapid.SliceOfN(rapid.Byte(), 0, subjects.MaxKey).Draw(t, "key"),
		Value: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value"),
		Flags: rapid.Uint32().Draw(t, "flags"), Bits: rapid.Uint32().Draw(t, "bits"),
		Expiry: rapid.Int64().Draw(t, "expiry"), Token: rapid.Uint64().Draw(t, "token"),
		Version: subjects.Version{Epoch: ring.Epoch(rapid.Uint32().Draw(t, "epoch")), Seq: rapid.Uint64().Draw(t, "seq")},
	}
}

func TestRecordsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := record(t), record(t)
		both := Append(Append(nil, &a), &b)
		for _, want := range []subjects.Record{a, b} {
			got, raw, rest, err := Next(both)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
			if !bytes.Equal(raw, Append(nil, &want)) {
				t.Fatal("raw is not what was appended")
			}
			both = rest
		}
		if len(both) > 0 {
			t.Fatalf("%d bytes are left", len(both))
		}
	})
}

// No byte can change, and no end be missing, without being noticed.
func TestDamagedRecords(t *testing.T) {
	r := subjects.Record{Key: []byte("key"), Value: []byte("value"), Flags: 7, Expiry: 1 << 31, Version: subjects.Version{Epoch: 3, Seq: 300}}
	good := Append(nil, &r)
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if _, _, _, err := Next(b); !errors.Is(err, subjects.ErrMalformed) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
		}
		if _, _, _, err := Next(good[:i]); !errors.Is(err, subjects.ErrMalformed) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add(Append(nil, &subjects.Record{Key: []byte("k"), Value: []byte("v")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, raw, rest, err := Next(b)
		if err == nil && len(raw)+len(rest) != len(b) {
			t.Fatalf("%+v of %d bytes, %d left of %d", r, len(raw), len(rest), len(b))
		}
	})
}

// cut makes ranges of keys with values.
func cut(keys []string, values map[string]string) []subjects.KeyRange {
	c := NewCutter(nil)
	var list []subjects.KeyRange
	for _, k := range keys {
		r := subjects.Record{Key: []byte(k), Value: []byte(values[k]), Version: subjects.Version{Epoch: 1, Seq: 1}}
		if done, ok := c.Add(r.Key, Append(nil, &r)); ok {
			list = append(list, done)
		}
	}
	return append(list, c.End(nil))
}

func numbered(n int) (keys []string, values map[string]string) {
	values = map[string]string{}
	for i := range n {
		k := fmt.Sprintf("key-%06d", i)
		keys = append(keys, k)
		values[k] = "some value"
	}
	return keys, values
}

func TestRangesCoverThePartition(t *testing.T) {
	keys, values := numbered(20000)
	list := cut(keys, values)
	if len(list) < 5 || len(list) > 60 {
		t.Errorf("%d ranges of 20,000 keys", len(list))
	}
	count := int64(0)
	for i := range list {
		count += list[i].Count
		if i > 0 && !bytes.Equal(list[i].From, list[i-1].To) || list[i].Last != (i == len(list)-1) {
			t.Errorf("range %d: %q to %q", i, list[i].From, list[i].To)
		}
	}
	if count != 20000 || list[0].From != nil {
		t.Errorf("%d keys from %q", count, list[0].From)
	}
	if empty := cut(nil, nil); len(empty) != 1 || !empty[0].Last || empty[0].Count != 0 {
		t.Errorf("an empty partition: %+v", empty)
	}
}

// A change of one record is seen in one range, or two where a boundary goes or
// comes, and leaves all others as they are.
func TestAChangeStaysWhereItIs(t *testing.T) {
	keys, values := numbered(20000)
	before := cut(keys, values)
	differs := func(after []subjects.KeyRange) (n int) {
		for i := range after {
			if !slices.ContainsFunc(before, func(r subjects.KeyRange) bool { return r.Same(&after[i]) }) {
				n++
			}
		}
		return n
	}
	if n := differs(cut(keys, values)); n != 0 {
		t.Errorf("%d ranges differ and nothing has changed", n)
	}
	boundary := string(before[3].From)
	for _, k := range []string{keys[0], keys[777], boundary, keys[len(keys)-1]} {
		values[k] = "another"
		if n := differs(cut(keys, values)); n != 1 {
			t.Errorf("%s changed: %d ranges differ", k, n)
		}
		values[k] = "some value"
		without := slices.DeleteFunc(slices.Clone(keys), func(x string) bool { return x == k })
		if n := differs(cut(without, values)); n != 1 {
			t.Errorf("%s deleted: %d ranges differ", k, n)
		}
	}
	if n := differs(cut(append([]string{"a"}, keys...), values)); n > 2 {
		t.Errorf("a key before all others: %d ranges differ", n)
	}
}

func TestLargeValuesMakeSmallRanges(t *testing.T) {
	keys, values := numbered(40)
	large := string(make([]byte, 300<<10))
	for k := range values {
		values[k] = large
	}
	for _, r := range cut(keys, values) {
		if r.Bytes > maxBytes+310<<10 {
			t.Errorf("a range of %d bytes", r.Bytes)
		}
	}
}

func TestRangesInJSON(t *testing.T) {
	want := subjects.KeyRange{From: []byte{0, 0xff}, To: []byte("b"), Count: 2, Bytes: 99, Digest: 0xabc}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(`"0000000000000abc"`)) {
		t.Errorf("%s", text)
	}
	var got subjects.KeyRange
	if err := json.Unmarshal(text, &got); err != nil || !got.Same(&want) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"digest":"xyz"}`), &got); err == nil {
		t.Error("a digest of letters is taken")
	}
}

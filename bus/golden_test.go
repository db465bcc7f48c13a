package bus

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The form of a frame: versions that run beside each other have to read it. Another
// one needs another WireVersion, and one version that reads both before the first
// that writes it.
func TestFrameGolden(t *testing.T) {
	const golden = "9401cf0102030405060708a57265706c79" + "dd00000002" + "9207c403616263" + "92cf0000000100000000c3"
	frame := encodeFrame(0x0102030405060708, "reply", []testItem{
		{7, []byte{0xc4, 3, 'a', 'b', 'c'}}, {1 << 32, []byte{0xc3}},
	})
	if got := hex.EncodeToString(frame); got != golden {
		t.Fatalf("a frame is\n%s, was\n%s", got, golden)
	}
	f, err := parseFrame(frame, 0x0102030405060708, new(scratch))
	if err != nil || f.Reply != "reply" {
		t.Fatalf("%+v, %v", f, err)
	}
	if d := cmp.Diff([]testItem{{7, []byte{0xc4, 3, 'a', 'b', 'c'}}, {1 << 32, []byte{0xc3}}}, items(f)); d != "" {
		t.Fatal(d)
	}
}

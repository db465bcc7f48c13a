package quorum

import (
	"encoding/hex"
	"os"
	"reflect"
	"regexp"
	"testing"
)

// golden are the messages as every version that runs beside others has to read them:
// whole ones, the header's included.
var golden = map[string]string{
	"wireAppend":       "019703c3a567726f7570a466726f6dcd012c03a26e6f950708090a91950b0c01c404646174610d",
	"wireAppendReply":  "019703c3a567726f7570a466726f6dcd012c03a26e6f940e0fc3c3",
	"wireVote":         "019703c3a567726f7570a466726f6dcd012c03a26e6f94101112c3",
	"wireVoteReply":    "019703c3a567726f7570a466726f6dcd012c03a26e6f9213c3",
	"wireChunk":        "019703c3a567726f7570a466726f6dcd012c03a26e6f951415c39701161718c40773657276657273191ac40470617274",
	"wireChunkReply":   "019703c3a567726f7570a466726f6dcd012c03a26e6f931bc3c3",
	"wireTimeout":      "019703c3a567726f7570a466726f6dcd012c03a26e6f911c",
	"wireTimeoutReply": "019703c3a567726f7570a466726f6dcd012c03a26e6f91c3",
}

// Messages have the form that they had, and all of them are looked at.
func TestWireGolden(t *testing.T) {
	h := wireHeader{Kind: uint8(kindAppend), Reply: true, Group: "group", From: "from", ID: 300, Protocol: 3, Error: "no"}
	bodies := []any{
		&wireAppend{7, 8, 9, 10, []wireEntry{{11, 12, 1, []byte("data"), 13}}}, &wireAppendReply{14, 15, true, true},
		&wireVote{16, 17, 18, true}, &wireVoteReply{19, true},
		&wireChunk{20, 21, true, &wireSnapshot{1, 22, 23, 24, []byte("servers"), 25, 26}, []byte("part")},
		&wireChunkReply{27, true, true}, &wireTimeout{28}, &wireTimeoutReply{true},
	}
	have := map[string]bool{"wireHeader": true, "wireEntry": true, "wireSnapshot": true} // within others
	for _, body := range bodies {
		name := reflect.TypeOf(body).Elem().Name()
		have[name] = true
		b, err := encode(h, body)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(b); got != golden[name] {
			t.Errorf("a %s is\n%q: %q, was\n%s", name, name, got, golden[name])
			continue
		}
		back := reflect.New(reflect.TypeOf(body).Elem()).Interface()
		got, rest, err := decodeHeader(b)
		if err == nil {
			err = decodeBody(rest, back)
		}
		if err != nil || got != h || !reflect.DeepEqual(back, body) {
			t.Errorf("%s: %+v, %+v, %v", name, got, back, err)
		}
	}
	source, err := os.ReadFile("wire.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^type (wire\w+) struct`).FindAllSubmatch(source, -1) {
		if name := string(m[1]); !have[name] {
			t.Errorf("%s is not looked at", name)
		}
	}
}

package subjects_test

import (
	"fmt"
	"reflect"

	"pgregory.net/rapid"

	"github.com/etolabo/kumofs/subjects"
)

// message is what every message of the data plane can do.
type message interface {
	Append([]byte) []byte
	Decode([]byte) error
}

// messages are all of the data plane, empty.
var messages = []message{
	&subjects.Prepare{}, &subjects.PrepareReply{}, &subjects.EpochStart{}, &subjects.EpochReply{},
	&subjects.Range{}, &subjects.RangeReply{}, &subjects.Lease{}, &subjects.LeaseReply{},
	&subjects.Read{}, &subjects.Write{}, &subjects.Reply{}, &subjects.PieceRequest{}, &subjects.Piece{},
}

func name(m message) string { return reflect.TypeOf(m).Elem().Name() }

// empty makes another message of a kind.
func empty(of message) message {
	return reflect.New(reflect.TypeOf(of).Elem()).Interface().(message)
}

// draw makes a message of a kind with anything in it.
func draw(t *rapid.T, of message) message {
	m := empty(of)
	fill(t, reflect.ValueOf(m).Elem())
	return m
}

// number draws numbers of all lengths that msgpack has, not mostly small ones.
var number = rapid.Custom(func(t *rapid.T) uint64 {
	return rapid.Uint64().Draw(t, "bits") >> rapid.IntRange(0, 63).Draw(t, "shift")
})

// text draws byte strings, some around the lengths where the encoding changes.
var text = rapid.Custom(func(t *rapid.T) []byte {
	if rapid.IntRange(0, 30).Draw(t, "long") < 30 {
		return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "text")
	}
	return make([]byte, rapid.SampledFrom([]int{255, 256, 65535, 65536}).Draw(t, "length"))
})

// fill draws every field that there is, so that none that is added is forgotten.
func fill(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Raw" { // made by Encode
				fill(t, v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(text.Draw(t, "bytes"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 5).Draw(t, "length"), 5))
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "bits") >> rapid.IntRange(0, 63).Draw(t, "shift"))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(number.Draw(t, "number") & (1<<v.Type().Bits() - 1))
	default:
		panic(fmt.Sprintf("fill: a field of type %s", v.Type()))
	}
}

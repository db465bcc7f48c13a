package loadgen

import (
	"math/rand/v2"
	"strconv"
)

// draw makes keys and values.
type draw struct {
	o      Options
	random *rand.Rand
	zipf   *rand.Zipf
	value  []byte // values are its beginnings
	pad    []byte
}

func newDraw(o Options) *draw {
	// #nosec G404 -- nothing secret is drawn
	d := &draw{o: o, random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), value: make([]byte, o.Size.Max)}
	if o.Zipf > 0 {
		d.zipf = rand.NewZipf(d.random, o.Zipf, 1, uint64(o.Keys-1))
	}
	for i := range d.value {
		d.value[i] = 'a' + byte(d.random.IntN(26))
	}
	for range o.KeySize.Max {
		d.pad = append(d.pad, '-')
	}
	return d
}

// scatter is a prime above any number of keys: times it, neighbours are far apart.
const scatter = 2_654_435_761

// key draws one. Of zipf's law the ranks are scattered over the keys, so that
// those that are drawn often do not lie side by side.
func (d *draw) key() int {
	if d.zipf == nil {
		return d.random.IntN(d.o.Keys)
	}
	return int(d.zipf.Uint64() * scatter % uint64(d.o.Keys))
}

// name appends a key's name, which is the same each time.
func (d *draw) name(b []byte, k int) []byte {
	from := len(b)
	b = append(b, "key-"...)
	b = strconv.AppendInt(b, int64(k), 10)
	want := d.o.KeySize.Min
	if more := d.o.KeySize.Max - want; more > 0 {
		want += int(uint64(k) * scatter % uint64(more+1))
	}
	if have := len(b) - from; have < want {
		b = append(b, d.pad[:want-have]...)
	}
	return b
}

// val draws a value.
func (d *draw) val() []byte {
	n := d.o.Size.Min
	if more := d.o.Size.Max - n; more > 0 {
		n += d.random.IntN(more + 1)
	}
	return d.value[:n]
}

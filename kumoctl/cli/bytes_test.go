package cli

import "testing"

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"4096": 4096, "64K": 64 << 10, "10MiB": 10 << 20, "1.5g": 3 << 29, "10mb": 10 << 20} {
		var b Bytes
		if err := b.Set(text); err != nil || b != want {
			t.Errorf("%s: %d, %v; want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "K", "-1", "0", "x", "1Z", "NaN", "1e30", "Inf"} {
		var b Bytes
		if b.Set(text) == nil {
			t.Errorf("%q is taken: %d", text, b)
		}
		s := Size(7)
		if err := s.Set(text); (err == nil) != (text == "0") || err == nil && s != 0 {
			t.Errorf("as a size %q is %d, %v", text, s, err)
		}
	}
}

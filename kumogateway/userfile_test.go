package kumogateway

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
)

// FuzzAuthFile: what memcached takes for users and passwords is taken for the same,
// what is taken can be told apart by a client, and all takes memory by its length.
func FuzzAuthFile(f *testing.F) {
	for _, text := range []string{
		"foo:bar\n", "foo:b:a r\r\n\nfoo:old\n", "a read:p\nb write prefix=x/:p\n", "a read write prefix=\"x:\" :p\n", "a prefix=\":p\n",
		"a:$2y$05$......................................................\n", "a:$2a$31$", ":x", "a", "a :", "a \x00:p",
	} {
		f.Add([]byte(text), 0)
	}
	f.Fuzz(func(t *testing.T, text []byte, outer int) {
		outer = min(max(outer, 0), subjects.MaxKey-1)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		all, line, err := parseUsers(text, outer)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 200*uint64(len(text))+64<<10 {
			t.Fatalf("%d bytes take %d", len(text), took)
		}
		if err != nil {
			if line > 1+bytes.Count(text, []byte("\n")) {
				t.Fatalf("an error in line %d of %d", line, 1+bytes.Count(text, []byte("\n")))
			}
			return
		}
		for _, e := range all {
			if len(e.user) == 0 || bytes.ContainsAny(e.user, " :\n\x00") || len(e.password) == 0 || e.rights&^(mayRead|mayWrite) != 0 || e.rights == 0 {
				t.Fatalf("%+v", e)
			}
			if outer+len(e.prefix) >= subjects.MaxKey || strings.ContainsAny(e.prefix, " \r\n\x00") {
				t.Fatalf("prefix %q", e.prefix)
			}
		}
		var first []byte
		for l := range bytes.SplitSeq(text, []byte("\n")) {
			if first = bytes.TrimSuffix(l, []byte("\r")); len(first) > 0 {
				break
			}
		}
		user, password, _ := bytes.Cut(first, []byte(":"))
		if e := all[0]; !bytes.Contains(user, []byte(" ")) && (!bytes.Equal(e.user, user) || !bytes.Equal(e.password, password) || e.prefix != "" || e.rights != mayRead|mayWrite) {
			t.Fatalf("%q is taken for %+v", first, e)
		}
	})
}

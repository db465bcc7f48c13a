package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
)

func TestExportAndImport(t *testing.T) {
	c := newTestCluster(t, func(*local.Options) {})
	list := items(700, int32(time.Now().Unix())+100*24*3600)
	c.set(list...)
	l := c.Layout()
	gateway := l.Addrs(subjects.RoleGateway)[0]
	const binary = "AAH/" // a key of 00 01 ff
	if got := say(t, gateway, "ms "+binary+" 2 b F9", "\xff\xfe"); !strings.HasPrefix(got, "HD") {
		t.Fatal(got)
	}
	path := filepath.Join(t.TempDir(), "all.jsonl")
	c.command(cli.ExitDone, "export", path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n != len(list)+1 {
		t.Errorf("%d lines of %d keys", n, len(list)+1)
	}
	if _, errs := c.command(cli.ExitFailed, "export", path); !strings.Contains(errs, path) {
		t.Error(errs)
	}
	out, _ := c.command(cli.ExitDone, "export", "--prefix", "key-69")
	if n := strings.Count(out, "\n"); n != 11 { // key-69, key-690 to key-699
		t.Errorf("%d lines: %s", n, out)
	}

	for _, it := range list {
		if err := c.m.Delete(it.Key); err != nil {
			t.Fatal(err)
		}
	}
	say(t, gateway, "md "+binary+" b")
	var done loadDone
	c.into(&done, "import", path)
	if done.Stored != int64(len(list))+1 {
		t.Errorf("%+v", done)
	}
	for _, it := range list {
		c.has(it)
	}
	if got := say(t, gateway, "mg "+binary+" b v f"); !strings.HasPrefix(got, "VA 2 f9\r\n\xff\xfe\r\n") {
		t.Errorf("%q", got)
	}
	t.Run("lines", func(t *testing.T) { importLines(t, c) })
	t.Run("keys", func(t *testing.T) { listKeys(t, c) })
}

// The later of two lines with one key stays; a line that makes no sense is named,
// and what is before it is stored.
func importLines(t *testing.T, c *testCluster) {
	path := filepath.Join(t.TempDir(), "lines")
	var text bytes.Buffer
	for i := range 500 {
		fmt.Fprintf(&text, `{"key":"same","value":"%d"}`+"\n", i)
	}
	fmt.Fprintf(&text, `{"key":"over","value":"x","expiry":1}`+"\n")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var done loadDone
	c.into(&done, "import", path)
	if done.Stored != 500 || done.Over != 1 {
		t.Errorf("%+v", done)
	}
	c.has(&memcache.Item{Key: "same", Value: []byte("499")})
	c.hasNot("over")
	text.Reset()
	fmt.Fprintf(&text, `{"key":"before","value":"x"}`+"\n"+`{"key":"bad"}`+"\n"+`{"key":"behind","value":"x"}`+"\n")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs := c.command(cli.ExitFailed, "import", path); !strings.Contains(errs, path+", line 2: ") {
		t.Error(errs)
	}
	c.has(&memcache.Item{Key: "before", Value: []byte("x")})
	c.hasNot("behind")
	if _, errs := c.command(cli.ExitFailed, "import", path+"-2"); !strings.Contains(errs, path+"-2") {
		t.Error(errs)
	}
}

func listKeys(t *testing.T, c *testCluster) {
	out, _ := c.command(cli.ExitDone, "keys", "key-69")
	var want []string
	for i := range 700 {
		if k := fmt.Sprintf("key-%d", i); strings.HasPrefix(k, "key-69") {
			want = append(want, k)
		}
	}
	slices.Sort(want)
	if got := strings.Fields(out); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	out, _ = c.command(cli.ExitDone, "keys", "key-69", "--limit", "3")
	if got := strings.Fields(out); !slices.Equal(got, want[:3]) {
		t.Errorf("%q, want %q", got, want[:3])
	}
	out, _ = c.command(cli.ExitDone, "keys", "key-", "--limit", "0")
	if n := strings.Count(out, "\n"); n != 700 {
		t.Errorf("%d keys", n)
	}
	var some []struct {
		Key       string `json:"key"`
		KeyBase64 []byte `json:"key_base64"`
	}
	out, _ = c.command(cli.ExitDone, "keys", "\x00", "-o", "json")
	if err := json.Unmarshal([]byte(out), &some); err != nil || len(some) != 1 || string(some[0].KeyBase64) != "\x00\x01\xff" {
		t.Errorf("%s: %v", out, err)
	}
	if out, _ = c.command(cli.ExitDone, "keys", "nothing-begins-so", "-o", "json"); out != "[]\n" {
		t.Error(out)
	}
	c.command(cli.ExitUsage, "keys", "--limit", "-1")
	var sum struct{ Keys, Bytes int64 }
	c.into(&sum, "size", "large")
	if sum.Keys != 1 || sum.Bytes < 900<<10 || sum.Bytes > 910<<10 {
		t.Errorf("%+v", sum)
	}
	c.into(&sum, "size", "key-69")
	if sum.Keys != 11 {
		t.Errorf("%+v", sum)
	}
}

func TestAfter(t *testing.T) {
	for prefix, want := range map[string]string{"a": "b", "ab": "ac", "a\xff": "b", "\xff\xff": "", "": ""} {
		if got := string(after(prefix)); got != want {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
}

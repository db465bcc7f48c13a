// Command gomemcache runs the Go client of memcached, which speaks the text
// protocol, with its default settings. Usage: gomemcache HOST PORT
package main

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/bradfitz/gomemcache/memcache"
)

func must(ok bool, what string) {
	if !ok {
		log.Fatal(what)
	}
}

func main() {
	log.SetFlags(0)
	c := memcache.New(os.Args[1] + ":" + os.Args[2])
	item := func(key, value string) *memcache.Item { return &memcache.Item{Key: key, Value: []byte(value)} }
	read := func(key string) string {
		it, err := c.Get(key)
		if err != nil {
			return ""
		}
		return string(it.Value)
	}
	must(c.Ping() == nil, "ping")
	must(c.Set(&memcache.Item{Key: "go-k", Value: []byte("v"), Flags: 1<<32 - 1}) == nil, "set")
	it, err := c.Get("go-k")
	must(err == nil && string(it.Value) == "v" && it.Flags == 1<<32-1, "get")
	it.Value = []byte("w")
	must(c.CompareAndSwap(it) == nil, "cas")
	must(errors.Is(c.CompareAndSwap(it), memcache.ErrCASConflict), "cas of another")
	must(errors.Is(c.Add(item("go-k", "x")), memcache.ErrNotStored), "add")
	must(errors.Is(c.Replace(item("go-none", "x")), memcache.ErrNotStored), "replace")
	must(c.Append(item("go-k", "+")) == nil && c.Prepend(item("go-k", "-")) == nil && read("go-k") == "-w+", "append, prepend")
	must(c.Set(item("go-n", "9")) == nil, "set a counter")
	n, err := c.Increment("go-n", 1)
	must(err == nil && n == 10, "incr")
	n, err = c.Decrement("go-n", 11)
	must(err == nil && n == 0, "decr")
	var keys []string
	for i := range 300 {
		keys = append(keys, fmt.Sprint("go-m", i))
		must(c.Set(item(keys[i], fmt.Sprint(i))) == nil, "set many")
	}
	many, err := c.GetMulti(append(keys, "go-none"))
	must(err == nil && len(many) == 300 && string(many["go-m299"].Value) == "299", "get many")
	big := bytes.Repeat([]byte("x"), 1_000_000)
	must(c.Set(&memcache.Item{Key: "go-big", Value: big}) == nil, "set a large value")
	it, err = c.Get("go-big")
	must(err == nil && bytes.Equal(it.Value, big), "get a large value")
	must(c.Touch("go-k", 100) == nil && errors.Is(c.Touch("go-none", 1), memcache.ErrCacheMiss), "touch")
	must(c.Delete("go-k") == nil && errors.Is(c.Delete("go-k"), memcache.ErrCacheMiss), "delete")
	fmt.Println("ok")
}

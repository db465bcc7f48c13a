package memcached_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/testenv"
)

// memcached carries out the flags of a command one after the other: whether T
// stands before or behind R and N decides who wins and when the item ends.
func TestOrderOfFlags(t *testing.T) {
	real := &side{network: "unix", addr: startMemcached(t)}
	c := testenv.New(t, testenv.Servers(1), testenv.Replicas(1))
	ours := &side{network: "tcp", addr: c.Client(0).Addr()}
	defer real.close()
	defer ours.close()
	real.open(t)
	ours.open(t)
	n := 0
	try := func(set string, lines ...string) {
		n++
		key := fmt.Sprint("k", n)
		for _, line := range append([]string{set}, lines...) {
			line = strings.ReplaceAll(line, "KEY", key)
			if line == "" {
				continue
			}
			want, got := real.ask(t, key, line), ours.ask(t, key, line)
			if got != want {
				t.Errorf("%q: %q\n got %q\nwant %q", set, line, got, want)
			}
		}
	}
	const see = "mg KEY t v\r\n"
	for _, exptime := range []string{"0", "100", "1000"} {
		set := "set KEY 5 " + exptime + " 1\r\nx\r\n"
		for _, touch := range []string{"T0", "T100", "T1000"} {
			for _, recache := range []string{"R0", "R500", "R-1"} {
				try(set, "mg KEY "+touch+" "+recache+"\r\n", see)
				try(set, "mg KEY "+recache+" "+touch+"\r\n", see)
				try(set, "mg KEY s "+touch+" v N300 "+recache+" t\r\n", see)
			}
		}
		try(set, "mg KEY T-1 R500\r\n", see)
		try(set, "mg KEY R500 T-1\r\n", see)
	}
	for _, command := range []string{"mg", "ma"} {
		for _, flags := range []string{"T100 N1000", "N1000 T100", "T0 N100", "N100 T0", "T-1 N100", "N100 T-1"} {
			try("", command+" KEY "+flags+"\r\n", see, command+" KEY "+flags+"\r\n", see)
			try("set KEY 5 300 1\r\n7\r\n", command+" KEY "+flags+"\r\n", see)
		}
	}
	try("", "mg KEY N100 T1000 R2000\r\n", see)
}

// What docs/clients.md lists as different is, on both sides.
func TestListedDifferences(t *testing.T) {
	real := &side{network: "unix", addr: startMemcached(t)}
	c := testenv.New(t, testenv.Servers(1), testenv.Replicas(1))
	ours := &side{network: "tcp", addr: c.Client(0).Addr()}
	defer real.close()
	defer ours.close()
	real.open(t)
	ours.open(t)
	mebi := strings.Repeat("x", 1<<20)
	for _, d := range []struct{ set, ask, theirs, ours string }{
		{"set nul 0 0 3\r\n10\x00\r\n", "incr nul 1\r\n", "11\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"},
		{"", "set big 0 0 1048576\r\n" + mebi + "\r\n", "SERVER_ERROR object too large for cache\r\n", "STORED\r\n"},
	} {
		for s, want := range map[*side]string{real: d.theirs, ours: d.ours} {
			if d.set != "" {
				s.ask(t, "", d.set)
			}
			if got := s.ask(t, "", d.ask); got != want {
				t.Errorf("%s: %.40q: got %q, want %q", s.addr, d.ask, got, want)
			}
		}
	}
	for s, want := range map[*side]string{real: "ERROR\r\n", ours: "CLIENT_ERROR not a memcached command\r\n"} {
		w := s.dial(t)
		w.WriteString("\xff\xfeget a\r\n")
		w.Flush()
		if got, err := w.ReadString('\n'); err != nil || got != want {
			t.Errorf("%s: first byte 0xff: got %q (%v), want %q", s.addr, got, err, want)
		}
	}
}

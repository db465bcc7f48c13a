package kumogateway_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/subjects"
)

func TestMetaCommands(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 3)
	c := dial(t, openGateway(t, servers))
	for _, step := range []struct{ send, want string }{
		{"mg a v\r\n", "EN\r\n"},
		{"mg a v q\r\nmn\r\n", "MN\r\n"},
		{"ms a 5 F7 s k Oxyz\r\nhello\r\n", "HD s5 ka Oxyz\r\n"},
		{"mg a s f t v k Oabc\r\n", "VA 5 s5 f7 t-1 ka Oabc\r\nhello\r\n"},
		{"ms a 1 ME\r\nx\r\n", "NS\r\n"},
		{"ms a 1 MA s\r\n!\r\n", "HD s6\r\n"},
		{"ms b 1 MA\r\nx\r\n", "NS\r\n"},
		{"ms b 1 MP N0 s q\r\nx\r\nmn\r\n", "MN\r\n"},
		{"ms a 1 C5\r\nx\r\n", "EX\r\n"},
		{"ms a 1 C0 c\r\nx\r\n", "EX c0\r\n"},
		{"ms a 1 E77 c\r\nx\r\n", "HD c77\r\n"},
		{"ms a 1 C77 E78 c\r\ny\r\n", "HD c78\r\n"},
		{"mg a C78 v c\r\n", "HD c78\r\n"},
		{"mg a C77 v c\r\n", "VA 1 c78\r\ny\r\n"},
		{"md a C1 k\r\n", "EX ka\r\n"},
		{"md a C0\r\n", "EX\r\n"},
		{"md a C78 q\r\nmd a q\r\n", "NF\r\n"},
		{"ma n\r\n", "NF\r\n"},
		{"ma n N0 J13 v\r\n", "VA 2\r\n13\r\n"},
		{"ma n D30 v\r\n", "VA 2\r\n43\r\n"},
		{"ma n MD D50 v t T0\r\n", "VA 1 t-1\r\n0\r\n"},
		{"ma n C1\r\n", "EX\r\n"},
		{"ma b\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"},
		{"ms AAECAw== 3 b k\r\nbin\r\n", "HD kAAECAw== b\r\n"},
		{"mg AAECAw== b v k\r\n", "VA 3 kAAECAw== b\r\nbin\r\n"},
		{"mg AAECAw== v\r\n", "EN\r\n"},
		{"me b\r\n", "ME b exp=-1 la=0 cas="},
	} {
		c.do(step.send, step.want)
	}
	c.line()
	c.do("me nothing\r\nmg a Z\r\n", "EN\r\nCLIENT_ERROR invalid flag\r\n")
	got := c.stats("")
	if got["cmd_meta"] != "30" || got["get_hits"] != "4" {
		t.Errorf("cmd_meta is %s, get_hits %s", got["cmd_meta"], got["get_hits"])
	}
}

// Of the clients that find a value stale, or see it made of nothing, one is told
// to make it anew.
func TestMetaOneClientWins(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 2)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.KeyPrefix = "app:" })
	c := dial(t, g)
	for _, step := range []struct{ send, want string }{
		{"mg v v N30 t k\r\n", "VA 0 t30 kv W\r\n\r\n"},
		{"mg v v N30\r\n", "VA 0 Z\r\n\r\n"},
		{"mg v\r\n", "HD Z\r\n"},
		{"ms a 3 T0\r\nold\r\n", "HD\r\n"},
		{"md a I T90\r\n", "HD\r\n"},
		{"mg a v k s\r\n", "VA 3 ka s3 X W\r\nold\r\n"},
		{"mg a v\r\n", "VA 3 Z X\r\nold\r\n"},
		{"ms a 3 C1 I\r\nnot\r\n", "HD\r\n"},
		{"mg a v\r\n", "VA 3 Z X\r\nnot\r\n"},
		{"ms a 3 T30\r\nnew\r\n", "HD\r\n"},
		{"mg a v R40\r\n", "VA 3 W\r\nnew\r\n"},
		{"mg a v R40\r\n", "VA 3 Z\r\nnew\r\n"},
		{"mg a T0 t\r\n", "HD t-1 Z\r\n"},
		{"md a x\r\n", "HD\r\n"},
		{"mg a v\r\n", "VA 0\r\n\r\n"},
	} {
		c.do(step.send, step.want)
	}
	// The same with many clients at once.
	c.do("md a I\r\n", "HD\r\n")
	others := make([]*client, 8)
	for i := range others {
		others[i] = dial(t, g)
		others[i].send("%s", strings.Repeat("mg a\r\n", 10))
	}
	won := 0
	for _, o := range others {
		for range 10 {
			switch l := o.line(); l {
			case "HD X W":
				won++
			case "HD Z X":
			default:
				t.Errorf("a stale value is %q", l)
			}
		}
	}
	if won != 1 {
		t.Errorf("%d clients were told to make the value anew", won)
	}
}

// A gateway that finds a value stale asks once more, as long as it must.
func TestMetaStaleWhileServersMove(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers))
	c.do("ms a 1\r\nx\r\nmd a I\r\n", "HD\r\nHD\r\n")
	var refused atomic.Int32
	nodes[0].misbehave(func(write bool, key string) *subjects.Status {
		if write && refused.Load() < 3 {
			refused.Add(1)
			return told(subjects.StatusRetry)
		}
		return nil
	})
	c.do("mg a v\r\n", "VA 1 X W\r\nx\r\n")
	c.do("mg a v\r\n", "VA 1 Z X\r\nx\r\n")
	if n := refused.Load(); n != 3 {
		t.Errorf("refused %d times", n)
	}
}

func TestMetaTooLargeValue(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers, func(o *kumogateway.Options) { o.MaxItemSize = 100 }))
	large := strings.Repeat("v", 101)
	const refusal = "SERVER_ERROR object too large for cache\r\n"
	for _, mode := range []string{"", " MA", " ME", " C5", " q"} {
		c.do("ms a 1\r\nx\r\n", "HD\r\n")
		c.do(fmt.Sprintf("ms a 101%s\r\n%s\r\nmg a v\r\n", mode, large), refusal+"EN\r\n")
	}
	c.do("ms a 60\r\n"+large[:60]+"\r\nms a 60 MA\r\n"+large[:60]+"\r\n", "HD\r\nNS\r\n")
}

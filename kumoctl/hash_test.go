package main

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects/ring"
)

func TestDumpOfASimulatedCluster(t *testing.T) {
	out, _ := run(t, 0, "dump", "--servers", "a=x,b=x,c=y,d=y", "--partitions", "64", "--replicas", "2", "-o", "json")
	var table ring.Table
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		t.Fatal(err)
	}
	primaries, copies := map[ring.NodeID]int{}, map[ring.NodeID]int{}
	for p, c := range table.Partitions {
		if err := c.Check(); err != nil {
			t.Errorf("partition %d: %v", p, err)
		}
		primaries[c.Primary.Store]++
		for _, id := range c.ISR {
			copies[id]++
		}
	}
	if want := (map[ring.NodeID]int{1: 16, 2: 16, 3: 16, 4: 16}); !maps.Equal(primaries, want) {
		t.Errorf("primaries: %v", primaries)
	}
	if want := (map[ring.NodeID]int{1: 32, 2: 32, 3: 32, 4: 32}); !maps.Equal(copies, want) {
		t.Errorf("copies: %v", copies)
	}
}

func TestAssignInASimulatedCluster(t *testing.T) {
	out, _ := run(t, 0, "assign", "a", "--servers", "svr1,svr2:19801,svr3")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || !strings.Contains(lines[1], "  91  ") {
		t.Fatalf("assign prints\n%s", out)
	}
	for _, addr := range []string{"svr1:19800", "svr2:19801", "svr3:19800"} {
		if strings.Count(lines[1], addr) != 1 {
			t.Errorf("%s is not there once: %s", addr, lines[1])
		}
	}
}

func TestSimulatedClustersThatCannotBe(t *testing.T) {
	for _, args := range []string{"--servers a --partitions 3", "--servers a:b", "--servers a --replicas 0"} {
		run(t, 2, append([]string{"dump"}, strings.Fields(args)...)...)
	}
}

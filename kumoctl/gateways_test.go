package main

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
)

// Two gateways are asked together and alone, for what was slow and what is hot.
func TestSlowLogAndHotKeys(t *testing.T) {
	c := newTestCluster(t, func(o *local.Options) {
		o.Servers, o.Gateways, o.Partitions, o.Replicas = 1, 2, 4, 1
		o.Args = map[subjects.Role][]string{subjects.RoleGateway: {"--slowlog-threshold", "1ns", "--slowlog-size", "4"}}
	})
	layout := c.Layout()
	at := layout.Addrs(subjects.RoleGateway)
	command := func(code int, args string) (string, string) {
		t.Helper()
		return c.command(code, strings.Fields(args)...)
	}
	logs := func(args string) (list []gatewayLog) {
		t.Helper()
		out, _ := command(0, "slowlog -o json "+args)
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return list
	}
	eventually(t, "both gateways are known", func() bool { return len(logs("")) == 2 })
	say(t, at[0], "set first 0 0 5", "hello")
	say(t, at[0], "get none")
	say(t, at[1], "set second\x01 0 0 5", "hello")

	one := logs(at[0])
	if len(one) != 1 || one[0].Threshold != 1 || one[0].Room != 4 || len(one[0].Operations) < 2 || one[0].Operations[0].Key != "none" ||
		one[0].Operations[1].Key != "first" || one[0].Operations[1].Verb != "set" {
		t.Errorf("%+v", one)
	}
	if named := logs(one[0].Gateway); len(named) != 1 || named[0].Gateway != one[0].Gateway {
		t.Errorf("by name: %+v", named)
	}
	out, errs := command(0, "slowlog")
	for _, want := range []string{"WHEN", "first", `second\x01`, "none", "NOT_FOUND", "5 B", one[0].Gateway} {
		if !strings.Contains(out, want) {
			t.Errorf("slowlog prints no %s:\n%s", want, out)
		}
	}
	if errs != "" {
		t.Errorf("slowlog says %q", errs)
	}
	if _, errs := command(cli.ExitFailed, "slowlog nobody"); !strings.Contains(errs, "nobody") || !strings.Contains(errs, one[0].Gateway) {
		t.Errorf("an unknown gateway: %s", errs)
	}
	command(cli.ExitUsage, "slowlog a b")
	if out, _ := command(0, "slowlog --reset "+at[0]); !strings.Contains(out, "first") {
		t.Errorf("a reset prints\n%s", out)
	}
	if one := logs(at[0]); len(one[0].Operations) != 0 || one[0].Total != 0 {
		t.Errorf("after a reset: %+v", one)
	}
	if other := logs(at[1]); len(other[0].Operations) == 0 {
		t.Error("the other gateway was reset, too")
	}

	for _, addr := range at {
		gets := slices.Repeat([]string{"get hot"}, 1500)
		say(t, addr, append(gets, "get cold")...)
	}
	out, _ = command(0, "hotkeys --top 1 -o json")
	var rep hotReport
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(rep.Gateways) != 2 || len(rep.Keys) != 1 || rep.Keys[0].Key != "hot" || rep.Keys[0].Share < 0.9 || rep.Keys[0].Writes != 0 ||
		len(rep.Keys[0].Gateways) != 2 || rep.PerSecond <= 0 {
		t.Errorf("hotkeys: %s", out)
	}
	if out, _ := command(0, "hotkeys"); !strings.HasPrefix(out, "KEY") || !strings.Contains(out, "\nhot ") || !strings.Contains(out, "2 of 2") {
		t.Errorf("hotkeys prints\n%s", out)
	}
	command(cli.ExitUsage, "hotkeys --top 0")
	command(cli.ExitUsage, "hotkeys extra")
}

func TestPrintSlowLog(t *testing.T) {
	at := func(ms int64, verb string) subjects.SlowOp {
		return subjects.SlowOp{Time: 1_700_000_000_000 + ms, Verb: verb, Key: "k", Size: 3 << 10, Duration: 1_234_567, Retries: 2, Server: "s1", Outcome: "OK"}
	}
	var b strings.Builder
	err := printSlowLog(&b, []gatewayLog{
		{"a", subjects.SlowLog{Operations: []subjects.SlowOp{at(5, "set"), at(1, "get")}}},
		{"b", subjects.SlowLog{Operations: []subjects.SlowOp{at(9, "delete"), at(3, "incr")}}},
		{"c", subjects.SlowLog{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	places := -1
	for _, verb := range []string{"WHEN", " delete ", " set ", " incr ", " get "} {
		if i := strings.Index(b.String(), verb); i <= places {
			t.Errorf("%q is not in its place:\n%s", verb, b.String())
		} else {
			places = i
		}
	}
	if !strings.Contains(b.String(), "3.0 KiB  1.23ms  2        s1      OK\n") {
		t.Error(b.String())
	}
}

// What is told of a key holds for all gateways together.
func TestMergeHot(t *testing.T) {
	answers := []fromGateway[subjects.HotKeys]{
		{"a", subjects.HotKeys{Every: 10, Seconds: 10, Samples: 100, Floor: 5, Keys: []subjects.HotKey{{Key: "x", Count: 50, Error: 10, Writes: 20}, {Key: "y", Count: 30}}}},
		{"b", subjects.HotKeys{Every: 10, Seconds: 20, Samples: 40, Keys: []subjects.HotKey{{Key: "z", Count: 20}, {Key: "y", Count: 10, Error: 2}}}},
		{"c", subjects.HotKeys{Every: 10, Keys: []subjects.HotKey{}}}, // just begun
	}
	rep := mergeHot(answers, 10)
	if rep.PerSecond != 120 || rep.Samples != 140 || len(rep.Gateways) != 3 || len(rep.Keys) != 3 {
		t.Fatalf("%+v", rep)
	}
	for i, want := range []hotKey{
		{Key: "x", PerSecond: 50, AtLeast: 40, Writes: 20},
		{Key: "y", PerSecond: 35, AtLeast: 34},
		{Key: "z", PerSecond: 15, AtLeast: 10}, // five samples of it may be at a
	} {
		got := rep.Keys[i]
		if got.Key != want.Key || math.Abs(got.PerSecond-want.PerSecond) > 1e-9 || math.Abs(got.AtLeast-want.AtLeast) > 1e-9 ||
			math.Abs(got.Writes-want.Writes) > 1e-9 || math.Abs(got.Share-want.PerSecond/120) > 1e-9 {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if rep := mergeHot(answers, 1); len(rep.Keys) != 1 || rep.Keys[0].Key != "x" {
		t.Errorf("%+v", rep)
	}
	if rep := mergeHot(nil, 1); rep.Keys == nil || len(rep.Keys) != 0 {
		t.Errorf("%+v", rep)
	}
}

package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPrintStats(t *testing.T) {
	var list []nodeStats
	if err := json.Unmarshal([]byte(`[{"addr":"a:1","stats":{"items":12345678,"load":0.5,"refused":{"cluster":2,"epoch":30000000}}}]`), &list); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"":        "a:1\n  items    12345678\n  load     0.5\n  refused  cluster=2 epoch=30000000\n",
		"refused": "a:1: cluster=2 epoch=30000000\n",
		"stats":   "STAT items 12345678\nSTAT load 0.5\nSTAT refused cluster=2 epoch=30000000\nEND\n",
	} {
		var b strings.Builder
		if err := printStats(&b, list, field, false); err != nil || b.String() != want {
			t.Errorf("%q: %q, want %q (%v)", field, b.String(), want, err)
		}
	}
}

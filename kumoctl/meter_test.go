package main

import (
	"bytes"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	var w bytes.Buffer
	m := startMeter(&w, "backup", "partitions", 256)
	m.done.Store(64)
	m.records.Store(1000)
	m.bytes.Store(20 << 20)
	if got := m.line(10 * time.Second); got != "backup 64 of 256 partitions, 1000 keys, 20.0 MiB, 2.0 MiB/s, 30s left" {
		t.Error(got)
	}
	m.end()
	m = startMeter(&w, "restore", "", 40<<20)
	m.bytes.Store(20 << 20)
	if got := m.line(10 * time.Second); got != "restore 20.0 MiB of 40.0 MiB, 2.0 MiB/s, 10s left" {
		t.Error(got)
	}
	m.end()
	if w.Len() > 0 {
		t.Errorf("no terminal, and it says %q", &w)
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

// meter shows on a terminal how far something is, how fast it goes and how long it
// will take. Elsewhere it is silent. Its counts may be added to from any goroutine.
type meter struct {
	what    string // "backup"
	total   int64  // of done; 0: not known
	unit    string // of done, "partitions"; "": bytes
	done    atomic.Int64
	records atomic.Int64
	bytes   atomic.Int64

	w     io.Writer
	began time.Time
	stop  chan struct{}
	ended sync.WaitGroup
}

const meterEvery = 250 * time.Millisecond

// startMeter begins. end is to be called; w is where talk goes.
func startMeter(w io.Writer, what, unit string, total int64) *meter {
	m := &meter{what: what, unit: unit, total: total, w: w, began: time.Now(), stop: make(chan struct{})}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		m.ended.Go(m.show)
	}
	return m
}

func (m *meter) show() {
	t := time.NewTicker(meterEvery)
	defer t.Stop()
	for {
		select {
		case <-m.stop:
			fmt.Fprint(m.w, "\r\x1b[K")
			return
		case <-t.C:
			fmt.Fprintf(m.w, "\r\x1b[K%s", m.line(time.Since(m.began)))
		}
	}
}

// line says how far it is after some time.
func (m *meter) line(d time.Duration) string {
	done, bytes := m.done.Load(), m.bytes.Load()
	if m.unit == "" {
		done = bytes
	}
	count := func(n int64) string {
		if m.unit == "" {
			return size(uint64(n))
		}
		return fmt.Sprint(n)
	}
	s := m.what + " " + count(done)
	if m.total > 0 {
		s += " of " + count(m.total)
	}
	if m.unit != "" {
		s += " " + m.unit
	}
	if n := m.records.Load(); n > 0 {
		s += fmt.Sprintf(", %d keys", n)
	}
	if m.unit != "" && bytes > 0 {
		s += ", " + size(uint64(bytes))
	}
	s += fmt.Sprintf(", %s/s", size(uint64(float64(bytes)/max(d.Seconds(), 0.001))))
	if m.total > 0 && done > 0 && done <= m.total {
		left := time.Duration(float64(d) * float64(m.total-done) / float64(done))
		s += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return s
}

// end takes the line away.
func (m *meter) end() {
	close(m.stop)
	m.ended.Wait()
}

// summary says what was done and how fast.
func (m *meter) summary() string {
	d := time.Since(m.began)
	return fmt.Sprintf("%d keys, %s in %s (%s/s)", m.records.Load(), size(uint64(m.bytes.Load())), d.Round(10*time.Millisecond),
		size(uint64(float64(m.bytes.Load())/max(d.Seconds(), 0.001))))
}

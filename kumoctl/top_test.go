package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/creack/pty"

	"github.com/etolabo/kumofs/subjects"
)

// topCluster starts a cluster and has clients work until the test ends.
func topCluster(t *testing.T, host string) (manager string) {
	t.Helper()
	startUp(t, "--dir", t.TempDir(), "--host", host, "--partitions", "8")
	conn, err := net.Dial("tcp", host+":11211")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := bufio.NewReader(conn)
		for i := 0; ; i++ {
			k := i % 50
			fmt.Fprintf(conn, "set k%d 0 0 1\r\nx\r\nget k%d\r\ndelete k%d\r\n", k, k, k)
			for range 5 {
				if _, err := r.ReadString('\n'); err != nil {
					return // the test has ended; otherwise it misses rates
				}
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return host + ":19700"
}

func statusOf(t *testing.T, manager string) *subjects.ClusterStatus {
	t.Helper()
	out, _ := run(t, 0, manager, "status", "-o", "json")
	var st subjects.ClusterStatus
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		t.Fatal(err)
	}
	return &st
}

// The model, with what a cluster at work says.
func TestTopModel(t *testing.T) {
	manager := topCluster(t, "127.0.0.11")
	m, err := newTopModel("qps")
	if err != nil {
		t.Fatal(err)
	}
	m.ask = func() (*subjects.ClusterStatus, error) { return statusOf(t, manager), nil }
	if got := m.render(); !strings.Contains(got, "asking") {
		t.Errorf("before the first status: %s", got)
	}
	eventually(t, "each rate is known", func() bool {
		if next, _ := m.Update(m.Init()()); next != tea.Model(m) {
			t.Fatal("another model")
		}
		var sum topRow
		for _, r := range m.rows() {
			sum.GetRate, sum.SetRate, sum.DelRate = sum.GetRate+r.GetRate, sum.SetRate+r.SetRate, sum.DelRate+r.DelRate
		}
		return sum.GetRate > 0 && sum.SetRate > 0 && sum.DelRate > 0
	})
	rows := m.rows()
	if len(rows) != 3 || rows[0].QPS < rows[1].QPS || rows[1].QPS < rows[2].QPS {
		t.Errorf("not by QPS: %+v", rows)
	}
	for _, width := range []int{40, 80, 120, 250} {
		m.Update(tea.WindowSizeMsg{Width: width, Height: 24})
		screen := m.render()
		for _, line := range strings.Split(screen, "\n") {
			if lipgloss.Width(line) > width {
				t.Errorf("%d columns: %q", width, line)
			}
		}
		for title, least := range map[string]int{"ADDRESS": 40, "QPS": 80, "GET/S": 80, "SET/S": 80, "DEL/S": 120, "ITEMS": 80, "PRIM": 80, "GAPS": 80, "EPOCH": 120, "#GET": 250, "CLOCK": 250, "TIME": 250, "LAG": 120} {
			if has := strings.Contains(screen, title); width >= least && !has {
				t.Errorf("%d columns without %s:\n%s", width, title, screen)
			}
		}
	}
	key := func(k string) {
		t.Helper()
		keys := map[string]tea.Key{"enter": {Code: tea.KeyEnter}, "down": {Code: tea.KeyDown}, "up": {Code: tea.KeyUp}, "right": {Code: tea.KeyRight}, "esc": {Code: tea.KeyEscape}}
		pressed, special := keys[k]
		if !special {
			pressed = tea.Key{Code: rune(k[0]), Text: k}
		}
		m.Update(tea.KeyPressMsg(pressed))
	}
	key("down")
	key("enter")
	if screen := m.render(); !strings.Contains(screen, rows[1].Addr) || !strings.Contains(screen, "#GET") || !strings.Contains(screen, rows[1].node.ID.String()) {
		t.Errorf("no details of %s:\n%s", rows[1].Addr, screen)
	}
	key("esc")
	key("r")
	if got := m.rows(); got[0].QPS > got[2].QPS {
		t.Errorf("not the other way round: %+v", got)
	}
	key("right")
	if screen := m.render(); !strings.Contains(screen, "sort by items") {
		t.Error(screen)
	}
	eventually(t, "how long the gateway takes is known", func() bool {
		m.Update(m.Init()())
		g := m.gateways()
		return len(g) == 1 && g[0].Read99 > 0 && g[0].Write50 > 0 && g[0].QPS > 0
	})
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	if screen := m.render(); !strings.Contains(screen, "READ p50") || !strings.Contains(screen, "WRITE p50") || !strings.Contains(screen, "127.0.0.11:11211") {
		t.Errorf("no gateway:\n%s", screen)
	}
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 5})
	key("up")
	if n := strings.Count(m.render(), "\n"); n > 4 {
		t.Errorf("%d lines on a terminal of 5", n+1)
	}
	if cmd := m.key("q"); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not quit")
	}
	if _, err := newTopModel("nonsense"); err == nil || !strings.Contains(err.Error(), "get/s") {
		t.Error(err)
	}
}

// A whole run on a terminal of 80 columns.
func TestTopOnATerminal(t *testing.T) {
	manager := topCluster(t, "127.0.0.12")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "top", "-m", manager, "--every", "0.3")
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	var mu sync.Mutex
	var screen strings.Builder
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := terminal.Read(b)
			mu.Lock()
			screen.Write(b[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	shows := func(what string) {
		t.Helper()
		eventually(t, "the terminal shows "+what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(screen.String(), what)
		})
	}
	keys := func(k string) {
		t.Helper()
		if _, err := terminal.WriteString(k); err != nil {
			t.Fatal(err)
		}
	}
	shows("127.0.0.12:19803")
	shows("GET/S")
	keys("j\r")
	shows("VERSION")
	keys("q")
	left := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer left.Stop()
	<-ended
	if err := cmd.Wait(); err != nil {
		t.Errorf("q: %v\n%s", err, screen.String())
	}
}

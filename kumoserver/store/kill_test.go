package store

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const killPartitions = 4

// writeUntilKilled is the child: it writes for ever and says, after each flush,
// which entries that acknowledges.
func writeUntilKilled(dir string) {
	o := small(dir)
	o.ApplyAfter, o.compact = time.Millisecond, always
	o.MemtableBytes = 64 << 20 // a compaction does not give way, and is killed too
	s, err := Open(o)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var logs [killPartitions]maker
	for p := range logs {
		st := s.State(ring.Partition(p))
		logs[p] = maker{p: ring.Partition(p), e: st.Promised + 1, tail: st.Tail}
		s.Promise(ring.Partition(p), st.Promised+1)
	}
	for {
		for range rand.IntN(40) {
			m := &logs[rand.IntN(len(logs))]
			n := m.tail.Seq + 1
			if err := s.Append(m.entry(subjects.EntryPut, killKey(n), killValue(m.p, n))); err != nil {
				fmt.Println("error", err)
				os.Exit(1)
			}
		}
		done := make(chan error, 1)
		if s.Flush(func(err error) { done <- err }) != Durable {
			if err := <-done; err != nil {
				fmt.Println("error", err)
				os.Exit(1)
			}
		}
		line := "ack"
		for _, m := range logs {
			line += fmt.Sprint(" ", m.tail.Seq)
			s.Commit(m.p, m.tail.Seq)
		}
		fmt.Println(line)
	}
}

func killKey(seq uint64) string { return fmt.Sprint("key", seq%97) }

func killValue(p ring.Partition, seq uint64) string {
	return fmt.Sprintf("%d/%d/%s", p, seq, strings.Repeat("v", int(seq%1500)))
}

// A process that is killed at any moment has lost nothing that it flushed.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for round := range 6 {
		acked, promised := runAndKill(t, dir, 20+rand.IntN(200)), ring.Epoch(round+1)
		s, err := Open(small(dir))
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Unclean()) > 0 {
			t.Errorf("unclean: %v", s.Damaged())
		}
		for p := range ring.Partition(killPartitions) {
			checkKilled(t, s, p, acked[p], promised)
		}
		if round%2 == 0 {
			s.CloseHard()
		} else if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkFile(t, dir)
	}
}

func checkKilled(t *testing.T, s *Store, p ring.Partition, acked uint64, promised ring.Epoch) {
	t.Helper()
	st := s.State(p)
	if st.Tail.Seq < acked || st.Promised < promised || st.Incomplete {
		t.Fatalf("partition %d: %+v, acknowledged %d at %d", p, st, acked, promised)
	}
	s.Commit(p, st.Tail.Seq)
	for n := st.Tail.Seq; n > 0 && n+97 > st.Tail.Seq; n-- {
		want(t, s, p, killKey(n), killValue(p, n))
	}
}

// runAndKill runs the child for so many acknowledgements and kills it.
func runAndKill(t *testing.T, dir string, acks int) (last [killPartitions]uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KUMO_STORE_WRITER="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		f := strings.Fields(lines.Text())
		if len(f) != 1+killPartitions || f[0] != "ack" {
			break
		}
		for i := range last {
			last[i], _ = strconv.ParseUint(f[1+i], 10, 64)
		}
		if n == acks {
			cmd.Process.Kill() // and read what it said before it died
		}
	}
	cmd.Wait()
	if last[0] == 0 {
		t.Fatal("the child wrote nothing")
	}
	return last
}

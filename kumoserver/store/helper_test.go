package store

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// fewer is a part of a number for who wants to be done soon.
func fewer(n int) int {
	if testing.Short() {
		return max(n/4, 1)
	}
	return n
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("KUMO_STORE_WRITER"); dir != "" {
		writeUntilKilled(dir)
		return
	}
	// A model run opens and crashes real stores: 100 of them are for when asked.
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		flag.Set("rapid.checks", "25")
	}
	goleak.VerifyTestMain(m)
}

// small options, so that tests meet many segments and transactions.
func small(dir string) Options {
	return Options{
		Dir: dir, SegmentBytes: 16 << 10, RetainBytes: 64 << 10, MemtableBytes: 1 << 20,
		ApplyAfter: 5 * time.Millisecond, SyncEvery: 5 * time.Millisecond, OSBoot: "boot-1",
		disk: &disk{lax: true},
	}
}

// open opens a store that is closed, and whose file is checked, when the test
// ends.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		checkFile(t, o.Dir)
	})
	return s
}

// checkFile has bbolt check its own structure.
func checkFile(t testing.TB, dir string) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, dataName), 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Errorf("check: %v", err)
		return
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt check: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("check: %v", err)
	}
}

// eventually waits for a fact.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// flush flushes and waits until that is durable.
func flush(t testing.TB, s *Store) {
	t.Helper()
	done := make(chan error, 1)
	if s.Flush(func(err error) { done <- err }) == Durable {
		return
	}
	if err := <-done; err != nil {
		t.Fatalf("flush: %v", err)
	}
}

// aToken is the CAS token of every value that the tests make.
const aToken = 12

// log makes the entries of one partition, each behind the last.
type maker struct {
	p    ring.Partition
	e    ring.Epoch
	tail subjects.Version
}

func (m *maker) entry(kind subjects.EntryKind, key, value string) *subjects.Entry {
	e := &subjects.Entry{
		Partition: m.p, Version: subjects.Version{Epoch: m.e, Seq: m.tail.Seq + 1}, Prev: m.tail,
		Kind: kind, Key: []byte(key), Value: []byte(value), Flags: 7, Expiry: 11, Bits: subjects.MarkStale | subjects.MarkWon, Token: aToken,
	}
	m.tail = e.Version
	return encoded(e)
}

func encoded(e *subjects.Entry) *subjects.Entry {
	raw := e.Encode(nil)
	d := &subjects.Entry{}
	if _, err := d.Decode(raw); err != nil {
		panic(err)
	}
	return d
}

func (m *maker) put(t testing.TB, s *Store, key, value string) {
	t.Helper()
	if err := s.Append(m.entry(subjects.EntryPut, key, value)); err != nil {
		t.Fatal(err)
	}
}

// want checks a key: "" stands for none.
func want(t testing.TB, s *Store, p ring.Partition, key, value string) {
	t.Helper()
	rec, found, err := s.Get(p, []byte(key))
	if err != nil {
		t.Fatalf("get %d/%s: %v", p, key, err)
	}
	if found != (value != "") || string(rec.Value) != value {
		t.Fatalf("get %d/%s: %q, %v; want %q", p, key, rec.Value, found, value)
	}
	if found && (rec.Token != aToken || rec.CAS() != aToken) {
		t.Fatalf("get %d/%s: token %d, want %d", p, key, rec.Token, aToken)
	}
}

func applied(s *Store) func() bool {
	return func() bool { st := s.Stats(); return st.Waiting == 0 && st.Backlog == 0 }
}

func keyOf(i int) string { return fmt.Sprintf("key-%04d", i) }

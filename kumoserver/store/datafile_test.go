package store

import (
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

func TestPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	const pageSize = 1024
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, PageSize: pageSize})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	check := func(least int) {
		t.Helper()
		var size int64
		if err := db.View(func(tx *bbolt.Tx) error { size = tx.Size(); return nil }); err != nil {
			t.Fatal(err)
		}
		st := db.Stats()
		free := int64(st.FreePageN+st.PendingPageN) * pageSize
		gotSize, gotFree, err := pages(path)
		if err != nil || gotSize != size || gotFree != free || st.FreePageN+st.PendingPageN < least {
			t.Errorf("%d free of %d, %v; bbolt says %d of %d", gotFree, gotSize, err, free, size)
		}
	}
	fill := func(n int) {
		t.Helper()
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucketData)
			for i := range n {
				if err == nil {
					err = b.Put(fmt.Appendf(nil, "%08d", i), make([]byte, 3000))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	fill(10)
	check(1)
	fill(25_000) // more free pages than a page's count can tell
	err = db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketData) })
	if err != nil {
		t.Fatal(err)
	}
	check(0xFFFF)
	fill(10)
	check(0xFFFF)
	if _, _, err := pages(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error without a file")
	}
}

package sqlite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/store/sqlite"
)

func benchDB(b *testing.B) *store.DB {
	b.Helper()
	l, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "isthmus.db"))
	if err != nil {
		b.Fatal(err)
	}
	db, err := store.Open(b.Context(), l, store.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	return db
}

// BenchmarkAnchorSync is what the disk itself needs to keep one page: no commit can be faster.
func BenchmarkAnchorSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "anchor"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for b.Loop() {
		if _, err := f.Write(page); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit is one writer that waits for each of its commits.
func BenchmarkCommit(b *testing.B) {
	db := benchDB(b)
	start := db.Snapshot().Revision()
	var n int64
	for b.Loop() {
		n++
		if _, err := db.Update(b.Context(), store.Meta{Who: "bench"}, func(tx *store.Tx) error {
			return tx.PutPrivate(store.Key(fmt.Sprint("x/", n%1000)), fmt.Appendf(nil, "%0200d", n))
		}); err != nil {
			b.Fatal(err)
		}
	}
	if got := db.Snapshot().Revision() - start; got != n {
		b.Errorf("%d revisions for %d updates", got, n)
	}
}

// BenchmarkObserve is fifty edges that report at once; they share writes to the disk.
func BenchmarkObserve(b *testing.B) {
	db := benchDB(b)
	const edges = 50
	for i := range edges {
		if err := db.StartSession(b.Context(), fmt.Sprint("c", i), "s"); err != nil {
			b.Fatal(err)
		}
	}
	start := db.Snapshot().Revision()
	var next atomic.Int64
	b.SetParallelism(edges)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := next.Add(1)
			o := store.Observation{Cluster: fmt.Sprint("c", n%edges), Session: "s", Put: []*isthmusv1.Fact{{
				Id: "workload/ns/gw", Fact: &isthmusv1.Fact_Workload{Workload: &isthmusv1.Workload{
					Namespace: "ns", Name: "gw", Ready: uint32(n), Labels: map[string]string{"app": "gw"},
				}},
			}}}
			if err := db.Observe(b.Context(), o); err != nil {
				b.Error(err)
			}
		}
	})
	if got, want := db.Snapshot().Revision()-start, next.Load(); got != want {
		b.Errorf("%d revisions for %d observations", got, want)
	}
}

package server

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/fleet"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/store/memory"
)

// fullDisk is a log that takes nothing while it is full.
type fullDisk struct {
	store.Log
	full    atomic.Bool
	refused atomic.Int64
}

func (d *fullDisk) Commit(ctx context.Context, after int64, f func([]store.Record) ([]store.Record, error)) error {
	if d.full.Load() {
		d.refused.Add(1)
		return errors.New("database or disk is full")
	}
	return d.Log.Commit(ctx, after, f)
}

// TestStatusesOutliveAFullDisk: recording goes on when there is room again. Its end would be the server's.
func TestStatusesOutliveAFullDisk(t *testing.T) {
	disk := &fullDisk{Log: memory.New().Open()}
	db, err := store.Open(t.Context(), disk, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := Bootstrap(t.Context(), db, First{Organization: "o", Password: adminPassword, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Update(t.Context(), store.Meta{}, func(tx *store.Tx) error { return createMissing(tx, clusterName, &tsbv2.Cluster{}) }); err != nil {
		t.Fatal(err)
	}
	disk.full.Store(true)
	s := newState(db, func(string) fleet.State { return fleet.State{} }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			select {
			case err := <-ended:
				t.Fatalf("%s: run() = %v while the disk was full", what, err)
			default:
			}
			if time.Now().After(end) {
				t.Fatalf("%s: not within 10s", what)
			}
		}
	}
	wait("a refusal", func() bool { return disk.refused.Load() > 1 })
	disk.full.Store(false)
	wait("a status", func() bool { _, ok := db.Status(clusterName); return ok })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("run() = %v, want %v", err, context.Canceled)
	}
}

// Package storetest proves that a store.Log keeps its promises, and that a store.DB over it keeps its own.
package storetest

import (
	"testing"

	"isthmus.dev/isthmus/internal/store"
)

// Options say what to test.
type Options struct {
	// New makes an empty database and returns how to open an instance of it. It cleans up after the test.
	New func(t *testing.T) (open func() (store.Log, error))
	// Shared says that several instances may be open at once. Otherwise one is opened when the one before is
	// closed.
	Shared bool
}

// Run runs the whole suite.
func Run(t *testing.T, o Options) {
	groups := []map[string]func(*testing.T, *suite){updateTests(), readTests(), observeTests(), claimTests(), statusTests(), logTests()}
	if o.Shared {
		groups = append(groups, sharedTests())
	}
	for _, tests := range groups {
		for name, f := range tests {
			t.Run(name, func(t *testing.T) { f(t, &suite{o: o, open: o.New(t)}) })
		}
	}
}

// suite is one test's database.
type suite struct {
	o    Options
	open func() (store.Log, error)
}

// log opens an instance of the database.
func (s *suite) log(t *testing.T) store.Log {
	t.Helper()
	l, err := s.open()
	if err != nil {
		t.Fatalf("open the log: %v", err)
	}
	return l
}

// db opens a DB over an instance of the database, with changes to the usual Config.
func (s *suite) db(t *testing.T, edits ...func(*store.Config)) *store.DB {
	t.Helper()
	return openDB(t, s.log(t), edits...)
}

func openDB(t *testing.T, l store.Log, edits ...func(*store.Config)) *store.DB {
	t.Helper()
	cfg := config()
	for _, e := range edits {
		e(&cfg)
	}
	db, err := store.Open(t.Context(), l, cfg)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(func() { closeDB(t, db) })
	return db
}

func closeDB(t *testing.T, db *store.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Errorf("close the store: %v", err)
	}
}

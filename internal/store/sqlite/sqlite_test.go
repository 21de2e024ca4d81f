package sqlite_test

import (
	"path/filepath"
	"testing"

	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/store/sqlite"
	"isthmus.dev/isthmus/internal/store/storetest"
)

func TestLog(t *testing.T) {
	storetest.Run(t, storetest.Options{
		New: func(t *testing.T) func() (store.Log, error) {
			path := filepath.Join(t.TempDir(), "isthmus.db")
			return func() (store.Log, error) { return sqlite.Open(t.Context(), path) }
		},
	})
}

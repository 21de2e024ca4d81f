package memory_test

import (
	"testing"

	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/store/memory"
	"isthmus.dev/isthmus/internal/store/storetest"
)

func TestLog(t *testing.T) {
	storetest.Run(t, storetest.Options{
		Shared: true,
		New: func(*testing.T) func() (store.Log, error) {
			db := memory.New()
			return func() (store.Log, error) { return db.Open(), nil }
		},
	})
}

package server

import (
	"strconv"
	"testing"
	"time"
)

// TestInventedNamesGiveNoNewTries tries more names than are remembered between two series of tries for one of them.
func TestInventedNamesGiveNoNewTries(t *testing.T) {
	now := time.Now()
	p, err := newPasswords(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string) bool { return p.limiter(name).AllowN(now, 1) }
	for try("admin") {
	}
	for i := range 2 * maxNames {
		try("invented-" + strconv.Itoa(i))
	}
	if try("admin") {
		t.Error("another try for admin after many names were invented")
	}
	if n := len(p.tries); n > maxNames {
		t.Errorf("%d names are remembered, want at most %d", n, maxNames)
	}
}

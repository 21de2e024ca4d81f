package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

func statusTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"StatusTransitions":   statusTransitions,
		"StatusFenced":        statusFenced,
		"StatusOfDeleted":     statusOfDeleted,
		"StatusIsNoChange":    statusIsNoChange,
		"StatusEventsBounded": statusEventsBounded,
	}
}

func lead(t *testing.T, db *store.DB) int64 {
	t.Helper()
	token, err := db.Lead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func set(t *testing.T, db *store.DB, token int64, fqn resource.FQN, status, message string) {
	t.Helper()
	r := store.StatusRecord{Status: status, Message: message, Etag: `"e"`, Event: "XCP_" + status}
	if err := db.SetStatuses(t.Context(), token, map[resource.FQN]store.StatusRecord{fqn: r}); err != nil {
		t.Fatal(err)
	}
}

func statusTransitions(t *testing.T, s *suite) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	clock := func(c *store.Config) { c.Now = func() time.Time { return now } }
	db := s.db(t, clock)
	base(t, db)
	token := lead(t, db)
	set(t, db, token, front, "ACCEPTED", "m")
	set(t, db, token, front, "ACCEPTED", "m")
	set(t, db, token, front, "READY", "")
	want := &store.StatusRecord{Status: "READY", Etag: `"e"`, Event: "XCP_READY", Events: []store.StatusEvent{
		{Time: now, Type: "XCP_READY", Etag: `"e"`},
		{Time: now, Type: "XCP_ACCEPTED", Etag: `"e"`, Message: "m"},
	}}
	for range 2 {
		got, _ := db.Status(front)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		closeDB(t, db)
		db = s.db(t, clock)
	}
	if _, ok := db.Status(back); ok {
		t.Error("back has a status that nobody set")
	}
}

func statusFenced(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	old := lead(t, db)
	set(t, db, old, front, "READY", "")
	newer := lead(t, db)
	err := db.SetStatuses(t.Context(), old, map[resource.FQN]store.StatusRecord{front: {Status: "FAILED"}})
	is(t, "an old leader", err, store.ErrFenced)
	if r, _ := db.Status(front); r.Status != "READY" {
		t.Errorf("status %q, want READY", r.Status)
	}
	set(t, db, newer, front, "DIRTY", "")
}

func statusOfDeleted(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	token := lead(t, db)
	set(t, db, token, front, "READY", "")
	del(t, db, front)
	set(t, db, token, front, "READY", "")
	put(t, db, res(front, "again"))
	if r, ok := db.Status(front); ok {
		t.Errorf("a new resource has the status of the old one: %+v", r)
	}
}

func statusIsNoChange(t *testing.T, s *suite) {
	db := s.db(t)
	at := base(t, db).Revision()
	token := lead(t, db)
	set(t, db, token, front, "READY", "")
	last := put(t, db, res(back, "1")).Revision()
	cs, err := db.Changed(t.Context(), at)
	if err != nil || len(cs) != 1 || cs[0].Revision != last {
		t.Errorf("commits %+v, %v; want that of revision %d alone", cs, err, last)
	}
	for k := range db.Snapshot().Prefix("t/") {
		t.Errorf("the snapshot has %q", k)
	}
}

func statusEventsBounded(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	token := lead(t, db)
	for i := range 15 {
		set(t, db, token, front, "DIRTY", fmt.Sprint(i))
	}
	r, _ := db.Status(front)
	if len(r.Events) != 10 || r.Events[0].Message != "14" || r.Events[9].Message != "5" {
		t.Errorf("events %+v, want those of 14 down to 5", r.Events)
	}
}

package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"isthmus.dev/isthmus/internal/store"
)

func readTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"Changed":        changed,
		"ChangedWaits":   changedWaits,
		"ChangedExpires": changedExpires,
		"History":        history,
		"HistoryQuery":   historyQuery,
		"HistoryRetain":  historyRetain,
		"PrivateValues":  privateValues,
		"Reopen":         reopen,
		"Epoch":          epoch,
	}
}

func changed(t *testing.T, s *suite) {
	db := s.db(t)
	at := base(t, db).Revision()
	put(t, db, res(front, "1", "a.test"))
	del(t, db, back)
	cs, err := db.Changed(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if len(cs) != 2 || cs[0].Revision != at+1 || cs[1].Revision != at+2 || cs[0].Meta != meta() {
		t.Errorf("commits after %d: %+v, want two", at, cs)
	}
	want := []store.Key{store.HostClaimKey("a.test"), store.ResourceKey(back), store.ResourceKey(front)}
	if diff := cmp.Diff(want, sortedKeys(cs)); diff != "" {
		t.Errorf("changed keys (-want +got):\n%s", diff)
	}
}

func changedWaits(t *testing.T, s *suite) {
	db := s.db(t)
	at := base(t, db).Revision()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errOurs())
	defer cancel()
	_, err := db.Changed(ctx, at)
	is(t, "wait for nothing", err, errOurs())

	got := make(chan []store.Commit, 1)
	go func() {
		cs, err := db.Changed(t.Context(), at)
		if err != nil {
			t.Error(err)
		}
		got <- cs
	}()
	// A private value is no change to anybody who reads snapshots.
	if _, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		return tx.PutPrivate("x/k", []byte("v"))
	}); err != nil {
		t.Fatal(err)
	}
	last := put(t, db, res(front, "1")).Revision()
	if cs := <-got; len(cs) != 1 || cs[0].Revision != last {
		t.Errorf("commits %+v, want that of revision %d", cs, last)
	}
}

func changedExpires(t *testing.T, s *suite) {
	db := s.db(t, func(c *store.Config) { c.Retain.Recent = 4 })
	at := base(t, db).Revision()
	for i := range 20 {
		put(t, db, res(front, fmt.Sprint(i)))
	}
	_, err := db.Changed(t.Context(), at)
	is(t, "changes long ago", err, store.ErrExpired)
	if cs, err := db.Changed(t.Context(), db.Snapshot().Revision()-4); err != nil || len(cs) != 4 {
		t.Errorf("the last 4 commits: %d, %v", len(cs), err)
	}
}

func history(t *testing.T, s *suite) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	db := s.db(t, func(c *store.Config) { c.Now = func() time.Time { return now } })
	base(t, db)
	one := put(t, db, res(front, "1")).Revision()
	two := del(t, db, front).Revision()
	got, err := db.History(t.Context(), store.HistoryQuery{FQN: front})
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Change{
		{Revision: two, Operation: "DELETE", Before: `{"name":"1"}`},
		{Revision: one, Operation: "UPDATE", Before: `{"name":"front"}`, After: `{"name":"1"}`},
		{Revision: one - 1, Operation: "CREATE", After: `{"name":"front"}`},
	}
	for i := range want {
		want[i].Time, want[i].Meta, want[i].FQN, want[i].Kind = now, meta(), front, "storetest/v1/Workspace"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history of front (-want +got):\n%s", diff)
	}
}

func historyQuery(t *testing.T, s *suite) {
	db := s.db(t)
	at := base(t, db).Revision()
	put(t, db, res(front+"/gateways/g", "1"), res(front+"x", "1"), res(front+"0", "1"))
	put(t, db, res(front+"/gateways/g", "2"))
	if err := errors.Join(db.StartSession(t.Context(), "c", "s"),
		db.Observe(t.Context(), store.Observation{Cluster: "c", Session: "s", Put: fact1()})); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		q    store.HistoryQuery
		want []string
	}{
		"One":       {q: store.HistoryQuery{FQN: front}, want: []string{"0 front"}},
		"Subtree":   {q: store.HistoryQuery{FQN: front, Recursive: true}, want: []string{"2 g", "1 g", "0 front"}},
		"Limit":     {q: store.HistoryQuery{FQN: front, Recursive: true, Limit: 2}, want: []string{"2 g", "1 g"}},
		"After":     {q: store.HistoryQuery{FQN: front + "/gateways/g", After: at + 1}, want: []string{"2 g"}},
		"Through":   {q: store.HistoryQuery{Recursive: true, After: at, Through: at + 1}, want: []string{"1 frontx", "1 front0", "1 g"}},
		"All":       {q: store.HistoryQuery{Recursive: true, After: at}, want: []string{"2 g", "1 frontx", "1 front0", "1 g"}},
		"NotThere":  {q: store.HistoryQuery{FQN: front + "/gateways/h"}},
		"NoFactsIn": {q: store.HistoryQuery{FQN: cluster, Recursive: true, After: at}},
	} {
		cs, err := db.History(t.Context(), tc.q)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range cs {
			got = append(got, fmt.Sprintf("%d %s", c.Revision-at, c.FQN.Name()))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: history %+v (-want +got):\n%s", name, tc.q, diff)
		}
	}
}

func historyRetain(t *testing.T, s *suite) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	db := s.db(t, func(c *store.Config) {
		c.Now = func() time.Time { now = now.Add(time.Minute); return now }
		c.Retain = store.Retain{Commits: 10, History: 15 * time.Minute}
	})
	base(t, db)
	for i := range 50 {
		put(t, db, res(front, fmt.Sprint(i)))
	}
	closeDB(t, db)
	db = s.db(t)
	cs, err := db.History(t.Context(), store.HistoryQuery{FQN: front})
	if err != nil || len(cs) < 10 || len(cs) > 20 {
		t.Errorf("%d changes are kept, %v; want those of about 15 minutes", len(cs), err)
	}
	if got := nameOf(db.Snapshot().Resource(front)); got != "49" {
		t.Errorf("front is %q, want 49", got)
	}
}

func privateValues(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	set := func(key store.Key, v []byte) error {
		_, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
			if err := tx.PutPrivate(key, v); err != nil {
				return err
			}
			if got, _ := tx.Private(key); string(got) != string(v) {
				t.Errorf("Tx.Private is %q, want %q", got, v)
			}
			return nil
		})
		return err
	}
	if err := errors.Join(set("x/a", []byte("secret")), set("x/empty", []byte{})); err != nil {
		t.Fatal(err)
	}
	if err := set("r/organizations/p", []byte("v")); err == nil {
		t.Error("a key of a resource was accepted as a private one")
	}
	for range 2 {
		if v, ok := db.Private("x/a"); !ok || string(v) != "secret" {
			t.Errorf("private value %q, %v", v, ok)
		}
		if v, ok := db.Private("x/empty"); !ok || len(v) != 0 {
			t.Errorf("empty private value %q, %v", v, ok)
		}
		if _, ok := db.Private("e/epoch"); ok {
			t.Error("Private gives what is not private")
		}
		for k := range db.Snapshot().Prefix("x/") {
			t.Errorf("the snapshot has %q", k)
		}
		closeDB(t, db)
		db = s.db(t)
	}
	if err := set("x/a", nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := db.Private("x/a"); ok {
		t.Error("a removed private value is there")
	}
}

func reopen(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	put(t, db, res(front, "1", "a.test", "b.test"), res(back, "1", "b.test"))
	put(t, db, res(front, "2", "b.test"))
	if err := errors.Join(db.StartSession(t.Context(), "c", "s"),
		db.Observe(t.Context(), store.Observation{Cluster: "c", Session: "s", Full: true, Put: fact1()})); err != nil {
		t.Fatal(err)
	}
	del(t, db, cluster)
	want, at := contents(db.Snapshot()), db.Snapshot().Revision()
	closeDB(t, db)
	db = s.db(t)
	if diff := cmp.Diff(want, contents(db.Snapshot())); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	if got := db.Snapshot().Revision(); got != at {
		t.Errorf("revision %d after a restart, want %d", got, at)
	}
	// The claims go on where they were: front still asks for b.test and still owns it.
	del(t, db, front)
	if got := owner(db.Snapshot(), "b.test"); got != back {
		t.Errorf("b.test belongs to %q, want the next in line, %q", got, back)
	}
}

func epoch(t *testing.T, s *suite) {
	db := s.db(t)
	first := db.Epoch()
	base(t, db)
	closeDB(t, db)
	db = s.db(t)
	if got := db.Epoch(); first == "" || got != first {
		t.Errorf("epoch %q after a restart, want %q", got, first)
	}
	if err := db.NewEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := db.Epoch(); got == first || got == "" {
		t.Errorf("new epoch %q, old one %q", got, first)
	}
}

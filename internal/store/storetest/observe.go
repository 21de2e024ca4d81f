package storetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

func observeTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"Observe":                observe,
		"ObserveFull":            observeFull,
		"ObserveOldSession":      observeOldSession,
		"ObserveSameIsNoCommit":  observeSame,
		"ObserveDeletedCluster":  observeDeletedCluster,
		"ObserveKeepsNoHistory":  observeNoHistory,
		"ObserveOthersUntouched": observeOthers,
	}
}

func claimTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"ClaimFirstOwns":        claimFirstOwns,
		"ClaimOfManyResources":  claimOfManyResources,
		"ClaimInOneCommit":      claimInOneCommit,
		"ClaimOutsideWorkspace": claimOutsideWorkspace,
	}
}

func fact1() []*isthmusv1.Fact { return []*isthmusv1.Fact{fact("mesh//", "1.31")} }

// watched starts session "s" of cluster "c".
func watched(t *testing.T, s *suite) *store.DB {
	t.Helper()
	db := s.db(t)
	base(t, db)
	if err := db.StartSession(t.Context(), "c", "s"); err != nil {
		t.Fatal(err)
	}
	return db
}

// see observes as session "s" of cluster "c".
func see(t *testing.T, db *store.DB, o store.Observation) {
	t.Helper()
	o.Cluster, o.Session = "c", "s"
	if err := db.Observe(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func facts(s *store.Snapshot) map[store.Key]string {
	out := map[store.Key]string{}
	for k, v := range s.Prefix("f/") {
		out[k] = v.(*isthmusv1.Fact).GetMesh().GetIstioVersion()
	}
	return out
}

func wantFacts(t *testing.T, s *store.Snapshot, want map[store.Key]string) {
	t.Helper()
	if diff := cmp.Diff(want, facts(s)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

func observe(t *testing.T, s *suite) {
	db := watched(t, s)
	at := db.Snapshot().Revision()
	see(t, db, store.Observation{Put: []*isthmusv1.Fact{fact("a", "1"), fact("b", "1")}})
	see(t, db, store.Observation{Put: []*isthmusv1.Fact{fact("b", "2")}, Drop: []string{"a", "never was"}})
	wantFacts(t, db.Snapshot(), map[store.Key]string{"f/c/b": "2"})
	cs, err := db.Changed(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Key{"f/c/a", "f/c/b"}, sortedKeys(cs)); diff != "" {
		t.Errorf("changed keys (-want +got):\n%s", diff)
	}
}

func observeFull(t *testing.T, s *suite) {
	db := watched(t, s)
	see(t, db, store.Observation{Put: []*isthmusv1.Fact{fact("a", "1"), fact("b", "1"), fact("d", "1")}})
	at := db.Snapshot().Revision()
	see(t, db, store.Observation{Full: true, Put: []*isthmusv1.Fact{fact("b", "1"), fact("c", "1"), fact("d", "2")}})
	wantFacts(t, db.Snapshot(), map[store.Key]string{"f/c/b": "1", "f/c/c": "1", "f/c/d": "2"})
	cs, err := db.Changed(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Key{"f/c/a", "f/c/c", "f/c/d"}, sortedKeys(cs)); diff != "" {
		t.Errorf("changed keys (-want +got):\n%s", diff)
	}
}

func observeOldSession(t *testing.T, s *suite) {
	db := watched(t, s)
	see(t, db, store.Observation{Put: []*isthmusv1.Fact{fact("a", "1")}})
	if err := db.StartSession(t.Context(), "c", "s2"); err != nil {
		t.Fatal(err)
	}
	wantFacts(t, db.Snapshot(), map[store.Key]string{"f/c/a": "1"}) // not knowing is not emptiness
	o := store.Observation{Cluster: "c", Session: "s", Full: true, Put: []*isthmusv1.Fact{fact("a", "2")}}
	is(t, "old session", db.Observe(t.Context(), o), store.ErrFenced)
	o.Session = ""
	is(t, "no session", db.Observe(t.Context(), o), store.ErrFenced)
	o.Cluster, o.Session = "d", "s2"
	is(t, "session of another cluster", db.Observe(t.Context(), o), store.ErrFenced)
	wantFacts(t, db.Snapshot(), map[store.Key]string{"f/c/a": "1"})
	o.Cluster = "c"
	if err := db.Observe(t.Context(), o); err != nil {
		t.Errorf("new session: %v", err)
	}
	wantFacts(t, db.Snapshot(), map[store.Key]string{"f/c/a": "2"})
}

func observeSame(t *testing.T, s *suite) {
	db := watched(t, s)
	see(t, db, store.Observation{Full: true, Put: fact1()})
	at := db.Snapshot().Revision()
	see(t, db, store.Observation{Full: true, Put: fact1()})
	see(t, db, store.Observation{Put: fact1()})
	if err := db.StartSession(t.Context(), "c", "s"); err != nil {
		t.Fatal(err)
	}
	if got := db.Snapshot().Revision(); got != at {
		t.Errorf("revision %d after the same again, want %d", got, at)
	}
}

func observeDeletedCluster(t *testing.T, s *suite) {
	db := watched(t, s)
	see(t, db, store.Observation{Full: true, Put: fact1()})
	del(t, db, cluster)
	wantFacts(t, db.Snapshot(), map[store.Key]string{})
	err := db.Observe(t.Context(), store.Observation{Cluster: "c", Session: "s", Put: fact1()})
	is(t, "observe a deleted cluster", err, store.ErrFenced)
	put(t, db, res(cluster, "again"))
	err = db.Observe(t.Context(), store.Observation{Cluster: "c", Session: "s", Put: fact1()})
	is(t, "old session after the cluster was made again", err, store.ErrFenced)
}

func observeNoHistory(t *testing.T, s *suite) {
	db := watched(t, s)
	at := db.Snapshot().Revision()
	see(t, db, store.Observation{Put: fact1()})
	cs, err := db.History(t.Context(), store.HistoryQuery{Recursive: true, After: at})
	if err != nil || len(cs) != 0 {
		t.Errorf("history of an observation: %v, %v", cs, err)
	}
}

func observeOthers(t *testing.T, s *suite) {
	db := watched(t, s)
	if err := errors.Join(db.StartSession(t.Context(), "c1", "s"),
		db.Observe(t.Context(), store.Observation{Cluster: "c1", Session: "s", Put: fact1()})); err != nil {
		t.Fatal(err)
	}
	see(t, db, store.Observation{Full: true})
	wantFacts(t, db.Snapshot(), map[store.Key]string{"f/c1/mesh//": "1.31"})
}

func owner(s *store.Snapshot, host string) resource.FQN {
	v, _ := s.Get(store.HostClaimKey(host))
	c, _ := v.(*store.Claim)
	return c.Owner()
}

func line(s *store.Snapshot, host string) []store.Claimant {
	v, _ := s.Get(store.HostClaimKey(host))
	c, _ := v.(*store.Claim)
	if c == nil {
		return nil
	}
	return c.Claimants
}

func claimFirstOwns(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	f, b := front+"/gateways/g", back+"/gateways/g"
	one := put(t, db, res(f, "1", "a.test")).Revision()
	two := put(t, db, res(b, "1", "a.test")) // "back" sorts first and still comes second
	want := []store.Claimant{{Workspace: front, Since: one}, {Workspace: back, Since: two.Revision()}}
	if diff := cmp.Diff(want, line(two, "a.test")); diff != "" {
		t.Errorf("claimants of a.test (-want +got):\n%s", diff)
	}
	still := put(t, db, res(f, "2", "b.test", "a.test"))
	if diff := cmp.Diff(want, line(still, "a.test")); diff != "" {
		t.Errorf("claimants after a change that keeps the host (-want +got):\n%s", diff)
	}
	gone := del(t, db, f)
	if got := owner(gone, "a.test"); got != back {
		t.Errorf("a.test belongs to %q after its owner left, want %q", got, back)
	}
	again := put(t, db, res(f, "1", "a.test"))
	if got := owner(again, "a.test"); got != back {
		t.Errorf("a.test belongs to %q after making the first again, want %q", got, back)
	}
	empty := del(t, db, f, b)
	if _, ok := empty.Get(store.HostClaimKey("a.test")); ok {
		t.Error("a claim without claimants is kept")
	}
}

func claimOfManyResources(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	g, h := front+"/gateways/g", front+"/gateways/h"
	since := put(t, db, res(g, "1", "a.test", "a.test")).Revision()
	put(t, db, res(h, "1", "a.test"))
	want := []store.Claimant{{Workspace: front, Since: since}}
	if diff := cmp.Diff(want, line(del(t, db, g), "a.test")); diff != "" {
		t.Errorf("claimants after one of two resources left (-want +got):\n%s", diff)
	}
	// One leaves and another one comes within a commit.
	after, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		if _, err := tx.Delete(h, store.DeleteOptions{}); err != nil {
			return err
		}
		_, err := tx.Put(res(g, "1", "a.test"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, line(after, "a.test")); diff != "" {
		t.Errorf("claimants after a swap (-want +got):\n%s", diff)
	}
	if got := line(put(t, db, res(g, "1")), "a.test"); got != nil {
		t.Errorf("claimants after all left: %v", got)
	}
}

func claimInOneCommit(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	at := put(t, db, res(front, "1", "a.test"), res(back, "1", "a.test"))
	want := []store.Claimant{{Workspace: back, Since: at.Revision()}, {Workspace: front, Since: at.Revision()}}
	if diff := cmp.Diff(want, line(at, "a.test")); diff != "" {
		t.Errorf("claimants of one commit (-want +got):\n%s", diff)
	}
}

func claimOutsideWorkspace(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	if got := line(put(t, db, res(tenant, "1", "a.test")), "a.test"); got != nil {
		t.Errorf("claimants of what a tenant asks for: %v", got)
	}
}

package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// model says in the plainest way what a store should hold.
type model struct {
	resources map[resource.FQN]*resource.Resource
	since     map[string]map[resource.FQN]int64 // by host and workspace
	revision  int64
}

func (m *model) clone() *model {
	c := &model{maps.Clone(m.resources), map[string]map[resource.FQN]int64{}, m.revision}
	for h, ws := range m.since {
		c.since[h] = maps.Clone(ws)
	}
	return c
}

// commit ends a transaction: who asks for what is counted anew from all there is.
func (m *model) commit() {
	m.revision++
	asks := map[string]map[resource.FQN]int64{}
	for fqn, r := range m.resources {
		w := fqn.Ancestor("workspaces")
		for _, h := range hosts(r) {
			if w == "" {
				continue
			}
			if asks[h] == nil {
				asks[h] = map[resource.FQN]int64{}
			}
			asks[h][w] = m.revision
			if at, ok := m.since[h][w]; ok {
				asks[h][w] = at
			}
		}
	}
	m.since = asks
}

// words is the model as contents would say it, without revisions.
func (m *model) words() map[string]string {
	out := map[string]string{}
	for fqn, r := range m.resources {
		out[string(fqn)] = fmt.Sprint(nameOf(r), hosts(r))
	}
	for h, ws := range m.since {
		out["host "+h] = fmt.Sprint(len(ws), " ", slices.MinFunc(slices.Collect(maps.Keys(ws)), func(a, b resource.FQN) int {
			if ws[a] != ws[b] {
				return int(ws[a] - ws[b])
			}
			return slices.Compare([]resource.FQN{a}, []resource.FQN{b})
		}))
	}
	return out
}

// stored is a snapshot in the same words.
func stored(s *store.Snapshot) map[string]string {
	out := map[string]string{}
	for k, v := range s.Prefix("") {
		switch v := v.(type) {
		case *resource.Resource:
			out[string(v.FQN)] = fmt.Sprint(nameOf(v), hosts(v))
		case *store.Claim:
			out["host "+string(k[len("c/host/"):])] = fmt.Sprint(len(v.Claimants), " ", v.Owner())
		}
	}
	return out
}

// randomUpdates: any sequence of updates, some of which fail, leaves what the model says, before and after a
// restart, and the records add up to it.
func randomUpdates(t *testing.T, s *suite) {
	rapid.Check(t, func(rt *rapid.T) {
		one := &suite{o: s.o, open: s.o.New(t)}
		db := one.db(t)
		m := &model{resources: map[resource.FQN]*resource.Resource{}}
		for range rapid.IntRange(1, 12).Draw(rt, "updates") {
			m = randomUpdate(t, rt, db, m)
			if diff := cmp.Diff(m.words(), stored(db.Snapshot())); diff != "" {
				rt.Fatalf("after an update (-model +store):\n%s", diff)
			}
		}
		closeDB(t, db)
		db = one.db(t)
		if diff := cmp.Diff(m.words(), stored(db.Snapshot())); diff != "" {
			rt.Fatalf("after a restart (-model +store):\n%s", diff)
		}
		closeDB(t, db)
		l := one.log(t)
		checkReplay(t, l)
		if err := l.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func randomUpdate(t *testing.T, rt *rapid.T, db *store.DB, m *model) *model {
	next := m.clone()
	fail := rapid.IntRange(0, 4).Draw(rt, "fail") == 0
	_, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		for range rapid.IntRange(1, 5).Draw(rt, "steps") {
			if err := randomStep(rt, tx, next); err != nil {
				return err
			}
		}
		if fail {
			return errOurs()
		}
		return nil
	})
	orphans := false
	for fqn := range next.resources {
		orphans = orphans || fqn.Parent() != "" && next.resources[fqn.Parent()] == nil
	}
	switch {
	case fail:
		if !errors.Is(err, errOurs()) {
			rt.Fatalf("update returned %v, want its function's error", err)
		}
		return m
	case orphans:
		if !errors.Is(err, store.ErrNotFound) {
			rt.Fatalf("update with an orphan returned %v", err)
		}
		return m
	case err != nil:
		rt.Fatal(err)
	}
	next.commit()
	return next
}

func randomStep(rt *rapid.T, tx *store.Tx, m *model) error {
	all := []resource.FQN{org, tenant, front, back, front + "/gateways/a", front + "/gateways/b", back + "/gateways/a"}
	fqn := rapid.SampledFrom(all).Draw(rt, "fqn")
	if rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
		_, err := tx.Delete(fqn, store.DeleteOptions{})
		if m.resources[fqn] == nil {
			if !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("delete of %q, which is not there: %w", fqn, err)
			}
			return nil
		}
		maps.DeleteFunc(m.resources, func(f resource.FQN, _ *resource.Resource) bool { return fqn.Contains(f) })
		return err
	}
	r := res(fqn, rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "name"),
		rapid.SliceOfN(rapid.SampledFrom([]string{"a.test", "b.test"}), 0, 2).Draw(rt, "hosts")...)
	m.resources[fqn] = r
	if rapid.Bool().Draw(rt, "parents") {
		for p := fqn.Parent(); p != ""; p = p.Parent() {
			if m.resources[p] == nil {
				m.resources[p] = res(p, "parent")
				if _, err := tx.Put(m.resources[p]); err != nil {
					return err
				}
			}
		}
	}
	_, err := tx.Put(r)
	return err
}

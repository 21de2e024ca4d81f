package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

func updateTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"FrozenSnapshot":       frozenSnapshot,
		"Outcomes":             outcomes,
		"StaleEtag":            staleEtag,
		"FailedUpdateUndone":   failedUpdateUndone,
		"PanicUndone":          panicUndone,
		"DryRun":               dryRun,
		"MissingParent":        missingParent,
		"RecursiveDelete":      recursiveDelete,
		"DeletionProtection":   deletionProtection,
		"PutBackIsNoChange":    putBackIsNoChange,
		"NoChangeNoCommit":     noChangeNoCommit,
		"CancelledWhileQueued": cancelledWhileQueued,
		"Closed":               closed,
		"DeadTransaction":      deadTransaction,
	}
}

func frozenSnapshot(t *testing.T, s *suite) {
	db := s.db(t)
	before := base(t, db)
	want := contents(before)
	_, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		if _, err := tx.Put(res(front, "new")); err != nil {
			return err
		}
		if _, err := tx.Delete(back, store.DeleteOptions{}); err != nil {
			return err
		}
		if diff := cmp.Diff(want, contents(tx.Snapshot())); diff != "" {
			t.Errorf("Tx.Snapshot inside the function (-want +got):\n%s", diff)
		}
		if got := nameOf(tx.Get(front)); got != "new" {
			t.Errorf("Tx.Get(front) is %q, want what was put", got)
		}
		if tx.Get(back) != nil {
			t.Error("Tx.Get(back) is there after its deletion")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, contents(before)); diff != "" {
		t.Errorf("an old snapshot changed (-want +got):\n%s", diff)
	}
	if got := nameOf(db.Snapshot().Resource(front)); got != "new" {
		t.Errorf("front is %q after the update, want new", got)
	}
}

func outcomes(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	gw := front + "/gateways/g"
	for _, step := range []struct {
		name string
		want store.Outcome
	}{{"one", store.Created}, {"one", store.Unchanged}, {"two", store.Updated}, {"one", store.Updated}} {
		var got store.Outcome
		after, err := db.Update(t.Context(), meta(), func(tx *store.Tx) (err error) {
			got, err = tx.Put(res(gw, step.name))
			return err
		})
		if err != nil || got != step.want || nameOf(after.Resource(gw)) != step.name {
			t.Errorf("put %s: outcome %v, error %v, stored %q; want %v", step.name, got, err, nameOf(after.Resource(gw)), step.want)
		}
	}
	r := db.Snapshot().Resource(gw)
	if r.Created >= r.Revision || r.Revision != db.Snapshot().Revision() {
		t.Errorf("created %d, revision %d of %d", r.Created, r.Revision, db.Snapshot().Revision())
	}
}

func staleEtag(t *testing.T, s *suite) {
	db := s.db(t)
	first := base(t, db).Resource(front)
	put(t, db, res(front, "newer"))
	try := func(f func(*store.Tx) error) error {
		_, err := db.Update(t.Context(), meta(), f)
		return err
	}
	is(t, "replace with an old etag", try(func(tx *store.Tx) error {
		_, err := tx.Replace(res(front, "mine"), first.Etag)
		return err
	}), store.ErrConflict)
	is(t, "delete with an old etag", try(func(tx *store.Tx) error {
		_, err := tx.Delete(front, store.DeleteOptions{Etag: first.Etag})
		return err
	}), store.ErrConflict)
	is(t, "replace what does not exist", try(func(tx *store.Tx) error {
		_, err := tx.Replace(res(front+"/gateways/g", "mine"), first.Etag)
		return err
	}), store.ErrNotFound)
	is(t, "create what exists", try(func(tx *store.Tx) error { return tx.Create(res(front, "mine")) }), store.ErrExists)
	if got := nameOf(db.Snapshot().Resource(front)); got != "newer" {
		t.Errorf("front is %q, want newer", got)
	}
	if err := try(func(tx *store.Tx) error {
		_, err := tx.Replace(res(front, "mine"), tx.Get(front).Etag)
		return err
	}); err != nil {
		t.Errorf("replace with the stored etag: %v", err)
	}
}

func failedUpdateUndone(t *testing.T, s *suite) {
	db := s.db(t)
	before := base(t, db)
	_, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		if _, err := tx.Put(res(front, "new", "a.test")); err != nil {
			return err
		}
		if err := tx.PutPrivate("x/k", []byte("v")); err != nil {
			return err
		}
		if _, err := tx.Delete(back, store.DeleteOptions{}); err != nil {
			return err
		}
		return errOurs()
	})
	is(t, "update", err, errOurs())
	if diff := cmp.Diff(contents(before), contents(db.Snapshot())); diff != "" {
		t.Errorf("after a failed update (-want +got):\n%s", diff)
	}
	if _, ok := db.Private("x/k"); ok {
		t.Error("a private value of a failed update is stored")
	}
	if got, want := db.Snapshot().Revision(), before.Revision(); got != want {
		t.Errorf("revision %d, want %d", got, want)
	}
}

func panicUndone(t *testing.T, s *suite) {
	db := s.db(t)
	before := base(t, db)
	func() {
		defer func() {
			if got := recover(); got != "boom" {
				t.Errorf("recovered %v in the caller, want boom", got)
			}
		}()
		_, _ = db.Update(t.Context(), meta(), func(tx *store.Tx) error {
			_, _ = tx.Delete(org, store.DeleteOptions{})
			panic("boom")
		})
	}()
	after := put(t, db, res(tenant, "still works"))
	if got, want := after.Revision(), before.Revision()+1; got != want {
		t.Errorf("revision %d after a panic and an update, want %d", got, want)
	}
}

func dryRun(t *testing.T, s *suite) {
	db := s.db(t)
	before := base(t, db)
	would, err := db.DryRun(t.Context(), meta(), func(tx *store.Tx) error {
		_, err := tx.Put(res(front, "new", "a.test"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := nameOf(would.Resource(front)); got != "new" {
		t.Errorf("front would be %q, want new", got)
	}
	if _, ok := would.Get(store.HostClaimKey("a.test")); !ok {
		t.Error("the claim would not be taken")
	}
	if diff := cmp.Diff(contents(before), contents(db.Snapshot())); diff != "" {
		t.Errorf("after a dry run (-want +got):\n%s", diff)
	}
}

func missingParent(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	orphan := tenant + "/workspaces/none/gateways/g"
	_, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		_, err := tx.Put(res(orphan, "g"))
		return err
	})
	is(t, "put an orphan", err, store.ErrNotFound)
	if m, ok := errors.AsType[*store.MissingParentError](err); !ok || m.FQN != orphan || m.Parent != orphan.Parent() {
		t.Errorf("error %v does not name the orphan and its parent", err)
	}
	put(t, db, res(orphan, "g"), res(orphan.Parent(), "none")) // the child first
	_, err = db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		if _, err := tx.Delete(orphan.Parent(), store.DeleteOptions{}); err != nil {
			return err
		}
		_, err := tx.Put(res(orphan, "g"))
		return err
	})
	is(t, "keep a child of what the same update deletes", err, store.ErrNotFound)
}

func recursiveDelete(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	put(t, db, res(front+"/gateways/a", "a"), res(front+"/gateways/b", "b"), res(front+"x", "not below front"))
	var got []resource.FQN
	after, err := db.Update(t.Context(), meta(), func(tx *store.Tx) (err error) {
		if _, err := tx.Put(res(front+"/gateways/c", "c")); err != nil {
			return err
		}
		got, err = tx.Delete(front, store.DeleteOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []resource.FQN{front, front + "/gateways/a", front + "/gateways/b", front + "/gateways/c"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
	for range after.Prefix(store.ResourceKey(front) + "/") {
		t.Error("something is left below front")
	}
	if after.Resource(front+"x") == nil {
		t.Error("a neighbour is gone")
	}
	_, err = db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		_, err := tx.Delete(front, store.DeleteOptions{})
		return err
	})
	is(t, "delete twice", err, store.ErrNotFound)
}

func deletionProtection(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	put(t, db, protectedRes(front))
	try := func(o store.DeleteOptions) error {
		_, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
			_, err := tx.Delete(tenant, o)
			return err
		})
		return err
	}
	err := try(store.DeleteOptions{})
	is(t, "delete above a protected one", err, store.ErrProtected)
	if p, ok := errors.AsType[*store.ProtectedError](err); !ok || p.FQN != front {
		t.Errorf("error %v does not name %q", err, front)
	}
	if err := try(store.DeleteOptions{Force: true}); err != nil {
		t.Errorf("delete by force: %v", err)
	}
}

func putBackIsNoChange(t *testing.T, s *suite) {
	db := s.db(t)
	before := base(t, db)
	after, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		if _, err := tx.Delete(front, store.DeleteOptions{}); err != nil {
			return err
		}
		_, err := tx.Put(res(front, "front"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(contents(before), contents(after)); diff != "" {
		t.Errorf("after delete and put back (-want +got):\n%s", diff)
	}
}

func noChangeNoCommit(t *testing.T, s *suite) {
	db := s.db(t)
	before := base(t, db)
	if got, want := put(t, db, res(front, "front")).Revision(), before.Revision(); got != want {
		t.Errorf("revision %d after an update that changes nothing, want %d", got, want)
	}
}

func cancelledWhileQueued(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	inside, leave, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		_, err := db.Update(t.Context(), meta(), func(*store.Tx) error {
			close(inside)
			<-leave
			return nil
		})
		done <- err
	}()
	<-inside
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(errOurs()) })
	_, err := db.Update(ctx, meta(), func(*store.Tx) error {
		t.Error("the function of a caller that left was called")
		return nil
	})
	is(t, "a caller that left", err, errOurs())
	close(leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
	put(t, db, res(front, "after"))
}

func closed(t *testing.T, s *suite) {
	db := s.db(t)
	at := base(t, db).Revision()
	waiting := make(chan error)
	go func() {
		_, err := db.Changed(t.Context(), at)
		waiting <- err
	}()
	closeDB(t, db)
	is(t, "Changed while closing", <-waiting, store.ErrClosed)
	_, err := db.Update(t.Context(), meta(), func(*store.Tx) error { return nil })
	is(t, "update after close", err, store.ErrClosed)
}

func deadTransaction(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	var kept *store.Tx
	if _, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error { kept = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	_, err := kept.Put(res(front, "late"))
	is(t, "put late", err, store.ErrClosed)
	_, err = kept.Delete(front, store.DeleteOptions{})
	is(t, "delete late", err, store.ErrClosed)
	is(t, "put a private value late", kept.PutPrivate("x/k", nil), store.ErrClosed)
}

package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

func logTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"LogAllOrNothing":     logAllOrNothing,
		"LogExpires":          logExpires,
		"LogReplays":          logReplays,
		"LostAnswer":          lostAnswer,
		"LostRequest":         lostRequest,
		"LostTwice":           lostTwice,
		"EightWriters":        func(t *testing.T, s *suite) { eightWriters(t, s.db(t)) },
		"RandomUpdates":       randomUpdates,
		"SnapshotsConcurrent": snapshotsConcurrent,
	}
}

func record(rev int64, writes ...store.Write) store.Record {
	return store.Record{Revision: rev, ID: fmt.Sprint("id", rev), Meta: meta(), Writes: writes}
}

func logAllOrNothing(t *testing.T, s *suite) {
	l := s.log(t)
	defer l.Close()
	ctx := t.Context()
	a1 := store.Write{Key: "x/a", Data: []byte("1")}
	commit := func(rs []store.Record, err error) error {
		return l.Commit(ctx, 0, func([]store.Record) ([]store.Record, error) { return rs, err })
	}
	is(t, "error of the function", commit([]store.Record{record(1, a1)}, errOurs()), errOurs())
	if err := commit(nil, nil); err != nil {
		t.Errorf("commit of nothing: %v", err)
	}
	if err := commit([]store.Record{record(1, a1), record(3, a1)}, nil); err == nil {
		t.Error("a gap was accepted")
	}
	if rs, err := l.Since(ctx, 0); err != nil || len(rs) != 0 {
		t.Errorf("records %v, %v after nothing was stored", rs, err)
	}
	two := []store.Record{record(1, a1), record(2, store.Write{Key: "x/a"}, store.Write{Key: "x/b", Data: []byte{}})}
	if err := commit(two, nil); err != nil {
		t.Fatal(err)
	}
	var tail []store.Record
	if err := l.Commit(ctx, 1, func(rs []store.Record) ([]store.Record, error) { tail = rs; return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if len(tail) != 1 || tail[0].Revision != 2 || tail[0].ID != "id2" || tail[0].Meta != meta() {
		t.Errorf("tail after 1: %+v", tail)
	}
	if diff := cmp.Diff(two[1].Writes, tail[0].Writes); diff != "" {
		t.Errorf("writes of record 2 (-want +got):\n%s", diff)
	}
	st, err := l.Load(ctx)
	if err != nil || st.Revision != 2 || len(st.Values) != 1 || st.Values["x/b"].Revision != 2 {
		t.Errorf("state %+v, %v; want x/b of revision 2", st, err)
	}
}

func logExpires(t *testing.T, s *suite) {
	l := s.log(t)
	defer l.Close()
	for i := range int64(10) {
		if err := l.Commit(t.Context(), i, func([]store.Record) ([]store.Record, error) {
			return []store.Record{record(i+1, store.Write{Key: "x/a", Data: []byte(fmt.Sprint(i))})}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Compact(t.Context(), 6, noTime()), l.Compact(t.Context(), 2, noTime())); err != nil {
		t.Fatal(err)
	}
	_, err := l.Since(t.Context(), 5)
	is(t, "Since before what is kept", err, store.ErrExpired)
	err = l.Commit(t.Context(), 5, func([]store.Record) ([]store.Record, error) {
		t.Error("the function was called without a full tail")
		return nil, nil
	})
	is(t, "Commit before what is kept", err, store.ErrExpired)
	if rs, err := l.Since(t.Context(), 6); err != nil || len(rs) != 4 || rs[0].Revision != 7 {
		t.Errorf("records after 6: %v, %v", rs, err)
	}
	if st, err := l.Load(t.Context()); err != nil || st.Revision != 10 || string(st.Values["x/a"].Data) != "9" {
		t.Errorf("state after compaction: %+v, %v", st, err)
	}
}

// logReplays: what all records add up to is what Load returns.
func logReplays(t *testing.T, s *suite) {
	db := s.db(t)
	base(t, db)
	eightWriters(t, db)
	see := func(full bool, v string) error {
		return db.Observe(t.Context(), store.Observation{Cluster: "c", Session: "s", Full: full, Put: fact1(), Drop: []string{v}})
	}
	if err := errors.Join(db.StartSession(t.Context(), "c", "s"), see(true, "a"), see(false, "b")); err != nil {
		t.Fatal(err)
	}
	del(t, db, tenant)
	closeDB(t, db)
	l := s.log(t)
	defer l.Close()
	checkReplay(t, l)
}

func checkReplay(t *testing.T, l store.Log) {
	t.Helper()
	records, err := l.Since(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := map[store.Key]store.Value{}
	for i, r := range records {
		if r.Revision != int64(i)+1 {
			t.Fatalf("record %d has revision %d", i, r.Revision)
		}
		for _, w := range r.Writes {
			want[w.Key] = store.Value{Revision: r.Revision, Data: w.Data}
			if w.Data == nil {
				delete(want, w.Key)
			}
		}
	}
	st, err := l.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, st.Values); diff != "" {
		t.Errorf("values (-replayed +loaded):\n%s", diff)
	}
}

// cutLog loses the connection at its next commits.
type cutLog struct {
	store.Log
	plan atomic.Pointer[[]cut]
}

// cut is what happens to one commit.
type cut int

const (
	fine          cut = iota
	afterCommit       // the commit is stored, its answer lost
	beforeCommit      // the commit never arrives
	beforeLocking     // there is no connection at all
)

func (l *cutLog) next() cut {
	p := l.plan.Load()
	if p == nil || len(*p) == 0 {
		return fine
	}
	rest := (*p)[1:]
	l.plan.Store(&rest)
	return (*p)[0]
}

func (l *cutLog) cut(plan ...cut) { l.plan.Store(&plan) }

func (l *cutLog) Commit(ctx context.Context, after int64, f func([]store.Record) ([]store.Record, error)) error {
	lost := fmt.Errorf("connection cut: %w", store.ErrUnknown)
	switch l.next() {
	case afterCommit:
		return errors.Join(l.Log.Commit(ctx, after, f), lost)
	case beforeCommit:
		return errors.Join(l.Log.Commit(ctx, after, func(tail []store.Record) ([]store.Record, error) {
			_, err := f(tail)
			return nil, err
		}), lost)
	case beforeLocking:
		return errOurs()
	}
	return l.Log.Commit(ctx, after, f)
}

func lostAnswer(t *testing.T, s *suite) {
	l := &cutLog{Log: s.log(t)}
	db := openDB(t, l)
	at := base(t, db).Revision()
	l.cut(afterCommit)
	calls := 0
	after, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		calls++
		_, err := tx.Put(res(front, "once"))
		return err
	})
	if err != nil || calls != 1 || nameOf(after.Resource(front)) != "once" || after.Revision() != at+1 {
		t.Errorf("update whose answer was lost: %v after %d calls, front %q at %d", err, calls, nameOf(after.Resource(front)), after.Revision())
	}
	if cs, err := db.History(t.Context(), store.HistoryQuery{FQN: front}); err != nil || len(cs) != 2 {
		t.Errorf("history has %d changes, %v; want the two that were made", len(cs), err)
	}
	put(t, db, res(front, "and on"))
}

func lostRequest(t *testing.T, s *suite) {
	l := &cutLog{Log: s.log(t)}
	db := openDB(t, l)
	before := base(t, db)
	l.cut(beforeCommit)
	_, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		_, err := tx.Put(res(front, "never"))
		return err
	})
	is(t, "update that never arrived", err, store.ErrUnavailable)
	l.cut(beforeLocking)
	_, err = db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		t.Error("a function was called without a connection")
		return nil
	})
	is(t, "update without a connection", err, store.ErrUnavailable)
	if diff := cmp.Diff(contents(before), contents(db.Snapshot())); diff != "" {
		t.Errorf("after updates that failed (-want +got):\n%s", diff)
	}
	if got, want := put(t, db, res(front, "later")).Revision(), before.Revision()+1; got != want {
		t.Errorf("revision %d, want %d", got, want)
	}
}

func lostTwice(t *testing.T, s *suite) {
	l := &cutLog{Log: s.log(t)}
	db := openDB(t, l)
	base(t, db)
	l.cut(afterCommit, beforeLocking, beforeLocking)
	if got := nameOf(put(t, db, res(front, "once")).Resource(front)); got != "once" {
		t.Errorf("front is %q, want once", got)
	}
}

// eightWriters count together, so that a lost or doubled update shows in the sum.
func eightWriters(t *testing.T, dbs ...*store.DB) {
	t.Helper()
	if dbs[0].Snapshot().Resource(front) == nil {
		base(t, dbs[0])
	}
	counter := front + "/gateways/counter"
	put(t, dbs[0], res(counter, "0"))
	start := dbs[0].Snapshot().Revision()
	const each = 25
	var wg sync.WaitGroup
	for w := range 8 {
		db := dbs[w%len(dbs)]
		wg.Go(func() {
			own := front + resource.FQN(fmt.Sprintf("/gateways/w%d", w))
			for i := range each {
				if _, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
					var n int
					if _, err := fmt.Sscan(nameOf(tx.Get(counter)), &n); err != nil {
						return err
					}
					_, err := tx.Put(res(counter, fmt.Sprint(n+1)))
					_, err2 := tx.Put(res(own, fmt.Sprint(i)))
					return errors.Join(err, err2)
				}); err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	for i, db := range dbs {
		wg.Go(func() {
			if err := followGapless(t.Context(), db, start, start+8*each); err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if got, want := nameOf(dbs[0].Snapshot().Resource(counter)), fmt.Sprint(8*each); got != want {
		t.Errorf("counter is %s, want %s", got, want)
	}
}

// followGapless reads commits until the last one, each of which must follow the one before.
func followGapless(ctx context.Context, db *store.DB, at, last int64) error {
	for at < last {
		cs, err := db.Changed(ctx, at)
		if err != nil {
			return err
		}
		for _, c := range cs {
			if c.Revision != at+1 {
				return fmt.Errorf("revision %d after %d", c.Revision, at)
			}
			at = c.Revision
		}
		if got := db.Snapshot().Revision(); got < at {
			return fmt.Errorf("snapshot at %d is behind its change %d", got, at)
		}
	}
	return nil
}

// snapshotsConcurrent is for the race detector: many make snapshots from one while others read it.
func snapshotsConcurrent(t *testing.T, s *suite) {
	db := s.db(t)
	from := base(t, db)
	want := contents(from)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				n := from.With(int64(j), map[store.Key]any{
					store.ResourceKey(front):              res(front, fmt.Sprint(i)),
					store.Key(fmt.Sprintf("r/new/%d", j)): res(back, "back"),
					store.ResourceKey(back):               nil,
				})
				if nameOf(n.Resource(front)) != fmt.Sprint(i) || n.Resource(back) != nil {
					t.Error("a snapshot has the changes of another one")
				}
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(want, contents(from)); diff != "" {
		t.Errorf("the snapshot that all came from (-want +got):\n%s", diff)
	}
}

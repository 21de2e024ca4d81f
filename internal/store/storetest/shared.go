package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// sharedTests need two instances on one database.
func sharedTests() map[string]func(*testing.T, *suite) {
	return map[string]func(*testing.T, *suite){
		"SharedWriters":       func(t *testing.T, s *suite) { eightWriters(t, s.db(t), s.db(t)) },
		"SharedHead":          sharedHead,
		"SharedDroppedWakeUp": sharedDroppedWakeUp,
		"SharedExpired":       sharedExpired,
		"SharedStoppedInside": sharedStoppedInside,
		"SharedFencing":       sharedFencing,
		"SharedEpoch":         sharedEpoch,
		"SharedLostAnswer":    sharedLostAnswer,
	}
}

func noTime() time.Time { return time.Time{} }

// deafLog never hears of others.
type deafLog struct {
	store.Log
	never chan struct{}
}

func (l *deafLog) Wake() <-chan struct{} { return l.never }

// deaf opens an instance that hears nothing and asks only as often as poll says.
func (s *suite) deaf(t *testing.T, poll time.Duration) *store.DB {
	t.Helper()
	return openDB(t, &deafLog{s.log(t), make(chan struct{})}, func(c *store.Config) { c.Poll = poll })
}

func sharedHead(t *testing.T, s *suite) {
	a, b := s.db(t), s.deaf(t, time.Hour)
	want := contents(base(t, a))
	head, err := b.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, contents(head)); diff != "" {
		t.Errorf("head of the other instance (-want +got):\n%s", diff)
	}
	// An update sees what it has not heard of.
	put(t, a, res(front, "1"))
	if _, err := b.Update(t.Context(), meta(), func(tx *store.Tx) error {
		if got := nameOf(tx.Get(front)); got != "1" {
			t.Errorf("front is %q inside an update of the other instance, want 1", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func sharedDroppedWakeUp(t *testing.T, s *suite) {
	a, b := s.db(t), s.deaf(t, 10*time.Millisecond)
	at := b.Snapshot().Revision()
	want := base(t, a).Revision()
	cs, err := b.Changed(t.Context(), at)
	if err != nil || cs[len(cs)-1].Revision != want {
		t.Errorf("commits %+v, %v; want up to %d", cs, err, want)
	}
}

func sharedExpired(t *testing.T, s *suite) {
	a, b := s.db(t, func(c *store.Config) { c.Retain.Commits = 5 }), s.deaf(t, time.Hour)
	at := b.Snapshot().Revision()
	base(t, a)
	for i := range 30 {
		put(t, a, res(front, fmt.Sprint(i), fmt.Sprintf("h%d.test", i)))
	}
	after := put(t, b, res(back, "from behind", "h29.test"))
	if got := nameOf(after.Resource(front)); got != "29" {
		t.Errorf("front is %q after the log expired, want 29", got)
	}
	if got := owner(after, "h29.test"); got != front {
		t.Errorf("h29.test belongs to %q, want %q", got, front)
	}
	_, err := b.Changed(t.Context(), at)
	is(t, "changes that were never seen", err, store.ErrExpired)
}

func sharedStoppedInside(t *testing.T, s *suite) {
	a, b := s.db(t), s.db(t)
	at := base(t, a).Revision()
	inside, leave, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		_, err := a.Update(t.Context(), meta(), func(tx *store.Tx) error {
			close(inside)
			<-leave
			_, err := tx.Put(res(front, "a"))
			return err
		})
		done <- err
	}()
	<-inside
	if s, err := b.Head(t.Context()); err != nil || s.Revision() != at { // readers are not stopped
		t.Errorf("head at %v, %v while another instance is inside an update", s, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := b.Changed(ctx, at); err == nil {
		t.Error("something of an unfinished update is seen")
	}
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := nameOf(put(t, b, res(back, "b")).Resource(front)); got != "a" {
		t.Errorf("front is %q, want a", got)
	}
}

func sharedFencing(t *testing.T, s *suite) {
	a, b := s.db(t), s.db(t)
	base(t, a)
	if err := a.StartSession(t.Context(), "c", "one"); err != nil {
		t.Fatal(err)
	}
	token := lead(t, a)
	if err := b.StartSession(t.Context(), "c", "two"); err != nil {
		t.Fatal(err)
	}
	lead(t, b)
	err := a.Observe(t.Context(), store.Observation{Cluster: "c", Session: "one", Put: fact1()})
	is(t, "session that another instance has fenced", err, store.ErrFenced)
	err = a.SetStatuses(t.Context(), token, map[resource.FQN]store.StatusRecord{front: {Status: "READY"}})
	is(t, "leader that another instance has fenced", err, store.ErrFenced)
}

func sharedEpoch(t *testing.T, s *suite) {
	if a, b := s.db(t), s.db(t); a.Epoch() != b.Epoch() || a.Epoch() == "" {
		t.Errorf("epochs %q and %q, want one", a.Epoch(), b.Epoch())
	}
}

// sharedLostAnswer: others go on while the outcome is looked up.
func sharedLostAnswer(t *testing.T, s *suite) {
	l := &cutLog{Log: s.log(t)}
	a, b := openDB(t, l), s.db(t)
	base(t, a)
	l.cut(afterCommit, beforeLocking, beforeLocking, beforeLocking)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20 {
			put(t, b, res(back, fmt.Sprint(i)))
		}
	}()
	if got := nameOf(put(t, a, res(front, "once")).Resource(front)); got != "once" {
		t.Errorf("front is %q, want once", got)
	}
	<-done
	if got := nameOf(put(t, a, res(tenant, "last")).Resource(back)); got != "19" {
		t.Errorf("back is %q, want 19", got)
	}
}

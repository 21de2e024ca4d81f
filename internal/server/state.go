package server

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/fleet"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/status"
	"isthmus.dev/isthmus/internal/store"
)

// state joins what the pipeline made with what the edges answered, and records how statuses change.
type state struct {
	db    *store.DB
	fleet func(cluster string) fleet.State
	log   *slog.Logger
	kick  chan struct{}

	mu         sync.Mutex
	staged     map[resource.FQN][]resource.Condition // guarded by mu; conditions of bundles that are not published yet
	compiled   int64                                 // guarded by mu
	conditions map[resource.FQN][]resource.Condition // guarded by mu; the slices are never written
	objects    map[resource.FQN]map[string][]string  // guarded by mu; by owner and cluster, object IDs
	owners     map[string]map[string][]resource.FQN  // guarded by mu; by cluster and object ID
	recorded   map[resource.FQN]transition           // used by run only
}

func newState(db *store.DB, f func(string) fleet.State, log *slog.Logger) *state {
	return &state{
		db: db, fleet: f, log: log, kick: make(chan struct{}, 1),
		conditions: map[resource.FQN][]resource.Condition{},
		staged:     map[resource.FQN][]resource.Condition{},
		objects:    map[resource.FQN]map[string][]string{},
		owners:     map[string]map[string][]resource.FQN{},
	}
}

// wake says that a status may have changed. It never blocks.
func (s *state) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// compiledTo takes in what the pipeline made of the snapshot of a revision: the conditions that changed (nil for a
// resource that is gone), and the changes of bundles. With changes it counts only once they are published: between the
// two, the fleet would say of the new objects that nobody has to send them any more.
func (s *state) compiledTo(revision int64, conditions map[resource.FQN][]resource.Condition, changes []istio.Change) {
	s.mu.Lock()
	for fqn, cs := range conditions {
		s.staged[fqn] = cs
	}
	if len(changes) == 0 {
		s.commit(revision, nil)
	}
	s.mu.Unlock()
	s.wake()
}

// published takes in that the fleet has the changes.
func (s *state) published(revision int64, changes []istio.Change) {
	s.mu.Lock()
	s.commit(revision, changes)
	s.mu.Unlock()
	s.wake()
}

// commit makes what is staged visible; the lock is held.
func (s *state) commit(revision int64, changes []istio.Change) {
	for fqn, cs := range s.staged {
		if cs == nil {
			delete(s.conditions, fqn)
			continue
		}
		s.conditions[fqn] = cs
	}
	clear(s.staged)
	for _, ch := range changes {
		s.bundle(ch)
	}
	s.compiled = max(s.compiled, revision)
}

// bundle keeps the index of owners; the lock is held.
func (s *state) bundle(ch istio.Change) {
	known := s.owners[ch.Cluster]
	if known == nil {
		known = map[string][]resource.FQN{}
		s.owners[ch.Cluster] = known
	}
	drop := ch.Drop
	if ch.Full || ch.Gone {
		put := map[string]bool{}
		for _, o := range ch.Put {
			put[o.ID] = true
		}
		drop = nil
		for id := range known {
			if !put[id] {
				drop = append(drop, id)
			}
		}
	}
	for _, id := range drop {
		s.disown(ch.Cluster, id)
	}
	for _, o := range ch.Put {
		s.disown(ch.Cluster, o.ID)
		known[o.ID] = o.Owners
		for _, fqn := range o.Owners {
			if s.objects[fqn] == nil {
				s.objects[fqn] = map[string][]string{}
			}
			s.objects[fqn][ch.Cluster] = append(s.objects[fqn][ch.Cluster], o.ID)
		}
	}
}

// disown forgets who an object was made from; the lock is held.
func (s *state) disown(cluster, id string) {
	for _, fqn := range s.owners[cluster][id] {
		// A new slice: views that were handed out keep the old one.
		rest := slices.DeleteFunc(slices.Clone(s.objects[fqn][cluster]), func(o string) bool { return o == id })
		if len(rest) > 0 {
			s.objects[fqn][cluster] = rest
			continue
		}
		delete(s.objects[fqn], cluster)
		if len(s.objects[fqn]) == 0 {
			delete(s.objects, fqn)
		}
	}
	delete(s.owners[cluster], id)
}

// view is what statuses are made from now. It is for one goroutine: it asks the fleet once per cluster.
func (s *state) view() status.View {
	s.mu.Lock()
	compiled := s.compiled
	s.mu.Unlock()
	clusters := map[string]status.Cluster{}
	return status.View{
		Snapshot: s.db.Snapshot(),
		Compiled: compiled,
		Conditions: func(fqn resource.FQN) []resource.Condition {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.conditions[fqn]
		},
		Objects: func(fqn resource.FQN) map[string][]string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return maps.Clone(s.objects[fqn])
		},
		Cluster: func(name string) status.Cluster {
			c, ok := clusters[name]
			if !ok {
				f := s.fleet(name)
				c = status.Cluster{
					Connected: f.Connected, Reported: f.Reported, LastSync: f.LastSync,
					Unsent: f.Unsent, Unanswered: f.Unanswered, NotOK: f.NotOK,
				}
				clusters[name] = c
			}
			return c
		},
	}
}

// Bursts of changes are gathered before statuses are recorded: for minSettle at least, and so long that recording
// takes a small part of the time.
const (
	minSettle  = 20 * time.Millisecond
	maxSettle  = 2 * time.Second
	settleRest = 9 // times as long as the last recording took
	// storeRest is how long a store that takes nothing is left alone.
	storeRest = time.Second
)

// run records transitions of statuses until ctx ends. A store that takes nothing for a while, such as one whose disk is
// full, is no reason to end: edges are served, and people can read, all the same.
func (s *state) run(ctx context.Context) error {
	var token int64 // 0 until it leads
	for {
		start := time.Now()
		var err error
		if token == 0 {
			token, err = s.db.Lead(ctx)
		}
		if err == nil {
			err = s.record(ctx, token)
		}
		rest := min(max(settleRest*time.Since(start), minSettle), maxSettle)
		switch {
		case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUnknown):
			s.log.ErrorContext(ctx, "statuses are not recorded", "error", err)
			rest = storeRest
			s.wake()
		case err != nil:
			return err
		}
		select {
		case <-s.kick:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// transition is what makes one status another one.
type transition struct{ status, message, etag, event string }

func (t transition) record() store.StatusRecord {
	return store.StatusRecord{Status: t.status, Message: t.message, Etag: t.etag, Event: t.event}
}

// record stores the statuses that are not as they were. New content was accepted first, however fast the rest went.
func (s *state) record(ctx context.Context, token int64) error {
	view := s.view()
	view.Cache = map[resource.FQN]*isthmusv1.ResourceStatus{}
	accepted, changed := map[resource.FQN]store.StatusRecord{}, map[resource.FQN]store.StatusRecord{}
	now := make(map[resource.FQN]transition, len(s.recorded))
	for k := range view.Snapshot.Prefix("r/") {
		fqn := k.FQN()
		st := view.Of(fqn)
		t := transition{st.GetStatus(), st.GetMessage(), st.GetEtag(), status.Event(st)}
		now[fqn] = t
		if s.recorded[fqn] == t {
			continue
		}
		changed[fqn] = t.record()
		if s.known(fqn).etag != t.etag && t.event != status.StoredEvent {
			accepted[fqn] = transition{status.Accepted, "Stored", t.etag, status.StoredEvent}.record()
		}
	}
	if err := s.db.SetStatuses(ctx, token, accepted); err != nil {
		return err
	}
	if err := s.db.SetStatuses(ctx, token, changed); err != nil {
		return err
	}
	s.recorded = now
	return nil
}

// known is the last transition that was recorded, by this process or by one before it.
func (s *state) known(fqn resource.FQN) transition {
	if t, ok := s.recorded[fqn]; ok {
		return t
	}
	r, ok := s.db.Status(fqn)
	if !ok {
		return transition{}
	}
	return transition{r.Status, r.Message, r.Etag, r.Event}
}

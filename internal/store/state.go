package store

import (
	"strings"
	"time"

	"isthmus.dev/isthmus/internal/resource"
)

// Keys that no snapshot has:
//
//	x/…            private values
//	e/epoch        the epoch
//	e/leader       the number of the newest leader
//	s/<cluster>    the session of the edge that may report
//	t/<fqn>        a *StatusRecord
const (
	epochKey  Key = "e/epoch"
	leaderKey Key = "e/leader"
)

func sessionKey(cluster string) Key  { return Key("s/" + cluster) }
func statusKey(fqn resource.FQN) Key { return Key("t/" + fqn) }
func isPrivate(k Key) bool           { return strings.HasPrefix(string(k), "x/") }
func (k Key) isPublic() bool         { return len(k) > 1 && k[1] == '/' && strings.IndexByte("rfc", k[0]) >= 0 }
func (s *Snapshot) get(k Key) any    { v, _ := s.tree.Get(k); return v }
func (s *state) revision() int64     { return s.public.revision }
func (s *state) has(k Key) bool      { return s.get(k) != nil }
func (s *state) same(k Key, v any) bool {
	old := s.get(k)
	return v == nil && old == nil || v != nil && old != nil && sameValue(old, v)
}

// state is everything at one revision. It never changes.
type state struct {
	// public is what callers see.
	public *Snapshot
	// hidden has the keys that they do not.
	hidden *Snapshot
	// asks counts, for each claim and workspace, the resources that ask for it (see askKey). It follows from
	// public, and is kept because counting anew would cost as much as the workspace is large.
	asks *Snapshot
}

func newState(revision int64, values map[Key]any, cfg *Config) *state {
	public, hidden, asks := map[Key]any{}, map[Key]any{}, map[Key]any{}
	for k, v := range values {
		if !k.isPublic() {
			hidden[k] = v
			continue
		}
		public[k] = v
		if r, ok := v.(*resource.Resource); ok {
			for _, a := range asksOf(r, cfg) {
				n, _ := asks[a].(int)
				asks[a] = n + 1
			}
		}
	}
	return &state{
		public: NewSnapshot(revision, public),
		hidden: NewSnapshot(revision, hidden),
		asks:   NewSnapshot(revision, asks),
	}
}

func (s *state) get(k Key) any {
	if k.isPublic() {
		return s.public.get(k)
	}
	return s.hidden.get(k)
}

// with is the state with changes made; nil removes.
func (s *state) with(revision int64, changes map[Key]any, cfg *Config) *state {
	public, hidden, asks := map[Key]any{}, map[Key]any{}, map[Key]any{}
	for k, v := range changes {
		if k.isPublic() {
			public[k] = v
		} else {
			hidden[k] = v
		}
	}
	for a, d := range askDeltas(s, changes, cfg) {
		n, _ := s.asks.get(a).(int)
		if asks[a] = n + d; n+d == 0 {
			asks[a] = nil
		}
	}
	return &state{
		public: s.public.With(revision, public),
		hidden: s.hidden.With(revision, hidden),
		asks:   s.asks.With(revision, asks),
	}
}

// commit is what one job wants to store.
type commit struct {
	meta    Meta
	changes map[Key]any
	history []Change
}

// Commit says which keys of the snapshot a revision changed.
type Commit struct {
	Revision int64
	Time     time.Time
	Meta
	// Keys in order.
	Keys []Key
}

// ring keeps the newest commits that changed something public.
type ring struct {
	size    int
	commits []Commit
	// dropped is the revision up to which commits are not in the ring any more, or never were.
	dropped int64
}

func (r *ring) add(c Commit) {
	if len(c.Keys) == 0 {
		return
	}
	r.commits = append(r.commits, c)
	if over := len(r.commits) - r.size; over > r.size/4 { // a quarter at a time: copying each time would be slow
		r.dropped = r.commits[over-1].Revision
		r.commits = append(make([]Commit, 0, r.size+r.size/4+1), r.commits[over:]...)
	}
}

// reset forgets all: the state was read anew.
func (r *ring) reset(revision int64) { r.commits, r.dropped = nil, revision }

package store

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// Observation is what the edge of a cluster saw.
type Observation struct {
	// Cluster is its name, not its FQN.
	Cluster string
	// Session under which it was seen.
	Session string
	// Full says that Put is everything there is: other facts of the cluster are gone.
	Full bool
	// Put are new or changed facts. They must not change any more.
	Put []*isthmusv1.Fact
	// Drop are the IDs of facts that are gone.
	Drop []string
}

// StartSession lets one session observe a cluster from now on; all earlier ones are fenced. Facts stay until a full
// observation of the new session replaces them.
func (db *DB) StartSession(ctx context.Context, cluster, session string) error {
	_, err := db.submit(ctx, func(s *state) (*commit, error) {
		k := sessionKey(cluster)
		if s.same(k, []byte(session)) {
			return nil, nil
		}
		return &commit{
			meta:    Meta{Who: "clusters/" + cluster, Why: "new session"},
			changes: map[Key]any{k: []byte(session)},
		}, nil
	})
	if err != nil {
		return fmt.Errorf("start session of cluster %q: %w", cluster, err)
	}
	return nil
}

// Observe stores what an edge saw, all of it or nothing; facts that are as stored are not written. It has no
// history. ErrFenced when the session is not the newest one of the cluster, or when the cluster was deleted since.
// Observations of many edges share one write to the disk.
func (db *DB) Observe(ctx context.Context, o Observation) error {
	_, err := db.submit(ctx, func(s *state) (*commit, error) {
		if !s.same(sessionKey(o.Cluster), []byte(o.Session)) {
			return nil, fmt.Errorf("session %q: %w", o.Session, ErrFenced)
		}
		changes := o.changes(s.public)
		if len(changes) == 0 {
			return nil, nil
		}
		return &commit{meta: Meta{Who: "clusters/" + o.Cluster, Why: "observed"}, changes: changes}, nil
	})
	if err != nil {
		return fmt.Errorf("observe cluster %q: %w", o.Cluster, err)
	}
	return nil
}

// changes that the observation makes.
func (o *Observation) changes(s *Snapshot) map[Key]any {
	changes := map[Key]any{}
	if o.Full {
		for k := range s.Prefix(FactKey(o.Cluster, "")) {
			changes[k] = nil
		}
	}
	for _, id := range o.Drop {
		if k := FactKey(o.Cluster, id); s.get(k) != nil {
			changes[k] = nil
		}
	}
	for _, f := range o.Put {
		k := FactKey(o.Cluster, f.GetId())
		if old, ok := s.get(k).(*isthmusv1.Fact); ok && proto.Equal(old, f) {
			delete(changes, k)
			continue
		}
		changes[k] = f
	}
	return changes
}

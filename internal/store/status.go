package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"isthmus.dev/isthmus/internal/resource"
)

// maxEvents is how many transitions of a status are kept.
const maxEvents = 10

// StatusRecord is what became of a resource.
type StatusRecord struct {
	// Status is one of ACCEPTED, READY, FAILED, DIRTY, PARTIAL.
	Status  string `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
	// Etag of the content that it is about.
	Etag string `json:"etag,omitempty"`
	// Event is the type of the transition that led here, for example XCP_APPLIED.
	Event string `json:"event,omitempty"`
	// Events are the last ten transitions, newest first. The store keeps them; SetStatuses ignores the field.
	Events []StatusEvent `json:"events,omitempty"`
}

// StatusEvent is a transition of a status.
type StatusEvent struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type,omitempty"`
	Etag    string    `json:"etag,omitempty"`
	Message string    `json:"message,omitempty"`
}

// Status returns what SetStatuses stored. The caller must not change it.
func (db *DB) Status(fqn resource.FQN) (*StatusRecord, bool) {
	r, ok := db.state.Load().hidden.get(statusKey(fqn)).(*StatusRecord)
	return r, ok
}

// Lead makes the caller the writer of statuses, and fences all that led before. The token goes to SetStatuses.
func (db *DB) Lead(ctx context.Context) (token int64, err error) {
	_, err = db.submit(ctx, func(s *state) (*commit, error) {
		token = leader(s) + 1
		return &commit{
			meta:    Meta{Who: "store", Why: "new leader"},
			changes: map[Key]any{leaderKey: strconv.AppendInt(nil, token, 10)},
		}, nil
	})
	if err != nil {
		return 0, fmt.Errorf("take the lead: %w", err)
	}
	return token, nil
}

func leader(s *state) int64 {
	b, _ := s.hidden.get(leaderKey).([]byte)
	n, _ := strconv.ParseInt(string(b), 10, 64)
	return n
}

// SetStatuses stores statuses in one commit. One that equals the stored one, Events aside, is not written; one whose
// resource does not exist (any more) is left out. Status writes wake nobody who waits in Changed. ErrFenced when
// another one leads.
func (db *DB) SetStatuses(ctx context.Context, token int64, statuses map[resource.FQN]StatusRecord) error {
	if len(statuses) == 0 {
		return nil
	}
	_, err := db.submit(ctx, func(s *state) (*commit, error) {
		if l := leader(s); l != token {
			return nil, fmt.Errorf("set statuses as leader %d: leader %d %w", token, l, ErrFenced)
		}
		now := db.cfg.Now().UTC()
		changes := map[Key]any{}
		for fqn, r := range statuses {
			if s.public.Resource(fqn) == nil {
				continue
			}
			old, _ := s.hidden.get(statusKey(fqn)).(*StatusRecord)
			if n := old.next(r, now); n != old {
				changes[statusKey(fqn)] = n
			}
		}
		if len(changes) == 0 {
			return nil, nil
		}
		return &commit{meta: Meta{Who: "store", Why: "statuses"}, changes: changes}, nil
	})
	return err
}

// next is the status after old, which may be nil and stays as it is.
func (old *StatusRecord) next(r StatusRecord, now time.Time) *StatusRecord {
	r.Events = nil
	if old != nil {
		if old.Status == r.Status && old.Message == r.Message && old.Etag == r.Etag && old.Event == r.Event {
			return old
		}
		r.Events = old.Events
	}
	e := StatusEvent{Time: now, Type: r.Event, Etag: r.Etag, Message: r.Message}
	events := append([]StatusEvent{e}, r.Events...)
	r.Events = events[:min(len(events), maxEvents)]
	return &r
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// load reads the whole state anew. Who follows with Changed is told to do the same.
func (db *DB) load(ctx context.Context) (*State, error) {
	loaded, err := db.log.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the store: %w", err)
	}
	values := make(map[Key]any, len(loaded.Values))
	for k, v := range loaded.Values {
		if values[k], err = decode(k, v, &db.cfg); err != nil {
			return nil, fmt.Errorf("load the store: %w", err)
		}
	}
	s := newState(loaded.Revision, values, &db.cfg)
	db.mu.Lock()
	defer db.mu.Unlock()
	if old := db.state.Load(); old != nil && old.revision() >= s.revision() {
		return loaded, nil // somebody was faster
	}
	db.state.Store(s)
	db.recent.reset(s.revision())
	db.wakeLocked()
	return loaded, nil
}

// advance takes over records of others. Those that are known already are skipped.
func (db *DB) advance(records []Record) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	s := db.state.Load()
	for i := range records {
		rec := &records[i]
		if rec.Revision <= s.revision() {
			continue
		}
		if rec.Revision != s.revision()+1 {
			return fmt.Errorf("the log goes from revision %d to %d", s.revision(), rec.Revision)
		}
		changes, err := decodeWrites(rec, &db.cfg)
		if err != nil {
			return err
		}
		s = s.with(rec.Revision, changes, &db.cfg)
		db.setLocked(s, rec)
	}
	return nil
}

// publish takes over what this instance has stored, unless the follower was faster.
func (db *DB) publish(stage []staged) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for i := range stage {
		if stage[i].state.revision() == db.state.Load().revision()+1 {
			db.setLocked(stage[i].state, &stage[i].record)
		}
	}
}

func (db *DB) setLocked(s *state, rec *Record) {
	c := Commit{Revision: rec.Revision, Time: rec.Time, Meta: rec.Meta}
	for _, w := range rec.Writes {
		if w.Key.isPublic() {
			c.Keys = append(c.Keys, w.Key)
		}
	}
	db.state.Store(s)
	db.recent.add(c)
	db.wakeLocked()
}

func (db *DB) wakeLocked() {
	close(db.moved)
	db.moved = make(chan struct{})
}

// Changed returns the commits after a revision that changed keys of the snapshot, oldest first, and waits until
// there is one. When it returns, Snapshot has them all. ErrExpired means that some are no longer kept: take Snapshot
// as all new and go on from its revision. Commits that changed statuses or private values only are left out.
func (db *DB) Changed(ctx context.Context, after int64) ([]Commit, error) {
	for {
		db.mu.Lock()
		moved := db.moved
		cs, err := db.recent.since(after)
		db.mu.Unlock()
		if err != nil || len(cs) > 0 {
			return cs, err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-db.stop:
			return nil, fmt.Errorf("store %w", ErrClosed)
		}
	}
}

func (r *ring) since(after int64) ([]Commit, error) {
	if after < r.dropped {
		return nil, fmt.Errorf("commits after revision %d: %w", after, ErrExpired)
	}
	i, _ := slices.BinarySearchFunc(r.commits, after+1, func(c Commit, rev int64) int {
		return int(c.Revision - rev)
	})
	return slices.Clone(r.commits[i:]), nil
}

// tail reads the log up to its end.
func (db *DB) tail(ctx context.Context) error {
	records, err := db.log.Since(ctx, db.state.Load().revision())
	if errors.Is(err, ErrExpired) {
		_, err = db.load(ctx)
		return err
	}
	if err != nil {
		return err
	}
	return db.advance(records)
}

// follow keeps the state up with what others write. The hint may be lost, so that the log is read without one too.
func (db *DB) follow(ctx context.Context) {
	tick := time.NewTicker(db.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case <-db.log.Wake():
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := db.tail(ctx); err != nil && ctx.Err() == nil {
			db.cfg.Log.WarnContext(ctx, "following the log", "error", err)
		}
	}
}

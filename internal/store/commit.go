package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// maxBatch is how many jobs share one write to the disk.
const maxBatch = 256

// resolveFor is how long the outcome of a commit whose answer was lost is asked for.
const resolveFor = 30 * time.Second

// job is a write that waits for its turn.
type job struct {
	// run decides what to store on top of a state; nil is nothing.
	run     func(*state) (*commit, error)
	started atomic.Bool
	done    chan struct{}

	// The results, valid when done is closed.
	result   *state
	err      error
	panicked any
}

// staged is a job's commit on its way to the disk.
type staged struct {
	record Record
	state  *state
}

// submit waits until run was called and what it returned is stored, and returns the state right after. When ctx ends
// before its turn has come, run is never called.
func (db *DB) submit(ctx context.Context, run func(*state) (*commit, error)) (*state, error) {
	j := &job{run: run, done: make(chan struct{})}
	db.queueMu.Lock()
	if db.closing {
		db.queueMu.Unlock()
		return nil, fmt.Errorf("store %w", ErrClosed)
	}
	db.queue = append(db.queue, j)
	db.queueMu.Unlock()
	select {
	case db.kick <- struct{}{}:
	default:
	}
	select {
	case <-j.done:
	case <-ctx.Done():
		if j.started.CompareAndSwap(false, true) {
			return nil, context.Cause(ctx)
		}
		<-j.done // it is being written: whether it was is worth a moment
	}
	if j.panicked != nil {
		panic(j.panicked) // where the function came from, not in the loop that all share
	}
	return j.result, j.err
}

// commitLoop is the only writer. What queues up while the disk is busy is written together.
func (db *DB) commitLoop(ctx context.Context) {
	for {
		select {
		case <-db.kick:
		case <-db.stop:
			for _, j := range db.take(0) {
				j.err = fmt.Errorf("store %w", ErrClosed)
				close(j.done)
			}
			return
		}
		for {
			jobs := db.take(maxBatch)
			if len(jobs) == 0 {
				break
			}
			// A commit that has begun is finished, so that its caller learns what became of it.
			db.commitBatch(context.WithoutCancel(ctx), jobs)
			for _, j := range jobs {
				close(j.done)
			}
		}
		db.compact(context.WithoutCancel(ctx))
	}
}

// take removes up to n jobs from the queue, all for 0. Jobs whose caller left are dropped.
func (db *DB) take(n int) []*job {
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	var jobs []*job
	for len(db.queue) > 0 && (n == 0 || len(jobs) < n) {
		j := db.queue[0]
		db.queue[0] = nil
		db.queue = db.queue[1:]
		if j.started.CompareAndSwap(false, true) {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// commitBatch runs jobs one after the other and stores what they want as one write. Each has its own revision.
func (db *DB) commitBatch(ctx context.Context, jobs []*job) {
	id, start := newID(), db.state.Load().revision()
	stage, err := db.tryBatch(ctx, id, start, jobs)
	if errors.Is(err, ErrExpired) { // fell behind what the log keeps; no job has run
		if _, err = db.load(ctx); err == nil {
			start = db.state.Load().revision()
			stage, err = db.tryBatch(ctx, id, start, jobs)
		}
	}
	switch {
	case err == nil:
		db.publish(stage)
		return
	case errors.Is(err, ErrUnknown):
		if err = db.resolve(ctx, id, start); err == nil {
			return
		}
	}
	for _, j := range jobs {
		if j.panicked == nil && j.err == nil {
			j.err = err
		}
	}
}

// tryBatch is one attempt. Errors of jobs are in the jobs.
func (db *DB) tryBatch(ctx context.Context, id string, start int64, jobs []*job) (stage []staged, err error) {
	err = db.log.Commit(ctx, start, func(tail []Record) ([]Record, error) {
		if err := db.advance(tail); err != nil {
			return nil, err
		}
		var records []Record
		s := db.state.Load()
		for _, j := range jobs {
			st, err := db.runJob(j, s, id)
			if j.err = err; err != nil || j.panicked != nil {
				continue
			}
			if st != nil {
				s = st.state
				stage = append(stage, *st)
				records = append(records, st.record)
			}
			j.result = s
		}
		return records, nil
	})
	switch {
	case err == nil, errors.Is(err, ErrUnknown), errors.Is(err, ErrExpired):
		return stage, err
	}
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// runJob makes a record of what the job wants; nil when it wants nothing. A panic is kept for the caller.
func (db *DB) runJob(j *job, s *state, id string) (st *staged, err error) {
	defer func() {
		if p := recover(); p != nil {
			st, j.panicked = nil, p
		}
	}()
	c, err := j.run(s)
	if err != nil || c == nil {
		return nil, err
	}
	rec := Record{Revision: s.revision() + 1, Time: db.cfg.Now().UTC(), ID: id, Meta: c.meta, Changes: c.history}
	if rec.Writes, err = encodeWrites(c.changes); err != nil {
		return nil, err
	}
	for i := range rec.Changes {
		h := &rec.Changes[i]
		h.Revision, h.Time, h.Meta = rec.Revision, rec.Time, rec.Meta
	}
	return &staged{record: rec, state: s.with(rec.Revision, c.changes, &db.cfg)}, nil
}

// resolve finds out what became of a commit whose answer was lost: nil when it is stored. Whoever has the lock sees
// all commits, so that one which is not there then never will be.
func (db *DB) resolve(ctx context.Context, id string, start int64) error {
	deadline := time.NewTimer(resolveFor)
	defer deadline.Stop()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		found := false
		err := db.log.Commit(ctx, start, func(tail []Record) ([]Record, error) {
			for _, r := range tail {
				found = found || r.ID == id
			}
			return nil, db.advance(tail)
		})
		switch {
		case err == nil && found:
			return nil
		case err == nil:
			return fmt.Errorf("%w: the connection was lost before the commit", ErrUnavailable)
		}
		db.cfg.Log.WarnContext(ctx, "outcome of a commit is not known yet", "id", id, "error", err)
		select {
		case <-time.After(wait):
		case <-deadline.C:
			return fmt.Errorf("commit %s: %w: %w", id, ErrUnknown, err)
		case <-db.stop:
			return fmt.Errorf("commit %s: %w: %w", id, ErrUnknown, err)
		}
	}
}

// compact forgets old records once in a while.
func (db *DB) compact(ctx context.Context) {
	through := db.state.Load().revision() - db.cfg.Retain.Commits
	if through-db.compacted <= db.cfg.Retain.Commits/10 {
		return
	}
	db.compacted = through // after an error as well: it is tried again with the next batch of records
	var history time.Time
	if db.cfg.Retain.History > 0 {
		history = db.cfg.Now().Add(-db.cfg.Retain.History)
	}
	if err := db.log.Compact(ctx, through, history); err != nil {
		db.cfg.Log.WarnContext(ctx, "compaction of the log", "through", through, "error", err)
	}
}

// newID is 128 random bits.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

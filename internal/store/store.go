package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"isthmus.dev/isthmus/internal/resource"
)

// Config adjusts a DB. The zero value is what a server needs. Kind and Claims are pure functions.
type Config struct {
	// Kind finds a kind by its ID, nil when there is none.
	Kind func(id string) *resource.Kind // nil means resource.ByID
	// Claims lists what a resource asks for, as keys made by HostClaimKey, FrontClaimKey and NamespaceClaimKey.
	Claims func(*resource.Resource) []Key // nil means those of resource.Claims

	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil discards
	Retain Retain
	// Poll is how often the log is read when no hint comes that others wrote; it does not matter to a log that
	// nobody else writes.
	Poll time.Duration // 0 means 1s
}

// Retain says for how long things are kept.
type Retain struct {
	// Commits kept in the log for other instances that fell behind. What the commits add up to is always kept.
	Commits int64 // 0 means 10,000
	// Recent commits whose keys are kept in memory for Changed.
	Recent int // 0 means 4,096
	// History of resources.
	History time.Duration // 0 means for ever
}

// DB is the store. It is safe for concurrent use.
//
// # Consistency
//
// Updates run one after the other, each on the state that all before it left. When a method that writes has
// returned without an error, the write is on disk and every later Snapshot has it. Snapshot may be behind other
// instances; Head never is.
//
// # Failure
//
// A write that returns an error left nothing behind, with one exception: ErrUnknown.
type DB struct {
	log Log
	cfg Config

	// state is what Snapshot returns. It is written under mu.
	state atomic.Pointer[state]

	mu     sync.Mutex
	recent ring          // guarded by mu
	moved  chan struct{} // guarded by mu; closed and replaced at each commit

	queueMu sync.Mutex
	queue   []*job // guarded by queueMu
	closing bool   // guarded by queueMu
	kick    chan struct{}

	compacted int64 // used by the committer only

	stop    chan struct{}
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// Open reads the whole state from the log and starts to follow it. The DB owns the log from now on, also when Open
// returns an error, and closes it. The first Open of a database gives it its epoch.
func Open(ctx context.Context, log Log, cfg Config) (*DB, error) {
	if cfg.Kind == nil {
		cfg.Kind = resource.ByID
	}
	if cfg.Claims == nil {
		cfg.Claims = claimKeys
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Poll = cmp.Or(cfg.Poll, time.Second)
	cfg.Retain.Commits = cmp.Or(cfg.Retain.Commits, 10_000)
	cfg.Retain.Recent = cmp.Or(cfg.Retain.Recent, 4096)
	db := &DB{
		log: log, cfg: cfg,
		recent: ring{size: cfg.Retain.Recent},
		moved:  make(chan struct{}),
		kick:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
	}
	loaded, err := db.load(ctx)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	db.compacted = max(0, db.state.Load().revision()-cfg.Retain.Commits)

	// The workers live as long as the DB, not as the caller's wish to open it.
	ctx, db.cancel = context.WithCancel(context.WithoutCancel(ctx))
	db.workers.Go(func() { db.commitLoop(ctx) })
	if log.Wake() != nil {
		db.workers.Go(func() { db.follow(ctx) })
	}
	if err := db.begin(ctx, loaded.Restored); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// begin gives the database an epoch when it has none, or when it went back in time.
func (db *DB) begin(ctx context.Context, restored bool) error {
	had := db.Epoch() != ""
	if had && !restored {
		return nil
	}
	if had {
		db.cfg.Log.InfoContext(ctx, "database is a copy put in its place: a new epoch begins",
			"revision", db.Snapshot().Revision())
	}
	_, err := db.submit(ctx, func(s *state) (*commit, error) {
		if s.has(epochKey) && !restored { // another instance was first
			return nil, nil
		}
		return newEpoch(), nil
	})
	if err != nil {
		return fmt.Errorf("begin an epoch: %w", err)
	}
	return nil
}

// Close waits for the commit that is under way, refuses all others, and closes the log.
func (db *DB) Close() error {
	db.queueMu.Lock()
	if db.closing {
		db.queueMu.Unlock()
		return nil
	}
	db.closing = true
	db.queueMu.Unlock()
	close(db.stop)
	db.cancel()
	db.workers.Wait()
	if err := db.log.Close(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// Snapshot is the newest state that this instance knows.
func (db *DB) Snapshot() *Snapshot { return db.state.Load().public }

// Head is a state that has every write that returned, at any instance, before Head was called.
func (db *DB) Head(ctx context.Context) (*Snapshot, error) {
	if db.log.Wake() == nil { // nobody else writes, and own writes are in the state before they return
		return db.Snapshot(), nil
	}
	if err := db.tail(ctx); err != nil {
		return nil, fmt.Errorf("read the head: %w", err)
	}
	return db.Snapshot(), nil
}

// Epoch identifies the line of time that revisions count in. It is made at the first start, and anew when the
// database was restored from a copy, so that revision 7 before and after are not mistaken for each other.
func (db *DB) Epoch() string {
	e, _ := db.state.Load().hidden.Get(epochKey)
	s, _ := e.([]byte)
	return string(s)
}

// NewEpoch begins a new epoch, as after a restore.
func (db *DB) NewEpoch(ctx context.Context) error {
	_, err := db.submit(ctx, func(*state) (*commit, error) { return newEpoch(), nil })
	return err
}

func newEpoch() *commit {
	return &commit{
		meta:    Meta{Who: "store", Why: "new epoch"},
		changes: map[Key]any{epochKey: []byte(newID())},
	}
}

// Private returns a value that Tx.PutPrivate stored. The caller must not change it.
func (db *DB) Private(key Key) ([]byte, bool) {
	v, ok := db.state.Load().hidden.Get(key)
	b, isBytes := v.([]byte)
	return b, ok && isBytes && isPrivate(key)
}

// Update runs f and commits what it did as one revision: all of it, or, when f returns an error or panics, nothing.
// The error of f is returned as it is. f runs at most once, alone, and does no I/O: everybody waits for it. When f
// changes nothing, nothing is committed. The snapshot is the state right after the commit.
func (db *DB) Update(ctx context.Context, meta Meta, f func(*Tx) error) (*Snapshot, error) {
	s, err := db.submit(ctx, func(s *state) (*commit, error) {
		tx := newTx(s, &db.cfg)
		defer tx.finish()
		if err := f(tx); err != nil {
			return nil, err
		}
		return tx.commit(meta)
	})
	if err != nil {
		return nil, err
	}
	return s.public, nil
}

// DryRun runs f like Update and commits nothing. The snapshot is the state as it would be.
func (db *DB) DryRun(ctx context.Context, meta Meta, f func(*Tx) error) (*Snapshot, error) {
	if _, err := db.Head(ctx); err != nil {
		return nil, err
	}
	s := db.state.Load()
	tx := newTx(s, &db.cfg)
	defer tx.finish()
	if err := f(tx); err != nil {
		return nil, err
	}
	c, err := tx.commit(meta)
	if err != nil || c == nil {
		return s.public, err
	}
	return s.with(s.revision()+1, c.changes, &db.cfg).public, nil
}

// History returns changes to resources, newest first.
func (db *DB) History(ctx context.Context, q HistoryQuery) ([]Change, error) {
	cs, err := db.log.History(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("history of %q: %w", q.FQN, err)
	}
	return cs, nil
}

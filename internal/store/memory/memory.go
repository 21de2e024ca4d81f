// Package memory is a store.Log in memory, for tests. Several instances can share one Database.
package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"isthmus.dev/isthmus/internal/store"
)

// Database is what instances share. It lives as long as the process.
type Database struct {
	writer chan struct{} // the lock of the database: whoever has sent may write

	mu      sync.Mutex
	head    int64                     // guarded by mu
	oldest  int64                     // guarded by mu; revision of the last forgotten record
	records []store.Record            // guarded by mu
	values  map[store.Key]store.Value // guarded by mu
	history []store.Change            // guarded by mu; oldest first
	logs    map[*Log]bool             // guarded by mu
}

// New is an empty database.
func New() *Database {
	return &Database{
		writer: make(chan struct{}, 1),
		values: map[store.Key]store.Value{},
		logs:   map[*Log]bool{},
	}
}

// Log is one instance's way to a Database.
type Log struct {
	db   *Database
	wake chan struct{}
}

var _ store.Log = (*Log)(nil)

// Open makes another instance.
func (db *Database) Open() *Log {
	l := &Log{db: db, wake: make(chan struct{}, 1)}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.logs[l] = true
	return l
}

// Load implements store.Log.
func (l *Log) Load(ctx context.Context) (*store.State, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	l.db.mu.Lock()
	defer l.db.mu.Unlock()
	s := &store.State{Revision: l.db.head, Values: make(map[store.Key]store.Value, len(l.db.values))}
	for k, v := range l.db.values {
		s.Values[k] = store.Value{Revision: v.Revision, Data: slices.Clone(v.Data)}
	}
	return s, nil
}

// Commit implements store.Log.
func (l *Log) Commit(ctx context.Context, after int64, f func([]store.Record) ([]store.Record, error)) error {
	select {
	case l.db.writer <- struct{}{}:
		defer func() { <-l.db.writer }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	tail, err := l.Since(ctx, after)
	if err != nil {
		return err
	}
	records, err := f(tail)
	if err != nil || len(records) == 0 {
		return err
	}
	return l.db.append(l, records)
}

func (db *Database) append(from *Log, records []store.Record) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	for i, r := range records {
		if want := db.head + int64(i) + 1; r.Revision != want {
			return fmt.Errorf("record has revision %d, not %d", r.Revision, want)
		}
	}
	for _, r := range records {
		db.head = r.Revision
		db.history = append(db.history, r.Changes...)
		r.Changes = nil
		db.records = append(db.records, r)
		for _, w := range r.Writes {
			if w.Data == nil {
				delete(db.values, w.Key)
				continue
			}
			db.values[w.Key] = store.Value{Revision: r.Revision, Data: w.Data}
		}
	}
	for l := range db.logs {
		if l == from {
			continue
		}
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// Since implements store.Log.
func (l *Log) Since(ctx context.Context, after int64) ([]store.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	l.db.mu.Lock()
	defer l.db.mu.Unlock()
	if after < l.db.oldest {
		return nil, fmt.Errorf("records after %d: %w", after, store.ErrExpired)
	}
	if after >= l.db.head {
		return nil, nil
	}
	return slices.Clone(l.db.records[after-l.db.oldest:]), nil
}

// History implements store.Log.
func (l *Log) History(_ context.Context, q store.HistoryQuery) ([]store.Change, error) {
	l.db.mu.Lock()
	defer l.db.mu.Unlock()
	var out []store.Change
	for i := len(l.db.history) - 1; i >= 0; i-- {
		if c := l.db.history[i]; q.Matches(&c) {
			out = append(out, c)
		}
		if q.Limit > 0 && len(out) == q.Limit {
			break
		}
	}
	return out, nil
}

// Compact implements store.Log.
func (l *Log) Compact(_ context.Context, through int64, history time.Time) error {
	l.db.mu.Lock()
	defer l.db.mu.Unlock()
	if n := min(through, l.db.head) - l.db.oldest; n > 0 {
		l.db.records = slices.Clone(l.db.records[n:])
		l.db.oldest += n
	}
	l.db.history = slices.DeleteFunc(l.db.history, func(c store.Change) bool { return c.Time.Before(history) })
	return nil
}

// Wake implements store.Log.
func (l *Log) Wake() <-chan struct{} { return l.wake }

// Close implements store.Log.
func (l *Log) Close() error {
	l.db.mu.Lock()
	defer l.db.mu.Unlock()
	delete(l.db.logs, l)
	return nil
}

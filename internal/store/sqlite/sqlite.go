// Package sqlite is a store.Log in one SQLite file, for a server that runs alone.
//
// The process that opened the file has it for itself. A commit is on the disk when it returns.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"isthmus.dev/isthmus/internal/store"
)

// Log is a store.Log in a file.
type Log struct {
	path string
	db   *sql.DB

	mu       sync.Mutex // one thing at a time: there is one connection
	conn     *sql.Conn  // guarded by mu
	stmts    statements // guarded by mu
	mark     *mark      // guarded by mu
	restored bool
	step     func() // called before each statement of a commit, for tests; never nil
}

var _ store.Log = (*Log)(nil)

// Open opens the database in the file, which is made when it does not exist, and brings its tables up to date.
// Another process that has it open is store.ErrInUse. Only the user of this process can read a new file.
//
// A file ".mark" beside it remembers how far the database got, so that a copy put in its place is noticed: restoring
// a backup means to stop the server, to replace the file, and to start it.
func Open(ctx context.Context, path string) (*Log, error) {
	l, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open database %q: %w", path, err)
	}
	return l, nil
}

func open(ctx context.Context, path string) (*Log, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// SQLite would make it readable for all. The log files beside it get the mode of this one.
	f, err := os.OpenFile(abs, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: abs}).EscapedPath()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	l := &Log{path: abs, db: db, step: func() {}}
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(translate(err), l.Close())
	}
	return l, nil
}

// start takes the file for this process. The order matters: with the lock mode set first, the write-ahead log needs
// no shared memory and nobody can come between.
func (l *Log) start(ctx context.Context) (err error) {
	if l.conn, err = l.db.Conn(ctx); err != nil {
		return err
	}
	for _, pragma := range []string{
		"busy_timeout = 1000",
		"locking_mode = EXCLUSIVE",
		"journal_mode = WAL",
		"synchronous = FULL",
	} {
		if _, err := l.conn.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return err
		}
	}
	if err := migrate(ctx, l.conn); err != nil {
		return err
	}
	if l.stmts, err = prepare(ctx, l.conn); err != nil {
		return err
	}
	var head, forgotten int64
	var identity string
	err = l.stmts.head.QueryRowContext(ctx).Scan(&head, &forgotten, &identity)
	if err != nil {
		return err
	}
	l.mark, l.restored, err = openMark(l.path+".mark", identity, head)
	return err
}

// Load implements store.Log.
func (l *Log) Load(ctx context.Context) (*store.State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &store.State{Values: map[store.Key]store.Value{}, Restored: l.restored}
	var forgotten int64
	var identity string
	if err := l.stmts.head.QueryRowContext(ctx).Scan(&s.Revision, &forgotten, &identity); err != nil {
		return nil, fmt.Errorf("read the head of %q: %w", l.path, err)
	}
	rows, err := l.conn.QueryContext(ctx, "SELECT key, revision, data FROM value")
	if err != nil {
		return nil, fmt.Errorf("read the values of %q: %w", l.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var k store.Key
		var v store.Value
		if err := rows.Scan(&k, &v.Revision, &v.Data); err != nil {
			return nil, fmt.Errorf("read the values of %q: %w", l.path, err)
		}
		s.Values[k] = v
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the values of %q: %w", l.path, err)
	}
	return s, nil
}

// Since implements store.Log.
func (l *Log) Since(ctx context.Context, after int64) ([]store.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since(ctx, after)
}

func (l *Log) since(ctx context.Context, after int64) ([]store.Record, error) {
	var head, forgotten int64
	var identity string
	err := l.stmts.head.QueryRowContext(ctx).Scan(&head, &forgotten, &identity)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the head of %q: %w", l.path, err)
	case after < forgotten:
		return nil, fmt.Errorf("records after %d of %q: %w", after, l.path, store.ErrExpired)
	case after >= head:
		return nil, nil
	}
	records, err := l.records(ctx, after)
	if err == nil {
		err = l.writes(ctx, after, records)
	}
	if err != nil {
		return nil, fmt.Errorf("read the records of %q: %w", l.path, err)
	}
	return records, nil
}

func (l *Log) records(ctx context.Context, after int64) ([]store.Record, error) {
	rows, err := l.conn.QueryContext(ctx,
		"SELECT revision, id, time, who, why FROM record WHERE revision > ? ORDER BY revision", after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var records []store.Record
	for rows.Next() {
		var r store.Record
		var nanos int64
		if err := rows.Scan(&r.Revision, &r.ID, &nanos, &r.Who, &r.Why); err != nil {
			return nil, err
		}
		r.Time = time.Unix(0, nanos).UTC()
		records = append(records, r)
	}
	return records, rows.Err()
}

// writes fills in the writes of records, which are all those after a revision.
func (l *Log) writes(ctx context.Context, after int64, records []store.Record) error {
	rows, err := l.conn.QueryContext(ctx,
		"SELECT revision, key, data IS NULL, data FROM write WHERE revision > ? ORDER BY revision, key", after)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var revision int64
		var w store.Write
		var removed bool
		if err := rows.Scan(&revision, &w.Key, &removed, &w.Data); err != nil {
			return err
		}
		if !removed && w.Data == nil {
			w.Data = []byte{} // an empty value is not a removal
		}
		i := revision - after - 1
		if i < 0 || i >= int64(len(records)) || records[i].Revision != revision {
			return fmt.Errorf("write of %q belongs to revision %d, which has no record", w.Key, revision)
		}
		records[i].Writes = append(records[i].Writes, w)
	}
	return rows.Err()
}

// Compact implements store.Log.
func (l *Log) Compact(ctx context.Context, through int64, history time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.transact(ctx, func() error {
		for _, s := range []string{
			"UPDATE head SET forgotten = max(forgotten, min(?1, revision))",
			"DELETE FROM write WHERE revision <= ?1",
			"DELETE FROM record WHERE revision <= ?1",
		} {
			if _, err := l.conn.ExecContext(ctx, s, through); err != nil {
				return err
			}
		}
		if history.IsZero() {
			return nil
		}
		_, err := l.conn.ExecContext(ctx, "DELETE FROM history WHERE time < ?", history.UnixNano())
		return err
	})
	if err != nil {
		return fmt.Errorf("compact %q: %w", l.path, err)
	}
	return nil
}

// Backup writes a copy of the database, as of now, to a file that must not exist. A server that starts with the copy
// begins a new epoch.
func (l *Log) Backup(ctx context.Context, file string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.conn.ExecContext(ctx, "VACUUM INTO ?", file); err != nil {
		return fmt.Errorf("copy %q to %q: %w", l.path, file, err)
	}
	return nil
}

// Wake implements store.Log: nobody else can write.
func (l *Log) Wake() <-chan struct{} { return nil }

// Close implements store.Log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	errs = append(errs, l.stmts.close())
	if l.conn != nil {
		errs = append(errs, l.conn.Close())
	}
	errs = append(errs, l.db.Close(), l.mark.close())
	return errors.Join(errs...)
}

// translate turns the driver's errors that others can do something about into the store's.
func translate(err error) error {
	e, ok := errors.AsType[*driver.Error](err)
	if !ok {
		return err
	}
	switch e.Code() & 0xff {
	case codes.SQLITE_BUSY, codes.SQLITE_LOCKED:
		return fmt.Errorf("%w: one server at a time can have it", store.ErrInUse)
	}
	return err
}

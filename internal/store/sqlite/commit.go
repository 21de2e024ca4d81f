package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"isthmus.dev/isthmus/internal/store"
)

// statements of a commit, prepared once.
type statements struct {
	head, record, write, set, remove, history, advance *sql.Stmt
}

func (s *statements) all() map[string]**sql.Stmt {
	return map[string]**sql.Stmt{
		"SELECT revision, forgotten, identity FROM head":                           &s.head,
		"INSERT INTO record (revision, id, time, who, why) VALUES (?, ?, ?, ?, ?)": &s.record,
		"INSERT INTO write (revision, key, data) VALUES (?, ?, ?)":                 &s.write,
		"INSERT INTO value (key, revision, data) VALUES (?, ?, ?) " +
			"ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, data = excluded.data": &s.set,
		"DELETE FROM value WHERE key = ?": &s.remove,
		"INSERT INTO history (fqn, revision, time, who, why, operation, kind, before, after) " +
			"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)": &s.history,
		"UPDATE head SET revision = ?1 WHERE revision = ?1 - 1": &s.advance,
	}
}

func prepare(ctx context.Context, conn *sql.Conn) (s statements, err error) {
	for text, stmt := range s.all() {
		if *stmt, err = conn.PrepareContext(ctx, text); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *statements) close() error {
	var errs []error
	for _, stmt := range s.all() {
		if *stmt != nil {
			errs = append(errs, (*stmt).Close())
		}
	}
	return errors.Join(errs...)
}

// Commit implements store.Log.
func (l *Log) Commit(ctx context.Context, after int64, f func([]store.Record) ([]store.Record, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var own error // of f: to be returned as it is
	var records []store.Record
	err := l.transact(ctx, func() error {
		tail, err := l.since(ctx, after)
		if err != nil {
			return err
		}
		if records, own = f(tail); own != nil {
			return own
		}
		if len(records) == 0 {
			return errNothing
		}
		for i := range records {
			if err := l.append(ctx, &records[i]); err != nil {
				return fmt.Errorf("revision %d: %w", records[i].Revision, err)
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, errNothing):
		return nil
	case own != nil:
		return own
	case err != nil:
		return fmt.Errorf("commit to %q: %w", l.path, err)
	}
	l.mark.set(records[len(records)-1].Revision)
	return nil
}

// errNothing ends a transaction that has nothing to store.
var errNothing = errors.New("nothing to store")

// transact runs f inside a transaction. When the commit itself fails, nobody knows whether it is on the disk until
// the database was asked: ErrUnknown.
func (l *Log) transact(ctx context.Context, f func() error) error {
	if err := l.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return translate(err)
	}
	err := f()
	if err == nil {
		if err = l.exec(ctx, "COMMIT"); err == nil {
			return nil
		}
		err = fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	if undo := l.exec(context.WithoutCancel(ctx), "ROLLBACK"); undo != nil && !errors.Is(err, store.ErrUnknown) {
		return errors.Join(err, undo)
	}
	return err
}

func (l *Log) exec(ctx context.Context, text string) error {
	l.step()
	_, err := l.conn.ExecContext(ctx, text)
	return err
}

// append writes one record and what follows from it.
func (l *Log) append(ctx context.Context, r *store.Record) error {
	run := func(s *sql.Stmt, args ...any) (sql.Result, error) {
		l.step()
		return s.ExecContext(ctx, args...)
	}
	res, err := run(l.stmts.advance, r.Revision)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, errors.New("not the next revision"))
	}
	if _, err := run(l.stmts.record, r.Revision, r.ID, r.Time.UnixNano(), r.Who, r.Why); err != nil {
		return err
	}
	for _, w := range r.Writes {
		if _, err := run(l.stmts.write, r.Revision, string(w.Key), w.Data); err != nil {
			return err
		}
		if w.Data == nil {
			_, err = run(l.stmts.remove, string(w.Key))
		} else {
			_, err = run(l.stmts.set, string(w.Key), r.Revision, w.Data)
		}
		if err != nil {
			return err
		}
	}
	for _, c := range r.Changes {
		if _, err := run(l.stmts.history, string(c.FQN), c.Revision, c.Time.UnixNano(), c.Who, c.Why,
			c.Operation, c.Kind, c.Before, c.After); err != nil {
			return err
		}
	}
	return nil
}

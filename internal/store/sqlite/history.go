package sqlite

import (
	"context"
	"fmt"
	"strings"
	"time"

	"isthmus.dev/isthmus/internal/store"
)

// History implements store.Log.
func (l *Log) History(ctx context.Context, q store.HistoryQuery) ([]store.Change, error) {
	text, args := historyQuery(q)
	l.mu.Lock()
	defer l.mu.Unlock()
	rows, err := l.conn.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("read the history of %q: %w", l.path, err)
	}
	defer rows.Close()
	var out []store.Change
	for rows.Next() {
		var c store.Change
		var nanos int64
		if err := rows.Scan(&c.FQN, &c.Revision, &nanos, &c.Who, &c.Why, &c.Operation, &c.Kind, &c.Before, &c.After); err != nil {
			return nil, fmt.Errorf("read the history of %q: %w", l.path, err)
		}
		c.Time = time.Unix(0, nanos).UTC()
		out = append(out, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the history of %q: %w", l.path, err)
	}
	return out, nil
}

// historyQuery says in SQL what HistoryQuery.Matches says in Go.
func historyQuery(q store.HistoryQuery) (text string, args []any) {
	where := []string{"revision > ?"}
	args = append(args, q.After)
	if q.Through > 0 {
		where, args = append(where, "revision <= ?"), append(args, q.Through)
	}
	fqn := string(q.FQN)
	switch {
	case !q.Recursive:
		where, args = append(where, "fqn = ?"), append(args, fqn)
	case fqn != "": // "0" is the character after "/"
		where, args = append(where, "(fqn = ? OR fqn > ? AND fqn < ?)"), append(args, fqn, fqn+"/", fqn+"0")
	}
	text = "SELECT fqn, revision, time, who, why, operation, kind, before, after FROM history WHERE " +
		strings.Join(where, " AND ") + " ORDER BY revision DESC, fqn DESC"
	if q.Limit > 0 {
		text, args = text+" LIMIT ?", append(args, q.Limit)
	}
	return text, args
}

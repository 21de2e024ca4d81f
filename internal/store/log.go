package store

import (
	"context"
	"time"

	"isthmus.dev/isthmus/internal/resource"
)

// Log is what a database has to be for a DB: a list of records in one order, and the values they add up to. It
// knows nothing of what the values mean. Package storetest proves every sentence here.
//
// # Order
//
// Revisions start at 1 and have no gaps. Every reader sees the records in the order of their revisions, and never
// one without all before it.
//
// # Locking
//
// At most one Commit of all users of the database runs its function at a time.
type Log interface {
	// Load reads all values and the revision that they add up to, as one consistent state. A process that may
	// not use the database because another one does gets ErrInUse.
	Load(ctx context.Context) (*State, error)

	// Commit takes the lock of the database and calls f exactly once with all records after the given
	// revision; then it stores the records that f returns, all or none of them, and releases the lock. Their
	// revisions continue those of tail. When f returns an error or no records, nothing is stored.
	//
	// An error of f is returned as it is. ErrExpired means that the tail is no longer kept; f was not called.
	// ErrUnknown means that the answer of the database was lost, so that the records may or may not be stored;
	// whoever takes the lock next sees which. After any other error nothing is stored.
	Commit(ctx context.Context, after int64, f func(tail []Record) ([]Record, error)) error

	// Since returns the records after the given revision, oldest first, or ErrExpired when some of them are no
	// longer kept.
	Since(ctx context.Context, after int64) ([]Record, error)

	// History returns the changes that the query asks for, newest first.
	History(ctx context.Context, q HistoryQuery) ([]Change, error)

	// Compact forgets the records up to and including a revision. Values stay. Changes older than the given
	// time are forgotten as well; the zero time keeps all.
	Compact(ctx context.Context, through int64, history time.Time) error

	// Wake is sent to when there may be new records of others. It is a hint: it may come for nothing, and may
	// be lost. It is nil when nobody else can write.
	Wake() <-chan struct{}

	// Close releases the database.
	Close() error
}

// State is everything that a database holds.
type State struct {
	// Revision of the last record; 0 when there is none.
	Revision int64
	// Values by key.
	Values map[Key]Value
	// Restored says that the database was replaced by an older copy of itself.
	Restored bool
}

// Value is what a database keeps for a key.
type Value struct {
	// Revision of the record that wrote it.
	Revision int64
	Data     []byte
}

// Record is one commit.
type Record struct {
	Revision int64
	Time     time.Time
	// ID is the same for all records of one call of Log.Commit and for no others.
	ID string
	Meta
	// Writes in key order.
	Writes []Write
	// Changes to resources, in FQN order. Only Log.Commit needs them: Since leaves them out.
	Changes []Change
}

// Write is the new value of one key.
type Write struct {
	Key Key
	// Data is nil when the key is removed.
	Data []byte
}

// Meta says who makes a commit, and why. It is kept in the history.
type Meta struct{ Who, Why string }

// Change is one entry of the history of a resource.
type Change struct {
	Revision int64
	Time     time.Time
	Meta
	// Operation is CREATE, UPDATE or DELETE.
	Operation string
	FQN       resource.FQN
	// Kind is the ID of the kind.
	Kind string
	// Before and After are the specification as JSON; empty when the resource did not exist.
	Before, After string
}

// HistoryQuery selects changes.
type HistoryQuery struct {
	// FQN of the resource; empty means all resources, with Recursive.
	FQN resource.FQN
	// Recursive adds everything below it.
	Recursive bool
	// After and Through limit the revisions: After < revision <= Through; 0 is no limit.
	After, Through int64
	// Limit to the newest changes; 0 is no limit.
	Limit int
}

// Matches says whether a change belongs to the answer, Limit aside.
func (q HistoryQuery) Matches(c *Change) bool {
	if c.Revision <= q.After || q.Through > 0 && c.Revision > q.Through {
		return false
	}
	if q.Recursive {
		return q.FQN == "" || q.FQN.Contains(c.FQN)
	}
	return q.FQN == c.FQN
}

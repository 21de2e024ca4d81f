package store

import (
	"errors"
	"fmt"

	"isthmus.dev/isthmus/internal/resource"
)

// The kinds of errors that callers can tell apart with errors.Is. Errors of the database are never returned as the
// driver made them, except inside ErrUnavailable's text.
var (
	// ErrNotFound: the resource, or the parent of a new one, does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists: the resource exists already.
	ErrExists = errors.New("already exists")
	// ErrConflict: the stored etag is not the expected one.
	ErrConflict = errors.New("changed in the meantime")
	// ErrProtected: the resource, or one below it, has deletion protection.
	ErrProtected = errors.New("protected against deletion")
	// ErrFenced: a newer session or leader has taken over.
	ErrFenced = errors.New("a newer one has taken over")
	// ErrExpired: the commits asked for are no longer kept: read the whole state again.
	ErrExpired = errors.New("no longer kept")
	// ErrClosed: the store is closed, or a Tx is used after its function returned.
	ErrClosed = errors.New("closed")
	// ErrInUse: another process has the database.
	ErrInUse = errors.New("in use by another process")
	// ErrUnavailable: the database did not take the commit; nothing of it is stored.
	ErrUnavailable = errors.New("database unavailable")
	// ErrUnknown: the database did not answer, and the commit may or may not be stored.
	ErrUnknown = errors.New("outcome unknown")
)

// MissingParentError says that a resource was put below one that does not exist. It is an ErrNotFound.
type MissingParentError struct{ FQN, Parent resource.FQN }

// Error names both.
func (e *MissingParentError) Error() string {
	return fmt.Sprintf("parent %q of %q does not exist", e.Parent, e.FQN)
}

// Is says that it is an ErrNotFound.
func (e *MissingParentError) Is(target error) bool { return target == ErrNotFound }

// ConflictError says which etag is stored. It is an ErrConflict.
type ConflictError struct {
	FQN          resource.FQN
	Want, Stored string
}

// Error names the resource and both etags.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%q changed in the meantime: its etag is %s, not %s", e.FQN, e.Stored, e.Want)
}

// Is says that it is an ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// ProtectedError says which resource has deletion protection. It is an ErrProtected.
type ProtectedError struct{ FQN resource.FQN }

// Error names the resource.
func (e *ProtectedError) Error() string {
	return fmt.Sprintf("%q is protected against deletion, which only force overrides", e.FQN)
}

// Is says that it is an ErrProtected.
func (e *ProtectedError) Is(target error) bool { return target == ErrProtected }

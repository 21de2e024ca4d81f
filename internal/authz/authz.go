// Package authz says who may do what where. It is one function, asked by every handler, and it denies what it does
// not know.
package authz

import (
	"context"
	"errors"
	"fmt"

	"isthmus.dev/isthmus/internal/resource"
)

// Verb is something that a caller asks to do.
type Verb string

// The verbs.
const (
	Read      Verb = "read"
	Write     Verb = "write"
	Delete    Verb = "delete"
	Audit     Verb = "audit"      // read the history
	CreateKey Verb = "create key" // of a cluster's service account
	DeleteKey Verb = "delete key"
	Connect   Verb = "connect" // as the edge of a cluster
	Self      Verb = "ask about itself"
)

// RoleName is one of the built-in roles.
type RoleName string

// The roles.
const (
	// Admin may do everything that people do in its scope. It is not an edge.
	Admin RoleName = "admin"
	// Edge may connect as the cluster that is its scope.
	Edge RoleName = "edge"
)

// Role is a role and the subtree in which it holds.
type Role struct {
	Name  RoleName
	Scope resource.FQN
}

// String is "admin of organizations/o".
func (r Role) String() string { return string(r.Name) + " of " + string(r.Scope) }

// Caller is somebody whose credentials were checked.
type Caller struct {
	// Subject is the FQN of the user or of the cluster.
	Subject resource.FQN
	Roles   []Role
}

// The two ways to be refused.
var (
	// ErrUnauthenticated: nobody knows who is asking.
	ErrUnauthenticated = errors.New("not signed in")
	// ErrDenied: the caller is known and may not do it.
	ErrDenied = errors.New("not allowed")
)

type callerKey struct{}

// WithCaller returns a context that carries who is asking. Only the door that checked the credentials calls it.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who is asking.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// Allow returns nil when the caller in ctx may do verb to fqn, and otherwise an ErrUnauthenticated or ErrDenied.
func Allow(ctx context.Context, verb Verb, fqn resource.FQN) error {
	c, ok := CallerOf(ctx)
	if !ok {
		return ErrUnauthenticated
	}
	if verb == Self {
		return nil
	}
	for _, r := range c.Roles {
		if r.Name.may(verb) && r.Scope != "" && r.Scope.Contains(fqn) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s may not %s %q", ErrDenied, c.Subject, verb, fqn)
}

// may is the whole policy.
func (r RoleName) may(verb Verb) bool {
	switch r {
	case Admin:
		switch verb {
		case Read, Write, Delete, Audit, CreateKey, DeleteKey:
			return true
		}
	case Edge:
		return verb == Connect
	}
	return false
}

package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/authz"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

const (
	// defaultHistory and maxHistory bound an answer of History.
	defaultHistory = 100
	maxHistory     = 1000
)

// name parses an FQN of a request and asks whether the caller may do verb to it.
func name(ctx context.Context, verb authz.Verb, text string) (resource.FQN, error) {
	fqn, _, err := resource.ParseFQN(text)
	if err != nil {
		if err := authz.Allow(ctx, authz.Self, ""); err != nil {
			return "", err // who is nobody learns nothing
		}
		return "", fmt.Errorf("%w: %w", errInvalid, err)
	}
	return fqn, authz.Allow(ctx, verb, fqn)
}

// find returns a resource of the newest state.
func (s *Server) find(ctx context.Context, fqn resource.FQN) (*resource.Resource, error) {
	snapshot, err := s.db.Head(ctx)
	if err != nil {
		return nil, err
	}
	r := snapshot.Resource(fqn)
	if r == nil {
		return nil, fmt.Errorf("%q %w", fqn, store.ErrNotFound)
	}
	return r, nil
}

// Get implements the service.
func (s *Server) Get(ctx context.Context, req *isthmusv1.GetRequest) (*isthmusv1.GetResponse, error) {
	fqn, err := name(ctx, authz.Read, req.GetFqn())
	if err != nil {
		return nil, err
	}
	r, err := s.find(ctx, fqn)
	if err != nil {
		return nil, err
	}
	out, err := s.wire(r)
	return &isthmusv1.GetResponse{Resource: out}, err
}

// List implements the service.
func (s *Server) List(ctx context.Context, req *isthmusv1.ListRequest) (*isthmusv1.ListResponse, error) {
	parent, err := listParent(ctx, req)
	if err != nil {
		return nil, err
	}
	snapshot, err := s.db.Head(ctx)
	if err != nil {
		return nil, err
	}
	if parent != "" && snapshot.Resource(parent) == nil {
		return nil, fmt.Errorf("%q %w", parent, store.ErrNotFound)
	}
	prefix := store.Key("r/")
	if parent != "" {
		prefix = store.ResourceKey(parent) + "/"
	}
	out := &isthmusv1.ListResponse{Revision: snapshot.Revision()}
	for _, v := range snapshot.Prefix(prefix) {
		r, ok := v.(*resource.Resource)
		if !ok || !req.GetRecursive() && r.FQN.Parent() != parent || req.GetPlural() != "" && r.FQN.Plural() != req.GetPlural() {
			continue
		}
		if authz.Allow(ctx, authz.Read, r.FQN) != nil {
			continue // somebody else's organization
		}
		w, err := s.wire(r)
		if err != nil {
			return nil, err
		}
		out.Resources = append(out.Resources, w)
	}
	return out, nil
}

// listParent checks what a List is about. Without a parent it is about organizations, of which each caller sees its own.
func listParent(ctx context.Context, req *isthmusv1.ListRequest) (resource.FQN, error) {
	if req.GetParent() != "" {
		return name(ctx, authz.Read, req.GetParent())
	}
	if err := authz.Allow(ctx, authz.Self, ""); err != nil {
		return "", err
	}
	if c, _ := authz.CallerOf(ctx); !slices.ContainsFunc(c.Roles, func(r authz.Role) bool { return authz.Allow(ctx, authz.Read, r.Scope) == nil }) {
		return "", authz.Allow(ctx, authz.Read, "")
	}
	return "", nil
}

// Delete implements the service.
func (s *Server) Delete(ctx context.Context, req *isthmusv1.DeleteRequest) (*isthmusv1.DeleteResponse, error) {
	var fqns []resource.FQN
	for _, text := range req.GetFqns() {
		fqn, err := name(ctx, authz.Delete, text)
		if err != nil {
			return nil, err
		}
		fqns = append(fqns, fqn)
	}
	switch {
	case len(fqns) == 0:
		if err := authz.Allow(ctx, authz.Self, ""); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: nothing is named to delete", errInvalid)
	case len(fqns) > 1 && req.GetEtag() != "":
		return nil, fmt.Errorf("%w: an etag goes with a single name", errInvalid)
	}
	if err := s.mayGo(ctx, fqns); err != nil {
		return nil, err
	}
	out := &isthmusv1.DeleteResponse{}
	options := store.DeleteOptions{Etag: req.GetEtag(), Force: req.GetForce()}
	after, err := s.db.Update(ctx, meta(ctx, req.GetWhy()), func(tx *store.Tx) error {
		var err error
		out.Deleted, err = deleteAll(tx, fqns, options)
		return err
	})
	if err != nil {
		return nil, err
	}
	out.Revision = after.Revision()
	return out, nil
}

// mayGo refuses what would lock everybody out: the organization of this server, with all its users, and whoever asks.
func (s *Server) mayGo(ctx context.Context, fqns []resource.FQN) error {
	c, _ := authz.CallerOf(ctx)
	var problems []problem
	for i, fqn := range fqns {
		why := ""
		switch fqn {
		case resource.FQN("").Child("organizations", s.auth.organization):
			why = "is the organization of this server, with its users, and stays; delete what is below it"
		case c.Subject:
			why = "is who you are signed in as; another administrator can delete it"
		default:
			continue
		}
		problems = append(problems, newProblem(connect.CodeFailedPrecondition, i, fqn, "", why))
	}
	if len(problems) > 0 {
		return &problemsError{problems}
	}
	return nil
}

// deleteAll removes resources and all below them. What went with an ancestor of the same request is not missing.
func deleteAll(tx *store.Tx, fqns []resource.FQN, options store.DeleteOptions) ([]string, error) {
	var gone []string
	var problems []problem
	for i, fqn := range fqns {
		if slices.Contains(gone, string(fqn)) {
			continue
		}
		names, err := tx.Delete(fqn, options)
		if err != nil {
			code, known := codeOf(err)
			if !known {
				return nil, err
			}
			text := strings.TrimPrefix(err.Error(), strconv.Quote(string(fqn))+" ") // the problem names it already
			problems = append(problems, newProblem(code, i, fqn, "", text))
			continue
		}
		for _, n := range names {
			gone = append(gone, string(n))
			if err := tx.PutPrivate(passwordKey(n), nil); err != nil {
				return nil, err
			}
			if err := tx.PutPrivate(adminKey(n), nil); err != nil {
				return nil, err
			}
		}
	}
	if len(problems) > 0 {
		return nil, &problemsError{problems}
	}
	slices.Sort(gone)
	return gone, nil
}

// History implements the service.
func (s *Server) History(ctx context.Context, req *isthmusv1.HistoryRequest) (*isthmusv1.HistoryResponse, error) {
	fqn, err := name(ctx, authz.Audit, req.GetFqn())
	if err != nil {
		return nil, err
	}
	limit := int(req.GetLimit())
	if limit <= 0 {
		limit = defaultHistory
	}
	changes, err := s.db.History(ctx, store.HistoryQuery{FQN: fqn, Recursive: req.GetRecursive(), Limit: min(limit, maxHistory)})
	if err != nil {
		return nil, err
	}
	out := &isthmusv1.HistoryResponse{}
	for i := range changes {
		out.Changes = append(out.Changes, wireChange(&changes[i]))
	}
	return out, nil
}

func wireChange(c *store.Change) *isthmusv1.Change {
	return &isthmusv1.Change{
		Revision: c.Revision, Time: timestamppb.New(c.Time), Who: c.Who, Why: c.Why,
		Operation: c.Operation, Fqn: string(c.FQN), Kind: c.Kind, Before: c.Before, After: c.After,
	}
}

// Watch implements the service.
func (s *Server) Watch(ctx context.Context, req *isthmusv1.WatchRequest, stream *connect.ServerStream[isthmusv1.WatchResponse]) error {
	fqn, err := name(ctx, authz.Read, req.GetFqn())
	if err != nil {
		return err
	}
	ctx, done := s.untilShutdown(ctx)
	defer done()
	if err := stream.Send(nil); err != nil { // the headers, for those who wait for them before they read
		return err
	}
	after := req.GetAfter()
	if after <= 0 {
		after = s.db.Snapshot().Revision()
	}
	for {
		commits, err := s.db.Changed(ctx, after)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		newest := commits[len(commits)-1].Revision
		changes, err := s.db.History(ctx, store.HistoryQuery{FQN: fqn, Recursive: true, After: after, Through: newest})
		if err != nil {
			return err
		}
		after = newest
		if len(changes) == 0 {
			continue
		}
		slices.Reverse(changes) // oldest first
		out := &isthmusv1.WatchResponse{Revision: newest}
		for i := range changes {
			out.Changes = append(out.Changes, wireChange(&changes[i]))
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// errShutdown ends streams when the server stops.
var errShutdown = connect.NewError(connect.CodeUnavailable, errors.New("the server is shutting down"))

// untilShutdown is ctx, ended with errShutdown when the server stops. The function waits for what it started.
func (s *Server) untilShutdown(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-s.stopping:
			cancel(errShutdown)
		case <-ctx.Done():
		}
	})
	return ctx, func() { cancel(nil); wg.Wait() }
}

package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"connectrpc.com/connect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/authz"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// maxBatch bounds the resources of one request.
const maxBatch = 20_000

// batch is a request to apply resources: what is right in it, and what is wrong.
type batch struct {
	mode     isthmusv1.ApplyRequest_Mode
	items    []item
	problems []problem
	// named are all resources of the request, wrong ones included, so that a child is not blamed for its parent.
	named map[resource.FQN]bool
}

// item is a resource whose text is right.
type item struct {
	index    int
	resource *resource.Resource
	etag     string // that the stored one must have; empty is any
	warnings []string
	outcome  store.Outcome
}

// readBatch checks everything that can be seen without the store.
func readBatch(ctx context.Context, rs []*isthmusv1.Resource, mode isthmusv1.ApplyRequest_Mode) (*batch, error) {
	if err := authz.Allow(ctx, authz.Self, ""); err != nil {
		return nil, err // who is nobody learns nothing
	}
	switch {
	case len(rs) == 0:
		return nil, fmt.Errorf("%w: the batch has no resources", errInvalid)
	case len(rs) > maxBatch:
		return nil, fmt.Errorf("%w: the batch has %d resources, the limit is %d", errInvalid, len(rs), maxBatch)
	}
	b := &batch{mode: mode, named: make(map[resource.FQN]bool, len(rs))}
	for i, in := range rs {
		if err := b.read(ctx, i, in); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// read adds one resource to the batch. Only a refusal by authz is an error: it says nothing of the rest.
func (b *batch) read(ctx context.Context, index int, in *isthmusv1.Resource) error {
	if fqn, _, err := resource.ParseFQN(in.GetFqn()); err == nil {
		if err := authz.Allow(ctx, authz.Write, fqn); err != nil {
			return err
		}
		if b.named[fqn] {
			b.problems = append(b.problems, invalidProblem(index, fqn, "", "it is more than once in the batch"))
			return nil
		}
		b.named[fqn] = true
	}
	r, found := resource.Unpack(in)
	if len(found) == 0 {
		found = resource.Check(r)
	}
	for _, p := range found {
		b.problems = append(b.problems, invalidProblem(index, resource.FQN(in.GetFqn()), p.Field, p.Message))
	}
	if len(found) == 0 {
		b.items = append(b.items, item{index: index, resource: r, etag: in.GetEtag()})
	}
	return nil
}

// commit puts the batch into a transaction, or returns everything that is wrong with it.
func (b *batch) commit(tx *store.Tx) error {
	for i := range b.items {
		it := &b.items[i]
		old := tx.Get(it.resource.FQN)
		if p, wrong := b.expect(tx, it, old); wrong {
			b.problems = append(b.problems, p)
			continue
		}
		it.resource, it.warnings = keepKeys(it.resource, old)
		var err error
		if it.outcome, err = tx.Put(it.resource); err != nil {
			return err
		}
		it.resource = tx.Get(it.resource.FQN)
	}
	if len(b.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(b.problems, func(x, y problem) int { return cmp.Compare(x.Index, y.Index) })
	return &problemsError{b.problems}
}

// expect compares what the request says of the stored resource with it.
func (b *batch) expect(tx *store.Tx, it *item, old *resource.Resource) (problem, bool) {
	fqn := it.resource.FQN
	refuse := func(code connect.Code, format string, args ...any) (problem, bool) {
		return newProblem(code, it.index, fqn, "", fmt.Sprintf(format, args...)), true
	}
	if p := fqn.Parent(); p != "" && tx.Get(p) == nil && !b.named[p] {
		return refuse(connect.CodeNotFound, "its parent %q does not exist", p)
	}
	switch {
	case b.mode == isthmusv1.ApplyRequest_MODE_CREATE && old != nil:
		return refuse(connect.CodeAlreadyExists, "it exists already")
	case b.mode == isthmusv1.ApplyRequest_MODE_UPDATE && old == nil:
		return refuse(connect.CodeNotFound, "it does not exist")
	case b.mode == isthmusv1.ApplyRequest_MODE_UPDATE && it.etag == "":
		return refuse(connect.CodeInvalidArgument, "an update needs the etag that was read")
	case old != nil && old.Object.GetNamespace() != it.resource.Object.GetNamespace():
		return refuse(connect.CodeInvalidArgument, "it is in namespace %q: %s, or delete it first", old.Object.GetNamespace(), resource.UniqueInGroup)
	case it.etag != "" && old == nil:
		return refuse(connect.CodeAborted, "it has the etag %s but does not exist any more; leave the etag out to create it", it.etag)
	case it.etag != "" && old.Etag != it.etag:
		return refuse(connect.CodeAborted, "it changed in the meantime: the stored etag is %s, not %s", old.Etag, it.etag)
	}
	return problem{}, false
}

// Apply implements the service.
func (s *Server) Apply(ctx context.Context, req *isthmusv1.ApplyRequest) (*isthmusv1.ApplyResponse, error) {
	b, err := readBatch(ctx, req.GetResources(), req.GetMode())
	if err != nil {
		return nil, err
	}
	update := s.db.Update
	if req.GetDryRun() {
		update = s.db.DryRun
	}
	after, err := update(ctx, meta(ctx, req.GetWhy()), b.commit)
	if err != nil {
		return nil, s.explain(err, b)
	}
	out := &isthmusv1.ApplyResponse{Revision: after.Revision()}
	for _, it := range b.items {
		r, err := s.wire(it.resource)
		if err != nil {
			return nil, err
		}
		out.Results = append(out.Results, &isthmusv1.ApplyResponse_Result{
			Resource: r, Outcome: outcome(it.outcome), Warnings: it.warnings,
		})
	}
	return out, nil
}

// explain adds to an error of the store which resource of the batch it is about.
func (s *Server) explain(err error, b *batch) error {
	missing, ok := errors.AsType[*store.MissingParentError](err)
	if !ok {
		return err
	}
	for _, it := range b.items {
		if it.resource.FQN == missing.FQN {
			return &problemsError{[]problem{newProblem(connect.CodeNotFound, it.index, missing.FQN, "", err.Error())}}
		}
	}
	return err
}

// outcome translates the store's word.
func outcome(o store.Outcome) isthmusv1.ApplyResponse_Result_Outcome {
	switch o {
	case store.Created:
		return isthmusv1.ApplyResponse_Result_OUTCOME_CREATED
	case store.Updated:
		return isthmusv1.ApplyResponse_Result_OUTCOME_UPDATED
	}
	return isthmusv1.ApplyResponse_Result_OUTCOME_UNCHANGED
}

// meta says who makes a change.
func meta(ctx context.Context, why string) store.Meta {
	c, _ := authz.CallerOf(ctx)
	return store.Meta{Who: string(c.Subject), Why: why}
}

package server

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/authz"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/status"
	"isthmus.dev/isthmus/internal/store"
)

// Planner says what a change would do: the statuses and objects that a state leads to.
type Planner interface {
	Plan(ctx context.Context, before, after *store.Snapshot) (*isthmusv1.PlanResponse, error)
}

// nothingCompiled is the view of a server without a pipeline.
func (s *Server) nothingCompiled() status.View {
	return status.View{
		Snapshot:   s.db.Snapshot(),
		Conditions: func(resource.FQN) []resource.Condition { return nil },
		Objects:    func(resource.FQN) map[string][]string { return nil },
		Cluster:    func(string) status.Cluster { return status.Cluster{} },
	}
}

// Status implements the service.
func (s *Server) Status(ctx context.Context, req *isthmusv1.StatusRequest) (*isthmusv1.StatusResponse, error) {
	fqn, err := name(ctx, authz.Read, req.GetFqn())
	if err != nil {
		return nil, err
	}
	if _, err := s.find(ctx, fqn); err != nil {
		return nil, err
	}
	view := s.view()
	view.Snapshot = s.db.Snapshot()
	out := &isthmusv1.StatusResponse{}
	add := func(fqn resource.FQN) {
		if st := view.Of(fqn); st != nil {
			out.Statuses = append(out.Statuses, s.withEvents(st))
		}
	}
	add(fqn)
	if len(out.Statuses) == 0 {
		return nil, fmt.Errorf("%q %w", fqn, store.ErrNotFound)
	}
	if req.GetRecursive() {
		for k := range view.Snapshot.Prefix(store.ResourceKey(fqn) + "/") {
			add(k.FQN())
		}
	}
	return out, nil
}

// withEvents adds the transitions that were recorded.
func (s *Server) withEvents(st *isthmusv1.ResourceStatus) *isthmusv1.ResourceStatus {
	record, ok := s.db.Status(resource.FQN(st.GetFqn()))
	if !ok {
		return st
	}
	for _, e := range record.Events {
		st.Events = append(st.Events, &isthmusv1.ResourceStatus_Event{
			Etag: e.Etag, Timestamp: timestamppb.New(e.Time), Type: e.Type, Message: e.Message,
		})
	}
	return st
}

// Plan implements the service.
func (s *Server) Plan(ctx context.Context, req *isthmusv1.PlanRequest) (*isthmusv1.PlanResponse, error) {
	var b *batch
	var err error
	if len(req.GetResources()) > 0 || len(req.GetDelete()) == 0 {
		if b, err = readBatch(ctx, req.GetResources(), isthmusv1.ApplyRequest_MODE_UNSPECIFIED); err != nil {
			return nil, err
		}
	}
	var doomed []resource.FQN
	for _, text := range req.GetDelete() {
		fqn, err := name(ctx, authz.Delete, text)
		if err != nil {
			return nil, err
		}
		doomed = append(doomed, fqn)
	}
	if s.plan == nil {
		return nil, errNoPlan
	}
	before, err := s.db.Head(ctx)
	if err != nil {
		return nil, err
	}
	after, err := s.db.DryRun(ctx, meta(ctx, "plan"), func(tx *store.Tx) error {
		if _, err := deleteAll(tx, doomed, store.DeleteOptions{}); err != nil || b == nil {
			return err
		}
		return b.commit(tx)
	})
	if err != nil {
		return nil, err
	}
	return s.plan.Plan(ctx, before, after)
}

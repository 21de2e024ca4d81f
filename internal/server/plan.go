package server

import (
	"context"
	"maps"
	"slices"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/compile"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/status"
	"isthmus.dev/isthmus/internal/store"
)

// outcomeOf is what a state leads to.
type outcomeOf struct {
	conditions map[resource.FQN][]resource.Condition
	bundles    map[string]*istio.Bundle
}

// compileAll compiles a state from nothing, beside the pipeline.
func compileAll(s *store.Snapshot) outcomeOf {
	res := compile.New().RunAll(s)
	renderer := istio.New()
	renderer.Apply(res.Delta)
	out := outcomeOf{res.Conditions, map[string]*istio.Bundle{}}
	for _, name := range renderer.Clusters() {
		out.bundles[name] = renderer.Bundle(name)
	}
	return out
}

// compiler is the Planner of a server that compiles.
type compiler struct{}

// Plan compares what two states lead to.
func (compiler) Plan(ctx context.Context, before, after *store.Snapshot) (*isthmusv1.PlanResponse, error) {
	was := compileAll(before)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	will := compileAll(after)
	out := &isthmusv1.PlanResponse{}
	names := maps.Clone(was.bundles)
	maps.Copy(names, will.bundles)
	for _, cluster := range slices.Sorted(maps.Keys(names)) {
		out.Objects = append(out.Objects, difference(cluster, was.bundles[cluster], will.bundles[cluster])...)
	}
	view := status.View{
		Snapshot: after, Compiled: after.Revision(),
		Conditions: func(fqn resource.FQN) []resource.Condition { return will.conditions[fqn] },
		Objects:    func(resource.FQN) map[string][]string { return nil },
		Cluster:    func(string) status.Cluster { return status.Cluster{} },
	}
	for k := range after.Prefix("r/") {
		fqn := k.FQN()
		if slices.Equal(was.conditions[fqn], will.conditions[fqn]) && before.Resource(fqn) != nil {
			continue
		}
		out.Statuses = append(out.Statuses, view.Of(fqn))
	}
	return out, nil
}

// difference lists how the objects of a cluster change, in the order of their IDs.
func difference(cluster string, was, will *istio.Bundle) []*isthmusv1.PlanResponse_Object {
	old, now := objects(was), objects(will)
	ids := maps.Clone(old)
	maps.Copy(ids, now)
	var out []*isthmusv1.PlanResponse_Object
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		o := &isthmusv1.PlanResponse_Object{Cluster: cluster, Id: id, Operation: "UPDATE"}
		a, b := old[id], now[id]
		if a != nil && b != nil && a.Digest == b.Digest {
			continue
		}
		if a != nil {
			o.Before = string(a.JSON)
		} else {
			o.Operation = "CREATE"
		}
		if b != nil {
			o.After = string(b.JSON)
		} else {
			o.Operation = "DELETE"
		}
		out = append(out, o)
	}
	return out
}

func objects(b *istio.Bundle) map[string]*istio.Object {
	if b == nil {
		return map[string]*istio.Object{}
	}
	return b.Objects
}

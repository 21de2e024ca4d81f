package compile

import (
	"cmp"
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// Compiler turns snapshots into intents, one after the other. It is used by one goroutine at a time.
type Compiler struct {
	engine *engine
}

// New makes a Compiler that has seen nothing.
func New() *Compiler {
	return &Compiler{engine: newEngine([]*layer{
		resourceLayer(),
		networkLayer(),
		tenancyLayer(),
		placementLayer(),
		serviceLayer(),
		versionLayer(),
		directLayer(),
		gatewayLayer(),
		directGatewayLayer(),
		hostLayer(),
		trafficLayer(),
		outgoingLayer(),
		frontLayer(),
		securityLayer(),
		hiddenLayer(),
		securedLayer(),
		eastWestLayer(),
		doorLayer(),
		sharedLayer(),
		directObjectLayer(),
	})}
}

// Result is what a run found out.
type Result struct {
	Delta intent.Delta
	// Conditions of each resource about which something else is said now; nil for one that is gone.
	Conditions map[resource.FQN][]resource.Condition
}

// Run compiles a snapshot. Changed are the keys in which it differs from the one of the last run; the first run has to name
// every key, as RunAll does. The result names only what is different, and does not depend on how often Run was called
// in between.
func (c *Compiler) Run(s *store.Snapshot, changed []store.Key) *Result {
	keys := make([]string, len(changed))
	for i, k := range changed {
		keys[i] = string(k)
	}
	derived, said := c.engine.run(s, keys)
	res := &Result{
		Delta: intent.Delta{
			Clusters: map[string]*intent.Cluster{},
			Gateways: map[intent.GatewayKey]*intent.Gateway{},
			Hosts:    map[string]*intent.Host{},
			Outgoing: map[intent.GatewayKey]*intent.Outgoing{},
			Fronts:   map[intent.GatewayKey]*intent.Front{},
			Security: map[intent.GatewayKey]*intent.Security{},
			Hidden:   map[intent.GatewayKey]*intent.Hidden{},
			Routes:   map[intent.ServiceKey]*intent.Route{},
			EastWest: map[intent.GatewayKey]*intent.EastWest{},
			Shared:   map[intent.GatewayKey]*intent.Shared{},
			Directs:  map[intent.GatewayKey]*intent.DirectObject{},
		},
		Conditions: make(map[resource.FQN][]resource.Condition, len(said)),
	}
	for _, key := range derived {
		c.collect(key, &res.Delta)
	}
	for fqn := range said {
		res.Conditions[fqn] = c.engine.conditions(fqn)
	}
	return res
}

// RunAll compiles a snapshot as if every key had changed. It is for the first run of a Compiler; to start over, make a new
// one.
func (c *Compiler) RunAll(s *store.Snapshot) *Result {
	var keys []store.Key
	for _, prefix := range []store.Key{"r/", "f/", "c/"} {
		for k := range s.Prefix(prefix) {
			keys = append(keys, k)
		}
	}
	return c.Run(s, keys)
}

func (c *Compiler) collect(key string, d *intent.Delta) {
	rest, ok := strings.CutPrefix(key, "u/intent/")
	if !ok {
		return
	}
	v, _ := c.engine.derived.Get(key)
	kind, name, _ := strings.Cut(rest, "/")
	cluster, what, _ := strings.Cut(name, "/")
	at := intent.GatewayKey{Cluster: cluster, FQN: resource.FQN(what)}
	switch kind {
	case "cluster":
		d.Clusters[name], _ = v.(*intent.Cluster)
	case "host":
		d.Hosts[name], _ = v.(*intent.Host)
	case "gateway":
		d.Gateways[at], _ = v.(*intent.Gateway)
	case "outgoing":
		d.Outgoing[at], _ = v.(*intent.Outgoing)
	case "front":
		d.Fronts[at], _ = v.(*intent.Front)
	case "security":
		d.Security[at], _ = v.(*intent.Security)
	case "hidden":
		d.Hidden[at], _ = v.(*intent.Hidden)
	case "eastwest":
		d.EastWest[at], _ = v.(*intent.EastWest)
	case "shared":
		d.Shared[at], _ = v.(*intent.Shared)
	case "direct":
		d.Directs[at], _ = v.(*intent.DirectObject)
	case "route":
		namespace, service, _ := strings.Cut(what, "/")
		d.Routes[intent.ServiceKey{Cluster: cluster, Namespace: namespace, Name: service}], _ = v.(*intent.Route)
	}
}

// conditions of a resource: all that units say of it, in order, each thing once. Problems take the place of the
// statement that there is none.
func (e *engine) conditions(fqn resource.FQN) []resource.Condition {
	var all []resource.Condition
	for _, s := range e.spoken[fqn] {
		for _, r := range s.remarks {
			all = append(all, r.condition)
		}
	}
	slices.SortFunc(all, compareConditions)
	all = slices.Compact(all)
	refused := slices.ContainsFunc(all, func(c resource.Condition) bool { return c.Type == Accepted && !c.OK })
	return slices.DeleteFunc(all, func(c resource.Condition) bool { return refused && c.Type == Accepted && c.OK })
}

func compareConditions(a, b resource.Condition) int {
	return cmp.Or(
		cmp.Compare(a.Type, b.Type), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Field, b.Field),
		cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message), compareBools(a.OK, b.OK),
	)
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

package compile

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

// directPlacePrefix is where the plans of Istio's Gateways are that have hosts for callers in other clusters.
func directPlacePrefix(cluster string) string { return "u/directplace/" + cluster + "/" }

// indexDirectGateway says which hosts a Gateway of Istio's asks for.
func indexDirectGateway(r *Reads, fqn resource.FQN, spec *networking.Gateway, out *output) {
	workspace := fqn.Ancestor("workspaces")
	for _, h := range resource.IstioHosts(spec) {
		at := rank{since(r, store.HostClaimKey(h.Name), workspace), workspace}
		out.put(hostClaimPrefix(h.Name)+string(fqn), at)
		out.put(dashPrefix(dashed(h.Name))+h.Name+"/"+string(fqn), named{Since: at.Since})
	}
}

// directPlan is what a Gateway of Istio's does for callers within the mesh, as that of any other gateway; nil when that is nothing. Of
// several Gateways of a group that have a host - one for port 80, and another for TLS - the first one is called: Envoy refuses a port on
// which two have the same host.
func directPlan(r *Reads, d *direct) *plan {
	spec, ok := d.Resource.Spec.(*networking.Gateway)
	if !ok {
		return nil
	}
	p := &plan{
		FQN: d.FQN, Workspace: d.FQN.Ancestor("workspaces"), Name: d.FQN.Name(), Namespace: d.Resource.Object.GetNamespace(),
		Labels: spec.GetSelector(), Metadata: d.Metadata, Direct: d,
	}
	for _, h := range resource.IstioHosts(spec) {
		if firstGatewayOf(r, h.Name, d.FQN.Parent()) != d.FQN {
			continue
		}
		if !h.Called {
			d.Called = append(d.Called, h.Bound)
		}
		p.Exposed = append(p.Exposed, exposure{Host: h.Name, FQN: p.FQN, Workspace: p.Workspace, Kind: kindHTTP, Metadata: p.Metadata})
		p.Servers = append(p.Servers, intent.Server{Host: h.Name, Internal: true})
		p.Fields = append(p.Fields, h.Field)
	}
	if len(p.Exposed) == 0 {
		return nil
	}
	return p
}

// firstGatewayOf is the first Gateway of a group that asks for a host.
func firstGatewayOf(r *Reads, host string, group resource.FQN) resource.FQN {
	for key := range r.prefix(hostClaimPrefix(host)) {
		if fqn := resource.FQN(strings.TrimPrefix(key, hostClaimPrefix(host))); fqn.Parent() == group && isDirect(fqn) {
			return fqn
		}
	}
	return ""
}

// hasClaims says whether the hosts of a Gateway belong to its workspace. Since nothing in the object is changed, one that belongs to
// another workspace leaves all of it out.
func hasClaims(r *Reads, p *plan, out *output) bool {
	all := true
	for i, e := range p.Exposed {
		if owner := claimant(r, hostClaimPrefix(e.Host)); owner != p.Workspace {
			out.say(p.FQN, no(reasonHostTaken, p.Fields[i], "Host %q already belongs to %q; nothing is configured.", e.Host, owner))
			all = false
		}
	}
	return all
}

// directGatewayLayer looks at a Gateway of Istio's in one cluster: at the pods and the Service with which callers in other
// clusters reach its hosts.
func directGatewayLayer() *layer {
	return &layer{
		name: "directgateway",
		unitOf: func(key string) string {
			if rest, ok := strings.CutPrefix(key, "u/directplace/"); ok {
				return rest
			}
			return ""
		},
		root:   func(unit string) string { return "u/directplace/" + unit },
		derive: deriveDirectGateway,
	}
}

func deriveDirectGateway(r *Reads, unit string, out *output) {
	p, _ := r.get("u/directplace/" + unit).(*plan)
	name, _, _ := strings.Cut(unit, "/")
	c, known := r.get(clustersPrefix + name).(cluster)
	if p == nil || !known || !isThere(r, p, name) {
		return // the layer of the objects says why
	}
	if ns := podsNamespace(r, p, name); ns != p.Namespace {
		moved := *p // the plan is shared
		moved.Namespace = ns
		p = &moved
	}
	s := &scene{r: r, out: out, plan: p, cluster: c}
	s.findPods()
	s.findServices()
	s.offer(true)
}

// isThere says whether the object is in a cluster: it selects nobody else's pods, and its name is free. Only gateways between clusters
// have such names besides, since a namespace has one gateway group.
func isThere(r *Reads, p *plan, cluster string) bool {
	if strings.HasPrefix(p.FQN.Name(), wellknown.DoorGatewayPrefix) {
		return false
	}
	_, other := takesOver(r, p.Direct, cluster)
	return !other
}

// podsNamespace is where the pods of a Gateway are: in its own namespace, unless there are none and the workspace has some in another.
func podsNamespace(r *Reads, p *plan, cluster string) string {
	found := ""
	for _, v := range r.prefix(string(store.FactKey(cluster, "workload/"))) {
		f, _ := v.(*isthmusv1.Fact)
		w := f.GetWorkload()
		switch {
		case !subset(p.Labels, w.GetLabels()):
		case w.GetNamespace() == p.Namespace:
			return p.Namespace
		case found == "":
			found = w.GetNamespace()
		}
	}
	if found == "" {
		return p.Namespace
	}
	return found
}

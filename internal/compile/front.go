package compile

import (
	"cmp"
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/intent"
)

// fronted is a place in a plan that leads to the gateways of clusters that expose a host.
type fronted struct {
	Field string
	Host  string
	// Kind of the server that leads there; At and Index say where among the hosts of the plan.
	Kind      string
	At, Index int
	Sets      []weighed
	// Mesh says that the place is called from within the mesh only.
	Mesh bool
	// Failover between the clusters, nil when nothing is said.
	Failover *intent.Failover
}

// shares are where requests go, on a port for those that are not HTTP.
func (f *fronted) shares(port uint32) []intent.Share {
	if f.Kind == kindHTTP {
		port = 80
	}
	out := make([]intent.Share, len(f.Sets))
	for i, s := range f.Sets {
		out[i] = intent.Share{Destination: intent.Destination{Host: f.Host, Port: port, Subset: s.Name}, Weight: s.Weight}
	}
	return out
}

// aim finds the ports at which TCP and TLS hosts are called, and the clusters that are, and says which hosts nobody exposes in a way that fits.
func (s *scene) aim(hosts []intent.GatewayHost) (aimed []intent.GatewayHost, own bool) {
	for i := range s.plan.Fronts {
		f := &s.plan.Fronts[i]
		exposed := exposures(s.r, f.Host)
		kind := kindOf(exposed)
		switch {
		case len(exposed) == 0:
			s.say(no(reasonNoBackend, f.Field, "No gateway exposes host %q to other clusters.", f.Host))
			continue
		case kind != f.Kind:
			s.say(no(reasonNoBackend, f.Field, "Host %q is exposed as a host of kind %q, and cannot be called as one of kind %q.", f.Host, kind, f.Kind))
			continue
		}
		called := *f
		called.Sets = undrained(s.r, f.Sets)
		if f.Kind == kindHTTP && slices.EqualFunc(called.Sets, f.Sets, func(a, b weighed) bool { return a.Name == b.Name }) {
			continue
		}
		if !own {
			hosts, own = cloneHosts(hosts), true
		}
		switch f.Kind {
		case kindHTTP:
			hosts[f.At].HTTP[f.Index].To = called.shares(80)
		case kindTLS:
			to := &hosts[f.At].Pass[f.Index]
			to.To = called.shares(portAmong(exposed, kind, to.Ports))
		default:
			to := &hosts[f.At].TCP[f.Index]
			to.To = called.shares(portAmong(exposed, kind, to.Ports))
		}
	}
	return hosts, own
}

// portAmong is the port of a host that one of the wanted ports leads to: the same, or its first.
func portAmong(exposed []exposure, kind string, wanted []uint32) uint32 {
	first := uint32(0)
	for _, e := range exposed {
		for _, p := range e.Ports {
			if e.Kind == kind && slices.Contains(wanted, p) {
				return p
			}
			if e.Kind == kind && (first == 0 || p < first) {
				first = p
			}
		}
	}
	return first
}

// facade is what a gateway is in front of in a cluster, before it is known who exposes that there.
type facade struct {
	Front  intent.Front
	Fronts []fronted
}

func facadeKey(unit string) string { return "u/facade/" + unit }

// front publishes what the gateway is in front of.
func (s *scene) front(gw *intent.Gateway) {
	if len(s.plan.Fronts) == 0 {
		return
	}
	f := facade{
		Front: intent.Front{
			Key: gw.Key, Workspace: gw.Workspace, Group: gw.Group, Namespace: gw.Namespace, Selector: gw.Selector, Metadata: gw.Metadata,
		},
		Fronts: s.plan.Fronts,
	}
	for _, h := range gw.Hosts {
		f.Front.Hosts = append(f.Front.Hosts, intent.FrontHost{Host: h.Host, Name: h.Name})
	}
	s.out.put(facadeKey(gw.Key.Cluster+"/"+string(gw.Key.FQN)), f)
}

const intentFronts = "u/intent/front/"

// frontLayer looks at how a gateway in a cluster calls the hosts that it is in front of.
func frontLayer() *layer {
	return &layer{
		name: "front",
		unitOf: func(key string) string {
			if rest, ok := strings.CutPrefix(key, facadeKey("")); ok {
				return rest
			}
			return ""
		},
		root:   facadeKey,
		derive: deriveFront,
	}
}

func deriveFront(r *Reads, unit string, out *output) {
	f, ok := r.get(facadeKey(unit)).(facade)
	if !ok {
		return
	}
	front := f.Front
	front.Hosts = nil
	self, _ := r.get(intentClusters + front.Key.Cluster).(*intent.Cluster)
	for _, at := range f.Front.Hosts {
		h, _ := r.get(intentHosts + at.Host).(*intent.Host)
		if h == nil || self == nil {
			continue
		}
		if host := frontHost(r, &f, at, h, self, out); host != nil {
			front.Hosts = append(front.Hosts, *host)
		}
	}
	if len(front.Hosts) > 0 {
		out.put(intentFronts+unit, &front)
		out.put(madePrefix(front.Key.Cluster, front.Namespace)+string(front.Key.FQN)+"/front", &front)
	}
}

// frontHost is a host as the gateway calls it, nil when that is how everybody does. It says which clusters serve nothing.
func frontHost(r *Reads, f *facade, at intent.FrontHost, h *intent.Host, self *intent.Cluster, out *output) *intent.FrontHost {
	_, form := h.FormFor(self)
	host := intent.FrontHost{Host: h.Host, Name: at.Name, Ports: h.Ports, Mesh: h.Failover, Failover: h.Failover, Spread: intent.SpreadOf(form.Endpoints)}
	special := false
	for _, to := range f.Fronts {
		if to.Host != h.Host {
			continue
		}
		if to.Failover != nil {
			host.Failover, special = *to.Failover, true
		}
		for _, s := range to.Sets {
			chosen := slices.Clone(form.Endpoints)
			if s.Name != "" {
				chosen = slices.DeleteFunc(chosen, func(e intent.Endpoint) bool { return !s.holds(e) })
			}
			if len(chosen) == 0 && !s.drained(r) {
				out.say(f.Front.Key.FQN, in(self.Name, no(reasonNoBackend, s.Field, "No gateway in the clusters that are chosen here can be called as host %q.", h.Host)))
			}
			if s.Name == "" || slices.ContainsFunc(host.Subsets, func(x intent.FrontSubset) bool { return x.Name == s.Name }) {
				continue
			}
			key, value := s.label()
			spread := intent.SpreadOf(chosen)
			spread.Names = host.Spread.Names // which is a matter of the whole ServiceEntry
			host.Subsets = append(host.Subsets, intent.FrontSubset{Name: s.Name, Labels: map[string]string{key: value}, Spread: spread})
		}
	}
	if !special && len(host.Subsets) == 0 {
		return nil
	}
	slices.SortFunc(host.Subsets, func(a, b intent.FrontSubset) int { return cmp.Compare(a.Name, b.Name) })
	host.Ruled = r.get(ruledKey(self.Name, f.Front.Namespace, h.Host)) != nil
	return &host
}

// holds says whether an endpoint is in the set, as its labels say.
func (s *clusterSet) holds(e intent.Endpoint) bool {
	key, value := s.label()
	return e.Labels[key] == value || s.single() && e.Cluster == s.Name // which every endpoint is labelled with in the end
}

// labelled puts the labels of the sets that gateways in front of a host choose on the endpoints that are in them.
func labelled(r *Reads, host string, all []offered) []offered {
	var sets []clusterSet
	for _, v := range r.prefix(setsPrefix(host)) {
		sets = append(sets, v.(clusterSet))
	}
	if len(sets) == 0 {
		return all
	}
	out := slices.Clone(all)
	for i := range out {
		c, _ := r.get(clustersPrefix + out[i].Cluster).(cluster)
		for _, s := range sets {
			if s.has(c) {
				key, value := s.label()
				out[i].Local, out[i].Remote = labelAll(out[i].Local, key, value), labelAll(out[i].Remote, key, value)
			}
		}
	}
	return out
}

// labelAll is endpoints with one more label; they are shared and stay as they were.
func labelAll(endpoints []intent.Endpoint, key, value string) []intent.Endpoint {
	endpoints = slices.Clone(endpoints)
	for i := range endpoints {
		endpoints[i].Labels = withLabel(endpoints[i].Labels, key, value)
	}
	return endpoints
}

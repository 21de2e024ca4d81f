package compile

import (
	"cmp"
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

const intentHosts = "u/intent/host/"

// hostLayer gathers what all gateways in all clusters do for one global host.
func hostLayer() *layer {
	return &layer{
		name: "host",
		unitOf: func(key string) string {
			rest, ok := strings.CutPrefix(key, "u/expose/")
			if !ok {
				return ""
			}
			host, _, _ := strings.Cut(rest, "/")
			return host
		},
		root:   exposePrefix,
		derive: deriveHost,
	}
}

func deriveHost(r *Reads, host string, out *output) {
	exposed := exposures(r, host)
	if len(exposed) == 0 {
		return
	}
	offers := map[resource.FQN][]offered{}
	for key, v := range r.prefix(offerPrefix(host)) {
		o := v.(offered)
		fqn := resource.FQN(strings.TrimSuffix(strings.TrimPrefix(key, offerPrefix(host)), "/"+o.Cluster))
		offers[fqn] = append(offers[fqn], o)
	}
	kind := kindOf(exposed)
	h := &intent.Host{
		Host: host, Name: hostName(r, host),
		Workspace: exposed[0].Workspace.Name(), Metadata: exposed[0].Metadata,
	}
	if i := slices.IndexFunc(exposed, func(e exposure) bool { return e.Failover != nil && e.Kind == kind }); i >= 0 {
		h.Failover = *exposed[i].Failover
	} else {
		h.Failover = ownFailover(r, exposed[0].Workspace)
	}
	var all []offered
	for _, e := range exposed {
		if e.Kind != kind {
			out.say(e.FQN, no(reasonNotGlobal, "", "Host %q is global as a host of kind %q of another gateway.", host, kind))
			continue
		}
		h.Owners = append(h.Owners, e.FQN)
		h.Ports = mergePorts(h.Ports, hostPorts(e))
		all = append(all, offers[e.FQN]...)
	}
	for _, o := range all {
		h.SubjectAltNames = append(h.SubjectAltNames, o.Identities...)
	}
	slices.Sort(h.SubjectAltNames)
	h.SubjectAltNames = slices.Compact(h.SubjectAltNames)
	w := &ways{host: h, kind: kind, direct: labelled(r, host, all), out: out}
	h.Forms = w.forms(r)
	sayOrder(h, out)
	if kind == kindTCP {
		sayDNSCapture(r, h, out)
	}
	out.put(intentHosts+host, h)
}

// exposures of a host, in the order of the names of gateways.
func exposures(r *Reads, host string) []exposure {
	var all []exposure
	for _, v := range r.prefix(exposePrefix(host)) {
		all = append(all, v.(exposure))
	}
	return all
}

// kindOf is the kind in which a host is global.
func kindOf(exposed []exposure) string {
	kind := kindTCP
	for _, e := range exposed {
		if importance(e.Kind) > importance(kind) {
			kind = e.Kind
		}
	}
	return kind
}

// importance orders kinds: a host that gateways expose in several ways is global in the most useful one.
func importance(kind string) int {
	switch kind {
	case kindHTTP:
		return 2
	case kindTLS:
		return 1
	}
	return 0
}

func mergePorts(ports, more []intent.HostPort) []intent.HostPort {
	for _, p := range more {
		if !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	slices.SortFunc(ports, func(a, b intent.HostPort) int { return int(a.Number) - int(b.Number) })
	return ports
}

func hasNetwork(es []intent.Endpoint) bool { return len(es) > 0 && es[0].Network != "" }

// form makes of offers what clusters see. Only endpoints that serve all ports are in it: Istio would call the others on a port that nobody
// asked for.
func form(h *intent.Host, offers []offered, networks bool) *intent.Form {
	f := &intent.Form{}
	for _, o := range offers {
		for _, e := range o.Remote {
			if !h.Serves(e) {
				continue
			}
			if o.Leaving {
				f.Leaving = append(f.Leaving, e.Address)
				continue
			}
			if !networks {
				e.Network = ""
			}
			e.Hops = o.Hops
			f.Endpoints = append(f.Endpoints, e)
			f.Local = f.Local || e.Local
		}
		if o.Hops > 0 {
			f.Via = append(f.Via, o.Identities...)
		}
	}
	slices.Sort(f.Via)
	f.Via = slices.Compact(f.Via)
	slices.SortFunc(f.Endpoints, func(a, b intent.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Address, b.Address))
	})
	// Two gateways of one host in a cluster may share their pods, and so their Service.
	f.Endpoints = slices.CompactFunc(f.Endpoints, func(a, b intent.Endpoint) bool {
		return a.Cluster == b.Cluster && a.Service == b.Service && a.Address == b.Address
	})
	slices.Sort(f.Leaving)
	f.Leaving = slices.Compact(f.Leaving)
	return f
}

// sayOrder says when an order by labels that somebody wants cannot be had.
func sayOrder(h *intent.Host, out *output) {
	if len(h.Failover.Priority) == 0 || slices.Equal(h.Failover.Priority, byLocality) {
		return
	}
	for _, f := range h.Forms {
		if intent.SpreadOf(f.Endpoints).Names {
			for _, fqn := range h.Owners {
				out.say(fqn, no(reasonByLocality, "", "Host %q has gateways that are known by a name: they are called in the order of regions and zones, and not by failoverPriority.", h.Host))
			}
			return
		}
	}
}

// sayDNSCapture names the clusters in which nobody can call a TCP host by name.
func sayDNSCapture(r *Reads, h *intent.Host, out *output) {
	for _, v := range r.prefix(clustersPrefix) {
		c, ok := v.(cluster)
		if !ok || !c.Known || c.DNSCapture {
			continue
		}
		for _, fqn := range h.Owners {
			out.say(fqn, in(c.Name, no(reasonNoDNSCapture, "tcp", "TCP host %q cannot be called in the cluster: its sidecars do not answer DNS.", h.Host)))
		}
	}
}

package compile

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

// plan is a gateway's configuration before any cluster was looked at. It is shared by the clusters and never changes.
type plan struct {
	FQN, Workspace resource.FQN
	// Name is that of the gateway among those of all kinds in its group.
	Name       string
	Privileged bool
	Namespace  string
	Labels     map[string]string
	Servers    []intent.Server
	// Closed keeps all HTTP servers out: an extension that may guard them cannot be had.
	Closed     bool
	Extensions []intent.Extension
	// ExtensionFields are the fields of the extensions, in their order.
	ExtensionFields []string
	// Fields of the servers, in their order, and of their limits, "" for none.
	Fields, LimitFields []string
	Hosts               []intent.GatewayHost
	Refs                []destinationRef
	Fronts              []fronted
	// Exposed are the hosts that can be called from within the mesh.
	Exposed  []exposure
	Metadata intent.Metadata
	// Egress is nil for a gateway that lets nothing out of the mesh.
	Egress *egress
	// Direct is the object of Istio's that the plan is of, nil for a gateway of this API.
	Direct *direct
	// At is where in the specification the gateway stands, with a dot at the end; empty when it is all of it.
	At string
}

// destinationRef says where a destination stands in Hosts, and where in the specification.
type destinationRef struct {
	Field     string
	Namespace string
	// Service is its name, empty when the destination is no service of a cluster.
	Service string
	Port    uint32
	Host    int
	// Kind is that of the server; Index counts in the list of such routes of the host.
	Kind  string
	Index int
	// TLS that the gateway starts; nil for that of the mesh, or none.
	TLS *intent.ClientTLS
}

// exposure is what a gateway offers to callers in the mesh under one host.
type exposure struct {
	Host      string
	FQN       resource.FQN
	Workspace resource.FQN
	Kind      string
	// Ports of passthrough and TCP hosts.
	Ports    []uint32
	Metadata intent.Metadata
	// Failover that the gateway wants of callers, nil when it says nothing.
	Failover *intent.Failover
}

// Kinds of exposures, in the order in which they win.
const (
	kindHTTP = "http"
	kindTLS  = "tls"
	kindTCP  = "tcp"
)

// setsPrefix is where the choices of clusters are that gateways in front of a host make.
func setsPrefix(host string) string { return "u/sets/" + host + "/" }

func placePrefix(cluster string) string { return "u/place/" + cluster + "/" }

func exposePrefix(host string) string { return "u/expose/" + host + "/" }

func offerPrefix(host string) string { return "u/offer/" + host + "/" }

// placementLayer decides which servers of a gateway hold, and in which clusters.
func placementLayer() *layer {
	return &layer{
		name: "placement",
		unitOf: func(key string) string {
			if fqn := store.Key(key).FQN(); isGateway(fqn) {
				return string(fqn)
			}
			return ""
		},
		root:   func(unit string) string { return string(store.ResourceKey(resource.FQN(unit))) },
		derive: derivePlacement,
	}
}

func derivePlacement(r *Reads, unit string, out *output) {
	fqn := resource.FQN(unit)
	spec, _ := specOf(r, fqn).(gatewaySpec)
	workspace, _ := specOf(r, fqn.Ancestor("workspaces")).(*tsbv2.Workspace)
	group, _ := specOf(r, fqn.Parent()).(*gatewayv2.Group)
	if spec == nil {
		return
	}
	if fqn.Ancestor("workspaces") != "" && workspace == nil {
		out.say(fqn, no(reasonParentMissing, "", "Workspace %q does not exist.", fqn.Ancestor("workspaces")))
	}
	if workspace == nil || group == nil {
		return // the resource layer says that the group is missing
	}
	if group.GetConfigMode() == typesv2.ConfigMode_DIRECT {
		out.say(fqn, no(reasonDirectGroup, "", "Group %q is in DIRECT mode.", fqn.Parent()))
		return
	}
	p := &plan{
		FQN: fqn, Workspace: fqn.Ancestor("workspaces"), Name: ownName(fqn), Privileged: workspace.GetPrivileged(),
		Namespace: spec.GetWorkloadSelector().GetNamespace(),
		Labels:    spec.GetWorkloadSelector().GetLabels(),
		Metadata:  mergeMetadata(specOf(r, fqn.Ancestor("organizations")), specOf(r, fqn.Ancestor("tenants")), workspace, group, spec),
	}
	extend(r, p, spec, out)
	admitted := admit(r, p, spec, out)
	fillPlan(p, admitted, out)
	p.Egress = egressOf(r, p, spec, out)
	for _, e := range p.Exposed {
		out.put(exposePrefix(e.Host)+string(fqn), e)
	}
	for _, f := range p.Fronts {
		for _, s := range f.Sets {
			if s.Name != "" && !s.single() {
				out.put(setsPrefix(f.Host)+string(fqn)+"/"+s.Name, s.clusterSet)
			}
		}
	}
	place(r, p, selectorPatterns(group.GetNamespaceSelector().GetNames()), out)
}

// ownName is the name of a gateway among those of all kinds in its group. It does not depend on who else is there.
func ownName(fqn resource.FQN) string {
	if fqn.Plural() == "ingressgateways" {
		return fqn.Name()
	}
	return fqn.Name() + "-" + shortHash(fqn.Plural())
}

func specOf(r *Reads, fqn resource.FQN) proto.Message {
	res, _ := r.get(string(store.ResourceKey(fqn))).(*resource.Resource)
	if res == nil {
		return nil
	}
	return res.Spec
}

// admit returns the servers that hold, and notes the hosts that the gateway exposes even while a server does not.
func admit(r *Reads, p *plan, spec gatewaySpec, out *output) []*server {
	var admitted []*server
	for i, s := range servers(spec) {
		if s.port == wellknown.MTLSPort {
			out.say(p.FQN, no(reasonReservedPort, s.field+".port", "Port %d of server %q is reserved for calls from within the mesh.", s.port, s.name))
			continue
		}
		if s.front {
			if owner := claimant(r, frontClaimPrefix(s.host)); owner != p.Workspace {
				out.say(p.FQN, no(reasonHostTaken, s.field+".hostname", "Gateways of %q are already in front of host %q.", owner, s.host))
				continue
			}
			if strings.Contains(s.host, "*") {
				out.say(p.FQN, no(reasonNotGlobal, s.field+".hostname", "Host %q has a wildcard: it is not exposed, because gateways of clusters cannot be called by it.", s.host))
				continue
			}
			for _, t := range s.targets() {
				checkClusters(r, p.FQN, t, out)
			}
		} else {
			if owner := claimant(r, hostClaimPrefix(s.host)); owner != p.Workspace {
				out.say(p.FQN, no(reasonHostTaken, s.field+".hostname", "Host %q already belongs to %q.", s.host, owner))
				continue
			}
			expose(p, s, out)
		}
		if c, conflict := conflictOf(r, p, s, i); conflict {
			out.say(p.FQN, c)
			continue
		}
		g, open := guard(p, s, out)
		if !open || p.Closed && s.isHTTP() {
			continue
		}
		s.guard = g
		admitted = append(admitted, s)
	}
	return admitted
}

// claimant is the workspace that asked first for what a claim is about.
func claimant(r *Reads, prefix string) resource.FQN {
	var best rank
	for _, v := range r.prefix(prefix) {
		if at := v.(rank); best.FQN == "" || at.before(best) {
			best = at
		}
	}
	return best.FQN
}

// conflictOf finds the first other server that cannot be true together with s, which is at order in its own gateway. Who
// comes first on a port decides which protocols it speaks.
func conflictOf(r *Reads, p *plan, s *server, order int) (resource.Condition, bool) {
	before := func(a, b *listener) bool {
		return b == nil || cmp.Or(cmp.Compare(a.FQN, b.FQN), cmp.Compare(a.Order, b.Order)) < 0
	}
	self := &listener{FQN: p.FQN, Order: order}
	first := func(prefix string) *listener {
		var best *listener
		for _, v := range r.prefix(prefix) {
			if l := v.(listener); before(&l, self) && samePods(l.Labels, p.Labels) && before(&l, best) {
				best = &l
			}
		}
		return best
	}
	say := func(l *listener, why string) (resource.Condition, bool) {
		return no(reasonServerConflict, s.field, "Server %q (port %d, host %q) is left out: server %q of %q %s.", s.name, s.port, s.host, l.Server, l.FQN, why), true
	}
	group := p.FQN.Parent()
	class := func(c string) *listener { return first(listenerClassKey(group, p.Namespace, s.port, c)) }
	var other *listener
	for _, c := range []string{"http", "tls", "tcp"} {
		if c == s.class() {
			continue // read only when it matters: there may be very many
		}
		if l := class(c); l != nil && before(l, other) {
			other = l
		}
	}
	if other != nil && before(other, class(s.class())) || other == nil && s.class() == "tcp" && class("tcp") != nil {
		if other == nil {
			other = class("tcp")
		}
		return say(other, "has the port with a protocol that cannot share it")
	}
	if l := first(listenerHostKey(group, p.Namespace, s.port, s.host)); l != nil {
		return say(l, "has the same port and host")
	}
	if s.front && s.port == 0 {
		if by := exposedOn(r, p, s.host); by != "" {
			return no(reasonServerConflict, s.field, "Server %q (host %q) is left out: %q exposes the host to callers within the mesh on the same pods.", s.name, s.host, by), true
		}
	}
	return resource.Condition{}, false
}

// exposedOn is the first gateway that exposes a host on the pods of the plan.
func exposedOn(r *Reads, p *plan, host string) resource.FQN {
	for key := range r.prefix(hostClaimPrefix(host)) {
		fqn := resource.FQN(strings.TrimPrefix(key, hostClaimPrefix(host)))
		if fqn.Parent() != p.FQN.Parent() || isDirect(fqn) {
			continue // other groups have other namespaces, and a group has gateways of one mode
		}
		spec, _ := specOf(r, fqn).(gatewaySpec)
		if w := spec.GetWorkloadSelector(); w.GetNamespace() == p.Namespace && samePods(w.GetLabels(), p.Labels) {
			return fqn
		}
	}
	return ""
}

// samePods says whether pods that one selector matches are all matched by the other.
func samePods(a, b map[string]string) bool {
	return subset(a, b) || subset(b, a)
}

func subset(a, b map[string]string) bool {
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// expose notes that the mesh can call a host, unless it cannot.
func expose(p *plan, s *server, out *output) {
	if strings.Contains(s.host, "*") {
		out.say(p.FQN, no(reasonNotGlobal, s.field+".hostname", "Host %q has a wildcard: it is exposed at the gateway, and cannot be called by name from within the mesh.", s.host))
		return
	}
	kind := kindHTTP
	switch s.protocol {
	case intent.Passthrough:
		kind = kindTLS
	case intent.TCP, intent.TCPTLS:
		kind = kindTCP
	}
	for i := range p.Exposed {
		e := &p.Exposed[i]
		if e.Host != s.host {
			continue
		}
		if e.Failover == nil {
			e.Failover = serverFailover(s.failover)
		}
		if e.Kind != kind {
			out.say(p.FQN, no(reasonNotGlobal, s.field, "Host %q is global as a host of kind %q; server %q is exposed at the gateway only.", s.host, e.Kind, s.name))
		} else if port := s.callPort(); kind != kindHTTP && port != 0 && !slices.Contains(e.Ports, port) {
			e.Ports = append(e.Ports, port)
			slices.Sort(e.Ports)
		}
		return
	}
	e := exposure{Host: s.host, FQN: p.FQN, Workspace: p.Workspace, Kind: kind, Metadata: p.Metadata, Failover: serverFailover(s.failover)}
	if kind != kindHTTP {
		if s.callPort() == 0 {
			out.say(p.FQN, no(reasonNotGlobal, s.field+".port", "Server %q says no port, and neither does its destination: host %q cannot be called from within the mesh.", s.name, s.host))
			return
		}
		e.Ports = []uint32{s.callPort()}
	}
	p.Exposed = append(p.Exposed, e)
}

// place publishes the plan for each cluster where the group reaches the namespace of the workload selector.
func place(r *Reads, p *plan, group []pattern, out *output) {
	l := land{FQN: p.FQN, Namespace: p.Namespace, Field: "workloadSelector.namespace", Group: group, Scope: groupScope(p.Workspace)}
	for _, cluster := range l.clusters(r, out) {
		out.put(placePrefix(cluster)+string(p.FQN), p)
	}
}

// land is a namespace that a resource of a group is about.
type land struct {
	FQN       resource.FQN
	Namespace string
	// Field that names it.
	Field string
	// Group is what the group selects, and Scope that within which a namespace has one group.
	Group []pattern
	Scope string
}

// clusters are those where workspace and group own the namespace, and where it is. It says why when there is none.
func (l land) clusters(r *Reads, out *output) []string {
	workspace := l.FQN.Ancestor("workspaces")
	var placed []string
	holder := resource.FQN("")
	system := isSystem(r, l.FQN, l.Namespace)
	workspaceIn, groupIn := ownersIn(r, workspaceScope, l.Namespace), ownersIn(r, l.Scope, l.Namespace)
	for name := range clustersOf(r, l.FQN) {
		if !selects(l.Group, name, l.Namespace) {
			continue
		}
		if owner := workspaceIn(name); owner != workspace {
			holder = cmp.Or(owner, "nobody")
			continue
		}
		if owner := groupIn(name); owner != l.FQN.Parent() {
			holder = owner
			continue
		}
		if system || !namespaceThere(r, name, l.Namespace) {
			continue
		}
		placed = append(placed, name)
	}
	switch {
	case len(placed) > 0:
	case system:
		out.say(l.FQN, no(reasonSystemNamespace, l.Field, "Namespace %q is a system namespace, which no workspace can own.", l.Namespace))
	case holder != "":
		out.say(l.FQN, no(reasonNamespaceForeign, l.Field, "Namespace %q belongs to %q.", l.Namespace, holder))
	case !slices.ContainsFunc(l.Group, func(q pattern) bool { return matchName(q.Namespace, l.Namespace) }):
		out.say(l.FQN, no(reasonNamespaceForeign, l.Field, "Namespace %q is not selected by group %q.", l.Namespace, l.FQN.Parent()))
	default:
		out.say(l.FQN, no(reasonNotPlaced, l.Field, "No cluster that the group selects has a namespace %q.", l.Namespace))
	}
	return placed
}

// selects says whether any of the patterns selects a namespace of a cluster.
func selects(patterns []pattern, cluster, namespace string) bool {
	return slices.ContainsFunc(patterns, func(q pattern) bool { return q.matches(cluster, namespace) })
}

// namespaceThere says whether a cluster has a namespace; in a cluster that has not reported it may.
func namespaceThere(r *Reads, cluster, namespace string) bool {
	mesh, _ := r.get(string(store.FactKey(cluster, "mesh//"))).(*isthmusv1.Fact)
	if mesh == nil {
		return true
	}
	return remains(r, cluster, namespace)
}

// fillPlan makes the servers and the routes of their hosts.
func fillPlan(p *plan, admitted []*server, out *output) {
	internal := internalServers(admitted)
	byHost := map[string]int{}
	for _, s := range admitted {
		p.Fields, p.LimitFields = append(p.Fields, s.field), append(p.LimitFields, s.limitField)
		name := s.name
		if s.front && s.port == 0 {
			name += "-internal" // an external one may have the same name
		}
		p.Servers = append(p.Servers, intent.Server{
			Name: name, Port: s.port, Protocol: s.protocol, Host: s.host,
			TLS: serverTLS(s.tls, p.Namespace), Internal: internal[s.host] == s, Guard: s.guard,
		})
		i, ok := byHost[s.host]
		if !ok {
			i = len(p.Hosts)
			byHost[s.host] = i
			p.Hosts = append(p.Hosts, intent.GatewayHost{Host: s.host})
		}
		var ports []uint32
		if s.port != 0 {
			ports = append(ports, s.port)
		}
		if internal[s.host] == s {
			ports = append(ports, wellknown.MTLSPort)
		}
		addRoutes(p, i, s, name, ports, out)
	}
}

// internalServers picks, for each host, the server at which calls from within the mesh end: one that is for nothing else,
// or the first one that forwards anything, so that one which only redirects to HTTPS does not win. What is passed through
// has none, and neither have servers for clients in front of clusters.
func internalServers(admitted []*server) map[string]*server {
	picked := map[string]*server{}
	for _, s := range admitted {
		if s.protocol == intent.Passthrough || strings.Contains(s.host, "*") || s.front && s.port != 0 {
			continue
		}
		was := picked[s.host]
		if was == nil || was.port != 0 && (s.port == 0 || !forwards(was) && forwards(s)) {
			picked[s.host] = s
		}
	}
	return picked
}

// callPort is the port of a TCP or TLS host that callers in the mesh use.
func (s *server) callPort() uint32 {
	if s.port == 0 && s.to != nil {
		return s.to.service.GetPort()
	}
	return s.port
}

func forwards(s *server) bool {
	return s.to != nil || slices.ContainsFunc(s.rules, func(r rule) bool { return r.to != nil })
}

// withHosts is p with its hosts' routes replaced; p is shared and stays as it was.
func cloneHosts(hosts []intent.GatewayHost) []intent.GatewayHost {
	hosts = slices.Clone(hosts)
	for i := range hosts {
		hosts[i].HTTP = slices.Clone(hosts[i].HTTP)
		hosts[i].Pass = slices.Clone(hosts[i].Pass)
		hosts[i].TCP = slices.Clone(hosts[i].TCP)
	}
	return hosts
}

// withLabel is labels with one more; labels is shared and stays as it was.
func withLabel(labels map[string]string, key, value string) map[string]string {
	out := make(map[string]string, len(labels)+1)
	maps.Copy(out, labels)
	out[key] = value
	return out
}

package compile

import (
	"cmp"
	"slices"
	"strings"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

const intentShared = "u/intent/shared/"

// sharedLayer makes one service of what clusters have under one name.
func sharedLayer() *layer {
	return &layer{
		name: "shared",
		unitOf: func(key string) string {
			rest, ok := strings.CutPrefix(key, "u/shared/")
			if !ok {
				return ""
			}
			return rest[:strings.LastIndexByte(rest, '/')]
		},
		root:   func(unit string) string { return "u/shared/" + unit + "/" },
		derive: deriveShared,
	}
}

// union is a service that clusters share, while it is derived.
type union struct {
	r         *Reads
	out       *output
	setting   resource.FQN
	workspace resource.FQN
	ns, name  string
	offers    []shared
}

func deriveShared(r *Reads, unit string, out *output) {
	u := &union{r: r, out: out}
	for _, v := range r.prefix("u/shared/" + unit + "/") {
		u.offers = append(u.offers, v.(shared))
	}
	if len(u.offers) == 0 {
		return
	}
	u.setting = u.offers[0].Setting
	u.workspace = u.setting.Parent()
	u.ns, u.name, _ = strings.Cut(strings.TrimPrefix(unit, string(u.workspace)+"/"), "/")
	for cluster := range clustersOf(r, u.workspace) {
		u.deriveIn(cluster)
	}
}

// others are the clusters that callers of a cluster can call beside their own.
func (u *union) others(c cluster) []shared {
	self, _ := u.r.get(intentClusters + c.Name).(*intent.Cluster)
	var all []shared
	far := 0
	for _, o := range u.offers {
		switch {
		case o.Cluster.Name == c.Name:
		case self != nil && !within(self.Reach, o.Cluster.Declared):
			far++
		case u.trusted(c, o.Cluster):
			all = append(all, o)
		}
	}
	if len(all) == 0 && far > 0 {
		u.say(in(c.Name, no(reasonUnreachable, eastWestField, "Service %q in namespace %q is in no other cluster that can be called.", u.name, u.ns)))
	}
	return all
}

// evacuate leaves out what drained clusters have, as long as callers of a cluster can call another one.
func (u *union) evacuate(c cluster, others []shared) {
	undrained := func(o shared) bool { return !o.Cluster.Drained && len(o.Addresses) > 0 }
	elsewhere := slices.ContainsFunc(others, undrained) || slices.ContainsFunc(u.offers, func(o shared) bool { return o.Cluster.Name == c.Name && undrained(o) })
	for i, o := range others {
		switch {
		case !o.Cluster.Drained || len(o.Addresses) == 0:
		case elsewhere:
			others[i].Addresses = nil
		default:
			c := u.workspace.Ancestor("organizations").Child("clusters", o.Cluster.Name)
			u.out.say(c, no(reasonNowhereElse, "labels", "Service %q in namespace %q can be called in no other cluster, and is called here on.", u.name, u.ns))
		}
	}
}

// deriveIn makes the service as callers of a cluster see it, where the namespace is the workspace's.
func (u *union) deriveIn(name string) {
	c, known := u.r.get(clustersPrefix + name).(cluster)
	namespace, _ := u.r.get(string(store.FactKey(name, "namespace//"+u.ns))).(*isthmusv1.Fact)
	if !known || namespace.GetNamespace().GetTerminating() || ownerOf(u.r, workspaceScope, name, u.ns) != u.workspace {
		return
	}
	service, _ := u.r.get(string(store.FactKey(name, "service/"+u.ns+"/"+u.name))).(*isthmusv1.Fact)
	own := service.GetService()
	others := u.others(c)
	if len(others) == 0 || own != nil && !isAddress(own.GetClusterIp()) {
		return // what is only here needs nothing, and a name without an address means pods, one by one
	}
	s := &intent.Shared{
		Key:       intent.GatewayKey{Cluster: name, FQN: u.setting.Child("services", u.ns+"."+u.name)},
		Workspace: u.workspace.Name(), Metadata: u.offers[0].Metadata, Owners: []resource.FQN{u.setting},
		Host: u.name + "." + u.ns + ".svc.cluster.local", Name: u.name + "." + u.ns,
		Namespace: u.ns, Own: own != nil, Failover: ownFailover(u.r, u.workspace),
	}
	if c.Known && namespace == nil {
		s.Namespace = wellknown.GlobalNamespace
	}
	s.Ports = u.ports(c, own, others)
	if len(s.Ports) == 0 {
		return
	}
	u.evacuate(c, others)
	for _, o := range others {
		u.add(c, s, o)
	}
	slices.Sort(s.SubjectAltNames)
	s.SubjectAltNames = slices.Compact(s.SubjectAltNames)
	if own == nil && c.Known && !c.DNSCapture {
		u.say(in(name, no(reasonNoDNSCapture, eastWestField, "Service %q in namespace %q cannot be called in the cluster: it has no Service of the name, and its sidecars do not answer DNS.", u.name, u.ns)))
	}
	u.out.put(intentShared+name+"/"+string(s.Key.FQN), s)
	u.out.put(madePrefix(name, s.Namespace)+string(s.Key.FQN), s)
}

func (u *union) say(c resource.Condition) { u.out.say(u.setting, c) }

// trusted says whether pods of two clusters take each other's identities.
func (u *union) trusted(c, o cluster) bool {
	all := true
	for _, pair := range [][2]cluster{{c, o}, {o, c}} {
		mesh, other := pair[0], pair[1]
		if mesh.TrustDomain == other.TrustDomain || !mesh.Known || !other.Known || slices.Contains(mesh.Aliases, other.TrustDomain) {
			continue
		}
		all = false
		u.say(in(mesh.Name, no(reasonTrust, eastWestField, "The mesh does not take the trust domain %q of cluster %q for its own: services are not called from one to the other.", other.TrustDomain, other.Name)))
	}
	return all
}

// ports that callers of a cluster use: those of its own Service, which decides, that some other cluster has too.
func (u *union) ports(c cluster, own *isthmusv1.Service, others []shared) []intent.HostPort {
	elsewhere := func(n uint32) bool {
		return slices.ContainsFunc(others, func(o shared) bool { return hasPort(o.Ports, n) })
	}
	var ports []intent.HostPort
	if own == nil {
		for _, o := range others {
			for _, p := range o.Ports {
				if !hasPort(ports, p.Number) {
					p.Name = "port-" + itoa(p.Number)
					ports = append(ports, p)
				}
			}
		}
		slices.SortFunc(ports, func(a, b intent.HostPort) int { return int(a.Number) - int(b.Number) })
		return ports
	}
	for _, p := range sharedPorts(own) {
		switch {
		case !elsewhere(p.Number):
			u.say(in(c.Name, no(reasonPortsDiffer, eastWestField, "Port %d of Service %q in namespace %q is in no other cluster.", p.Number, u.name, u.ns)))
		case p.Name == "":
			u.say(in(c.Name, no(reasonPortsDiffer, eastWestField, "Port %d of Service %q in namespace %q has no name: in other clusters it is not called.", p.Number, u.name, u.ns)))
		default:
			ports = append(ports, p)
		}
	}
	return ports
}

func hasPort(ports []intent.HostPort, number uint32) bool {
	return slices.ContainsFunc(ports, func(p intent.HostPort) bool { return p.Number == number })
}

// add adds what another cluster has, unless it lacks a port: Istio would call the gateway on a port that nobody asked for.
func (u *union) add(c cluster, s *intent.Shared, o shared) {
	for _, account := range o.Accounts {
		s.SubjectAltNames = append(s.SubjectAltNames, "spiffe://"+o.Cluster.TrustDomain+"/ns/"+u.ns+"/sa/"+account)
	}
	for _, p := range s.Ports {
		if !hasPort(o.Ports, p.Number) {
			u.say(in(c.Name, no(reasonPortsDiffer, eastWestField, "Service %q in namespace %q is not called in cluster %q: it has no port %d there.", u.name, u.ns, o.Cluster.Name, p.Number)))
			return
		}
	}
	for _, e := range o.Addresses {
		number := e.Ports["mtls"]
		e.Ports = make(map[string]uint32, len(s.Ports))
		for _, p := range s.Ports {
			e.Ports[p.Name] = number
		}
		e.Network = "" // mutual TLS is with the pods, and Istio must not send it through a gateway of its own
		s.Elsewhere = append(s.Elsewhere, intent.Elsewhere{Endpoint: e, Accounts: o.Accounts})
	}
	slices.SortFunc(s.Elsewhere, func(a, b intent.Elsewhere) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Address, b.Address))
	})
}

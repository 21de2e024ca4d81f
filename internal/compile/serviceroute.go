package compile

import (
	"slices"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// routedPrefix is where the routes are that a group has for a service.
func routedPrefix(group resource.FQN, namespace, service string) string {
	return "u/routed/" + string(group) + "/" + namespace + "/" + service + "/"
}

// servicePlan is a ServiceRoute before any cluster was looked at. It is shared by the clusters and never changes.
type servicePlan struct {
	FQN, Workspace resource.FQN
	Privileged     bool
	Service        resource.ServiceRef
	Route          intent.Route
	// Refs are the services that routes lead to, and Ports those of the service that something is said of.
	Refs  []serviceRef
	Ports []servicePort
}

// serviceRef says where a destination stands in the plan, and where in the specification.
type serviceRef struct {
	Field, HostField string
	resource.ServiceRef
	Port   uint32
	Subset string
	// Kind is that of the route, Index its place, and Mirror that among the mirrors; -1 for a destination.
	Kind          string
	Index, Mirror int
}

// servicePort is a port of the service, with what has to be spoken on it: "" for anything.
type servicePort struct {
	Field    string
	Port     uint32
	Protocol string
}

func serviceOf(spec *trafficv2.ServiceRoute) resource.ServiceRef {
	ref, _ := resource.ParseService(spec.GetService(), "")
	return ref
}

const servicesPrefix = "u/service/"

// servicePrefix is where the one route of a service in a cluster is that holds.
func servicePrefix(cluster, namespace, service string) string {
	return servicesPrefix + cluster + "/" + namespace + "/" + service + "/"
}

// planOf is the route of a service that holds in a cluster, nil when there is none.
func planOf(r *Reads, prefix string) *servicePlan {
	for _, v := range r.prefix(prefix) {
		return v.(*servicePlan)
	}
	return nil
}

// serviceLayer decides which routes of services hold, and in which clusters.
func serviceLayer() *layer {
	return &layer{
		name: "service",
		unitOf: func(key string) string {
			if fqn := store.Key(key).FQN(); fqn.Plural() == "serviceroutes" {
				return string(fqn)
			}
			return ""
		},
		root:   func(unit string) string { return string(store.ResourceKey(resource.FQN(unit))) },
		derive: deriveService,
	}
}

func deriveService(r *Reads, unit string, out *output) {
	fqn := resource.FQN(unit)
	spec, _ := specOf(r, fqn).(*trafficv2.ServiceRoute)
	group, _ := specOf(r, fqn.Parent()).(*trafficv2.Group)
	workspace, _ := specOf(r, fqn.Ancestor("workspaces")).(*tsbv2.Workspace)
	if spec == nil || group == nil || workspace == nil {
		return // the resource layer says what is missing
	}
	if group.GetConfigMode() == typesv2.ConfigMode_DIRECT {
		out.say(fqn, no(reasonDirectGroup, "", "Group %q is in DIRECT mode.", fqn.Parent()))
		return
	}
	ref := serviceOf(spec)
	for _, first := range r.prefix(routedPrefix(fqn.Parent(), ref.Namespace, ref.Name)) {
		if first != fqn {
			out.say(fqn, no(reasonNoEffect, "service", "A service has one ServiceRoute, and %q comes first.", first))
			return
		}
		break
	}
	p := &servicePlan{FQN: fqn, Workspace: fqn.Ancestor("workspaces"), Privileged: workspace.GetPrivileged(), Service: ref}
	p.Route = intent.Route{
		FQN: fqn, Workspace: p.Workspace.Name(), Host: ref.Host,
		Metadata: mergeMetadata(specOf(r, fqn.Ancestor("organizations")), specOf(r, fqn.Ancestor("tenants")), workspace, group, spec),
	}
	p.versions(spec)
	p.routes(spec, out)
	l := land{FQN: fqn, Namespace: ref.Namespace, Field: "service", Group: selectorPatterns(group.GetNamespaceSelector().GetNames()), Scope: trafficScope(p.Workspace)}
	for _, cluster := range l.clusters(r, out) {
		out.put(servicePrefix(cluster, ref.Namespace, ref.Name)+unit, p)
	}
}

// versions are what the DestinationRule says.
func (p *servicePlan) versions(spec *trafficv2.ServiceRoute) {
	v := &p.Route.Versions
	if s := spec.GetStickySession(); s != nil {
		v.Sticky = new(sticky(s))
	}
	v.Ports = p.stickyPorts(spec.GetPortLevelSettings(), "portLevelSettings")
	for i, s := range spec.GetSubsets() {
		v.Subsets = append(v.Subsets, intent.Subset{
			Name: s.GetName(), Labels: s.GetLabels(), Ports: p.stickyPorts(s.GetPortLevelSettings(), "subsets["+itoa(i)+"].portLevelSettings"),
		})
	}
}

func (p *servicePlan) stickyPorts(list []*trafficv2.ServiceRoute_PortLevelSetting, field string) []intent.PortSticky {
	var ports []intent.PortSticky
	for i, s := range list {
		p.Ports = append(p.Ports, servicePort{field + "[" + itoa(i) + "]", s.GetPort(), spokenOn[s.GetTrafficType()]})
		if s.GetStickySession() != nil {
			ports = append(ports, intent.PortSticky{Port: s.GetPort(), Hash: sticky(s.GetStickySession())})
		}
	}
	return ports
}

// spokenOn is what a traffic type is in terms of routes.
var spokenOn = map[trafficv2.ServiceRoute_PortLevelSetting_TrafficType]string{
	trafficv2.ServiceRoute_PortLevelSetting_HTTP:            kindHTTP,
	trafficv2.ServiceRoute_PortLevelSetting_TCP:             kindTCP,
	trafficv2.ServiceRoute_PortLevelSetting_TLS_PASSTHROUGH: kindTLS,
}

func sticky(s *trafficv2.ServiceRoute_StickySession) intent.Hash {
	out := intent.Hash{Header: s.GetHeader(), SourceIP: s.GetUseSourceIp()}
	if c := s.GetCookie(); c != nil {
		out.Cookie = &intent.Cookie{Name: c.GetName(), Path: c.GetPath(), Lifetime: c.GetTtl().AsDuration()}
	}
	return out
}

// routes are those of the specification, and after them what the weights of the subsets say.
func (p *servicePlan) routes(spec *trafficv2.ServiceRoute, out *output) {
	for i, h := range spec.GetHttpRoutes() {
		p.httpRoute(h, "httpRoutes["+itoa(i)+"]", out)
	}
	for i, t := range spec.GetTcpRoutes() {
		field := "tcpRoutes[" + itoa(i) + "]"
		f := intent.Forward{To: p.destinations(t.GetDestination(), field, kindTCP, len(p.Route.TCP))}
		for j, m := range t.GetMatch() {
			f.Ports = append(f.Ports, m.GetPort())
			p.Ports = append(p.Ports, servicePort{field + ".match[" + itoa(j) + "]", m.GetPort(), kindTCP})
		}
		p.Route.TCP = append(p.Route.TCP, f)
	}
	p.rest(spec)
}

// rest is what happens to what no route takes.
func (p *servicePlan) rest(spec *trafficv2.ServiceRoute) {
	weights := make([]uint32, len(spec.GetSubsets()))
	for i, s := range spec.GetSubsets() {
		weights[i] = s.GetWeight()
	}
	shared := func(port uint32) []intent.Share {
		return sharesOf(weights, func(i int) intent.Destination {
			return intent.Destination{Host: p.Service.Host, Port: port, Subset: spec.GetSubsets()[i].GetName()}
		})
	}
	route, all := &p.Route, intent.All(intent.Destination{Host: p.Service.Host})
	var http []intent.HTTPRoute
	var tcp []intent.Forward
	switch {
	case len(weights) == 0:
	case len(spec.GetPortLevelSettings()) == 0:
		http, tcp = append(http, intent.HTTPRoute{Name: "default", To: shared(0)}), append(tcp, intent.Forward{To: shared(0)})
	default:
		for _, s := range spec.GetPortLevelSettings() {
			port, to := s.GetPort(), shared(s.GetPort())
			switch spokenOn[s.GetTrafficType()] {
			case kindHTTP:
				http = append(http, intent.HTTPRoute{Name: "default-" + itoa(port), Matches: []intent.HTTPMatch{{Port: port}}, To: to})
			case kindTLS:
				route.TLS = append(route.TLS, intent.Forward{Ports: []uint32{port}, To: to})
			case kindTCP:
				tcp = append(tcp, intent.Forward{Ports: []uint32{port}, To: to})
			}
		}
	}
	takesAll := func(h intent.HTTPRoute) bool { return len(h.Matches) == 0 }
	if !slices.ContainsFunc(route.HTTP, takesAll) {
		route.HTTP = append(route.HTTP, http...)
	}
	// Where there is any route, a request that matches none is answered with 404.
	if len(route.HTTP) > 0 && !slices.ContainsFunc(route.HTTP, takesAll) {
		route.HTTP = append(route.HTTP, intent.HTTPRoute{Name: "default", To: all})
	}
	if !slices.ContainsFunc(route.TCP, func(f intent.Forward) bool { return len(f.Ports) == 0 }) {
		route.TCP = append(route.TCP, tcp...)
	}
}

// sharesOf gives each destination its weight, or all of them equal parts. Those without a part are left out.
func sharesOf(weights []uint32, to func(int) intent.Destination) []intent.Share {
	n, given := uint32(len(weights)), slices.Max(weights) > 0
	var out []intent.Share
	for i, w := range weights {
		if !given {
			w = 100 / n
			if uint32(i) < 100%n {
				w++
			}
		}
		if w > 0 {
			out = append(out, intent.Share{Destination: to(i), Weight: w})
		}
	}
	return out
}

func (p *servicePlan) httpRoute(h *trafficv2.ServiceRoute_HttpRoute, field string, out *output) {
	index := len(p.Route.HTTP)
	route := intent.HTTPRoute{Name: h.GetName(), Fault: faultOf(h.GetFault())}
	matches := make([]*gatewayv2.HttpMatch, len(h.GetMatch()))
	for i, m := range h.GetMatch() {
		matches[i] = &gatewayv2.HttpMatch{Uri: m.GetUri(), Headers: m.GetHeaders()}
		if m.GetPort() != 0 {
			p.Ports = append(p.Ports, servicePort{field + ".match[" + itoa(i) + "]", m.GetPort(), kindHTTP})
		}
	}
	var from []int
	route.Matches, from = httpMatches(p.FQN, field, matches, out)
	for i, j := range from {
		route.Matches[i].Name, route.Matches[i].Port = h.GetMatch()[j].GetName(), h.GetMatch()[j].GetPort()
	}
	if len(h.GetDestination()) == 0 { // it is left to what is not translated
		route.Fault, route.Direct = nil, &intent.Direct{Status: 503}
		p.Route.HTTP = append(p.Route.HTTP, route)
		return
	}
	route.To = p.destinations(h.GetDestination(), field, kindHTTP, index)
	for i, m := range h.GetMirrors() {
		part := 100.0
		if m.Percentage != nil {
			part = m.GetPercentage()
		}
		at := field + ".mirrors[" + itoa(i) + "]"
		ref := serviceRef{Field: at, HostField: at + ".host", Port: m.GetPort(), Subset: m.GetSubset(), Kind: kindHTTP, Index: index, Mirror: i}
		route.Mirrors = append(route.Mirrors, intent.Mirror{Destination: p.refer(ref, m.GetHost()), Part: part})
	}
	p.Route.HTTP = append(p.Route.HTTP, route)
}

func faultOf(f *trafficv2.ServiceRoute_HttpFault) *intent.Fault {
	if f == nil {
		return nil
	}
	return &intent.Fault{
		Status: f.GetAbort().GetHttpStatus(), GRPC: f.GetAbort().GetGrpcStatus(), AbortPart: f.GetAbort().GetPercentage(),
		Delay: f.GetDelay().GetFixedDelay().AsDuration(), DelayPart: f.GetDelay().GetPercentage(),
	}
}

// destinations are where a route leads to.
func (p *servicePlan) destinations(list []*trafficv2.ServiceRoute_Destination, field, kind string, index int) []intent.Share {
	weights := make([]uint32, len(list))
	for i, d := range list {
		weights[i] = d.GetWeight()
	}
	return sharesOf(weights, func(i int) intent.Destination {
		d, at := list[i], field+".destination["+itoa(i)+"]"
		ref := serviceRef{Field: at, HostField: at + ".destinationHost", Port: d.GetPort(), Subset: d.GetSubset(), Kind: kind, Index: index, Mirror: -1}
		return p.refer(ref, d.GetDestinationHost())
	})
}

// refer notes a service that something leads to.
func (p *servicePlan) refer(ref serviceRef, host string) intent.Destination {
	ref.ServiceRef = p.Service
	if host != "" {
		ref.ServiceRef, _ = resource.ParseService(host, p.Service.Namespace)
	}
	p.Refs = append(p.Refs, ref)
	return intent.Destination{Host: ref.Host, Port: ref.Port, Subset: ref.Subset}
}

// hasSubset says whether the plan has a subset.
func (p *servicePlan) hasSubset(name string) bool {
	return p != nil && slices.ContainsFunc(p.Route.Subsets, func(s intent.Subset) bool { return s.Name == name })
}

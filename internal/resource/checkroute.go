package resource

import (
	"slices"
	"strings"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
)

// ServiceRef is a Service of a cluster as a text names it.
type ServiceRef struct {
	Namespace, Name string
	// Host is its full name.
	Host string
}

// ParseService reads "<namespace>/<host>", or the host alone, which is of a namespace when it has one label. False says that the
// host is that of no Service, or of one of another namespace than stands before it.
func ParseService(text, namespace string) (ref ServiceRef, ok bool) {
	before, host, qualified := strings.Cut(text, "/")
	if !qualified {
		before, host = "", text
	}
	labels := strings.Split(host, ".")
	ref = ServiceRef{Namespace: namespace, Name: labels[0], Host: host}
	switch {
	case len(labels) == 1 && qualified:
		ref.Namespace = before
	case len(labels) == 2, len(labels) > 2 && labels[2] == "svc":
		ref.Namespace = labels[1]
	}
	if len(labels) <= 3 {
		ref.Host = ref.Name + "." + ref.Namespace + ".svc.cluster.local"
	}
	fits := len(labels) <= 2 || labels[2] == "svc"
	return ref, fits && (!qualified || before == ref.Namespace) && dnsLabel.MatchString(ref.Name) && dnsLabel.MatchString(ref.Namespace) && len(host) <= 253 && hostname.MatchString(host)
}

// grpcStatuses are the codes of gRPC but the one that says that nothing is wrong.
var grpcStatuses = []string{
	"CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// routing is a ServiceRoute while it is checked.
type routing struct {
	*checker
	spec    *trafficv2.ServiceRoute
	service ServiceRef
	subsets []string
	types   map[uint32]trafficv2.ServiceRoute_PortLevelSetting_TrafficType
}

// serviceRoute checks what the annotations cannot say about a route of a service.
func (c *checker) serviceRoute(spec *trafficv2.ServiceRoute) {
	r := &routing{checker: c, spec: spec, types: map[uint32]trafficv2.ServiceRoute_PortLevelSetting_TrafficType{}}
	ref, ok := ParseService(spec.GetService(), "")
	if !ok || !strings.Contains(spec.GetService(), "/") {
		c.at("spec.service", `%q is not "<namespace>/<full name of a Service of that namespace>", such as shop/cart.shop.svc.cluster.local`, spec.GetService())
	}
	r.service = ref
	r.ports(spec.GetPortLevelSettings(), "spec.portLevelSettings")
	r.sticky(spec.GetStickySession(), "spec.stickySession")
	weights := make([]uint32, len(spec.GetSubsets()))
	for i, s := range spec.GetSubsets() {
		r.subset(s, "spec.subsets["+itoa(i)+"]")
		weights[i] = s.GetWeight()
	}
	r.shares(weights, "spec.subsets", "subsets")
	seen := names{}
	for i, h := range spec.GetHttpRoutes() {
		at := "spec.httpRoutes[" + itoa(i) + "]"
		r.once(seen, h.GetName(), at)
		if len(h.GetMatch()) == 0 && i+1 < len(spec.GetHttpRoutes()) {
			r.at(at+".match", "is missing: nothing reaches httpRoutes[%d]", i+1)
		}
		r.http(h, at)
	}
	seen = names{}
	for i, t := range spec.GetTcpRoutes() {
		at := "spec.tcpRoutes[" + itoa(i) + "]"
		r.once(seen, t.GetName(), at)
		if len(t.GetMatch()) == 0 && i+1 < len(spec.GetTcpRoutes()) {
			r.at(at+".match", "is missing: nothing reaches tcpRoutes[%d]", i+1)
		}
		for j, m := range t.GetMatch() {
			r.spoken(m.GetPort(), trafficv2.ServiceRoute_PortLevelSetting_TCP, at+".match["+itoa(j)+"].port")
		}
		r.destinations(t.GetDestination(), at+".destination")
	}
}

// names that were met, and where.
type names map[string]string

// once says that a name is there twice.
func (r *routing) once(seen names, name, at string) {
	if first, again := seen[name]; again && name != "" {
		r.at(at+".name", "%q is also in %s", name, strings.TrimPrefix(first, "spec."))
		return
	}
	seen[name] = at
}

func (r *routing) subset(s *trafficv2.ServiceRoute_Subset, at string) {
	switch {
	case s.GetName() != "" && !dnsLabel.MatchString(s.GetName()):
		r.at(at+".name", "%q is not a DNS label", s.GetName())
	case slices.Contains(r.subsets, s.GetName()):
		r.at(at+".name", "%q is there twice", s.GetName())
	}
	r.subsets = append(r.subsets, s.GetName())
	r.labels(s.GetLabels(), at+".labels")
	for i, p := range s.GetPortLevelSettings() {
		in := at + ".portLevelSettings[" + itoa(i) + "]"
		if p.GetStickySession() == nil {
			r.at(in, "says nothing: set stickySession")
		}
		if t := r.types[p.GetPort()]; t != 0 && t != p.GetTrafficType() {
			r.at(in+".trafficType", "%s is not that of the port in portLevelSettings of the route, %s", p.GetTrafficType(), t)
		}
		r.port(s.GetPortLevelSettings(), i, in)
	}
}

func (r *routing) ports(list []*trafficv2.ServiceRoute_PortLevelSetting, path string) {
	for i, p := range list {
		r.port(list, i, path+"["+itoa(i)+"]")
		r.types[p.GetPort()] = p.GetTrafficType()
	}
}

func (r *routing) port(list []*trafficv2.ServiceRoute_PortLevelSetting, i int, at string) {
	p := list[i]
	if slices.ContainsFunc(list[:i], func(q *trafficv2.ServiceRoute_PortLevelSetting) bool { return q.GetPort() == p.GetPort() }) {
		r.at(at+".port", "%d is there twice", p.GetPort())
	}
	r.sticky(p.GetStickySession(), at+".stickySession")
	if s := p.GetStickySession(); s != nil && !s.GetUseSourceIp() && p.GetTrafficType() > trafficv2.ServiceRoute_PortLevelSetting_HTTP {
		r.at(at+".stickySession", "is about HTTP requests, and the port's traffic is %s: set useSourceIp", p.GetTrafficType())
	}
}

func (r *routing) sticky(s *trafficv2.ServiceRoute_StickySession, at string) {
	switch t := s.GetSessionType().(type) {
	case *trafficv2.ServiceRoute_StickySession_Header:
		if !token.MatchString(t.Header) {
			r.at(at+".header", "%q is not the name of a header", t.Header)
		}
	case *trafficv2.ServiceRoute_StickySession_Cookie:
		if name := t.Cookie.GetName(); name != "" && !token.MatchString(name) {
			r.at(at+".cookie.name", "%q is not the name of a cookie", name)
		}
		if path := t.Cookie.GetPath(); path != "" && (!strings.HasPrefix(path, "/") || strings.ContainsAny(path, "; \t\r\n")) {
			r.at(at+".cookie.path", "%q is not a path", path)
		}
	case *trafficv2.ServiceRoute_StickySession_UseSourceIp:
		if !t.UseSourceIp {
			r.at(at+".useSourceIp", "is false, which says nothing: leave out stickySession")
		}
	}
}

// shares are percentages; all of them 0 means equal parts.
func (r *routing) shares(weights []uint32, path, what string) {
	sum := uint32(0)
	for _, w := range weights {
		sum += w
	}
	if sum != 0 && sum != 100 && !slices.ContainsFunc(weights, func(w uint32) bool { return w > 100 }) {
		r.at(path, "the weights of the %s add up to %d, not to 100", what, sum)
	}
}

func (r *routing) http(h *trafficv2.ServiceRoute_HttpRoute, at string) {
	for i, m := range h.GetMatch() {
		in := at + ".match[" + itoa(i) + "]"
		r.match(&gatewayv2.HttpMatch{Uri: m.GetUri(), Headers: m.GetHeaders()}, in)
		r.spoken(m.GetPort(), trafficv2.ServiceRoute_PortLevelSetting_HTTP, in+".port")
	}
	if len(h.GetDestination()) == 0 && h.GetFlagger() == nil {
		r.at(at+".destination", "is missing")
	}
	r.destinations(h.GetDestination(), at+".destination")
	r.fault(h.GetFault(), at+".fault")
	for i, m := range h.GetMirrors() {
		in := at + ".mirrors[" + itoa(i) + "]"
		r.target(m.GetHost(), m.GetSubset(), in+".host", in+".subset")
	}
}

// spoken says that a route is about a port on which portLevelSettings says that something else is spoken.
func (r *routing) spoken(port uint32, want trafficv2.ServiceRoute_PortLevelSetting_TrafficType, at string) {
	if t := r.types[port]; t != 0 && t != want {
		r.at(at, "the traffic of port %d is %s in portLevelSettings, and routes of this kind are for %s", port, t, want)
	}
}

func (r *routing) destinations(list []*trafficv2.ServiceRoute_Destination, path string) {
	weights := make([]uint32, len(list))
	for i, d := range list {
		at := path + "[" + itoa(i) + "]"
		r.target(d.GetDestinationHost(), d.GetSubset(), at+".destinationHost", at+".subset")
		weights[i] = d.GetWeight()
	}
	r.shares(weights, path, "destinations")
}

// target checks a service that requests go to. Subsets of another service are known only where all routes are.
func (r *routing) target(host, subset, hostAt, subsetAt string) {
	ref := r.service
	if host != "" {
		var ok bool
		if ref, ok = ParseService(host, r.service.Namespace); !ok {
			r.at(hostAt, `%q is not the full name of a Service, such as cart.shop.svc.cluster.local`, host)
			return
		}
	}
	if subset != "" && ref.Namespace == r.service.Namespace && ref.Name == r.service.Name && !slices.Contains(r.subsets, subset) {
		r.at(subsetAt, "%q is no subset of the route", subset)
	}
}

func (r *routing) fault(f *trafficv2.ServiceRoute_HttpFault, at string) {
	if f == nil {
		return
	}
	if f.GetAbort() == nil && f.GetDelay() == nil {
		r.at(at, "says nothing: set abort or delay")
	}
	switch t := f.GetAbort().GetErrorType().(type) {
	case *trafficv2.ServiceRoute_HttpFault_Abort_HttpStatus:
		if t.HttpStatus < 200 || t.HttpStatus > 599 {
			r.at(at+".abort.httpStatus", "%d is not a status from 200 to 599", t.HttpStatus)
		}
	case *trafficv2.ServiceRoute_HttpFault_Abort_GrpcStatus:
		if !slices.Contains(grpcStatuses, t.GrpcStatus) {
			r.at(at+".abort.grpcStatus", "%q must be one of %s", t.GrpcStatus, strings.Join(grpcStatuses, ", "))
		}
	}
	if d := f.GetDelay().GetFixedDelay(); d != nil {
		r.wholly(d, at+".delay.fixedDelay")
	}
}

package compile

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// gatewaySpec is what the kinds of gateways have in common.
type gatewaySpec interface {
	proto.Message
	GetWorkloadSelector() *typesv2.WorkloadSelector
}

// isGateway says whether a name is that of a gateway of any kind.
func isGateway(fqn resource.FQN) bool {
	switch fqn.Plural() {
	case "ingressgateways", "tier1gateways", "unifiedgateways", "egressgateways":
		return true
	}
	return false
}

// server is what the servers of all kinds of gateways come to: what follows knows no kind.
type server struct {
	// field is the JSON path, for example "http[0]".
	field string
	name  string
	host  string
	// port is 0 for a server that is called from within the mesh only.
	port     uint32
	protocol intent.Protocol
	tls      *typesv2.ServerTLS
	// front says that the server exposes nothing, and leads to the gateways of clusters that expose its host.
	front bool

	// rules of HTTP servers; cors is theirs when they have none of their own.
	rules []rule
	cors  *gatewayv2.CorsPolicy
	// to is where the connections of other servers go, nil for nowhere.
	to *target

	authentication *typesv2.Authentication
	authorization  *typesv2.Authorization
	limits         *typesv2.RateLimiting
	failover       *typesv2.FailoverSettings
	// unsupported are fields that are set and cannot be translated; closes says that the server must not be exposed
	// without them.
	unsupported []unsupported

	// guard is set once the server is admitted; limitField says where its limits stand.
	guard      *intent.Guard
	limitField string
}

// unsupported is a field of a server that is not translated.
type unsupported struct {
	field  string
	closes bool
}

// rule is one rule of an HTTP server.
type rule struct {
	field      string
	match      []*gatewayv2.HttpMatch
	modify     *gatewayv2.Modify
	redirect   *gatewayv2.Redirect
	direct     *gatewayv2.DirectResponse
	to         *target
	cors       *gatewayv2.CorsPolicy
	timeout    *time.Duration
	noExternal bool
}

// target is where requests go: a service, or the gateways of other clusters that expose the host.
type target struct {
	field   string
	service *gatewayv2.Route
	tls     *typesv2.ClientTLS
	// front: to the gateways that expose the host, in the clusters or in all.
	front    bool
	clusters []*gatewayv2.ClusterDestination
}

// class of protocols: servers of different ones cannot share a port, and of plain TCP there is one per port.
func (s *server) class() string {
	switch {
	case s.port == 0: // called on port 15443
	case s.protocol == intent.HTTP:
		return "http"
	case s.protocol == intent.TCP:
		return "tcp"
	}
	return "tls"
}

// targets are all that the server leads to.
func (s *server) targets() []*target {
	var all []*target
	if s.to != nil {
		all = append(all, s.to)
	}
	for i := range s.rules {
		if s.rules[i].to != nil {
			all = append(all, s.rules[i].to)
		}
	}
	return all
}

func (s *server) isHTTP() bool { return s.protocol == intent.HTTP || s.protocol == intent.HTTPS }

// terminates sets how a server that would speak a plain protocol speaks it.
func (s *server) terminates(t *typesv2.ServerTLS, plain, secure intent.Protocol) {
	s.protocol = plain
	if s.tls = terminating(t); s.tls != nil {
		s.protocol = secure
	}
}

// servers are those of all lists of a gateway, in order.
func servers(spec gatewaySpec) []*server {
	switch g := spec.(type) {
	case *gatewayv2.IngressGateway:
		return ingressServers(g)
	case *gatewayv2.Tier1Gateway:
		return tier1Servers(g)
	case *gatewayv2.Gateway:
		return unifiedServers(g)
	}
	return nil
}

func ingressServers(spec *gatewayv2.IngressGateway) []*server {
	all := make([]*server, 0, len(spec.GetHttp())+len(spec.GetTlsPassthrough())+len(spec.GetTcp()))
	for i, h := range spec.GetHttp() {
		s := &server{
			field: "http[" + itoa(i) + "]", name: h.GetName(), host: hostOf(h), port: h.GetPort(),
			cors: h.GetRouting().GetCorsPolicy(), authentication: h.GetAuthentication(), authorization: h.GetAuthorization(), limits: h.GetRateLimiting(),
		}
		s.terminates(h.GetTls(), intent.HTTP, intent.HTTPS)
		oldGuards(s, h)
		s.rules = make([]rule, 0, len(h.GetRouting().GetRules()))
		for j, r := range h.GetRouting().GetRules() {
			field := s.field + ".routing.rules[" + itoa(j) + "]"
			out := rule{field: field, match: r.GetMatch(), modify: r.GetModify(), redirect: r.GetRedirect(), direct: r.GetDirectResponse()}
			if to := r.GetRoute(); to != nil {
				out.to = &target{field: field + ".route", service: to}
			}
			s.rules = append(s.rules, out)
		}
		all = append(all, s)
	}
	for i, p := range spec.GetTlsPassthrough() {
		s := &server{field: "tlsPassthrough[" + itoa(i) + "]", name: p.GetName(), host: hostOf(p), port: p.GetPort(), protocol: intent.Passthrough}
		s.toService(p.GetRoute())
		all = append(all, s)
	}
	for i, t := range spec.GetTcp() {
		s := &server{field: "tcp[" + itoa(i) + "]", name: t.GetName(), host: hostOf(t), port: t.GetPort()}
		s.terminates(t.GetTls(), intent.TCP, intent.TCPTLS)
		s.toService(t.GetRoute())
		all = append(all, s)
	}
	return all
}

func (s *server) toService(r *gatewayv2.Route) {
	if r != nil {
		s.to = &target{field: s.field + ".route", service: r}
	}
}

// oldGuards takes authentication and authorization in the form that they had first, where the newer one is absent.
func oldGuards(s *server, h *gatewayv2.HttpServer) {
	if old := h.GetXxxOldAuthentication(); old != nil && s.authentication == nil { //nolint:staticcheck // old input
		s.authentication = &typesv2.Authentication{Config: &typesv2.Authentication_Rules_{Rules: &typesv2.Authentication_Rules{Jwt: []*typesv2.JWT{old.GetJwt()}}}}
	}
	if old := h.GetXxxOldAuthorization(); old != nil && s.authorization == nil { //nolint:staticcheck // old input
		s.authorization = &typesv2.Authorization{Config: &typesv2.Authorization_External_{External: old.GetExternal()}}
	}
}

func tier1Servers(spec *gatewayv2.Tier1Gateway) []*server {
	var all []*server
	add := func(s *server, clusters []*gatewayv2.ClusterDestination) *server {
		s.front = true
		s.to = &target{field: s.field + ".clusters", front: true, clusters: clusters}
		all = append(all, s)
		return s
	}
	for i, e := range spec.GetExternalServers() {
		s := add(&server{
			field: "externalServers[" + itoa(i) + "]", name: e.GetName(), host: hostOf(e), port: e.GetPort(),
			authentication: e.GetAuthentication(), authorization: e.GetAuthorization(), limits: e.GetRateLimiting(),
		}, e.GetClusters())
		s.terminates(e.GetTls(), intent.HTTP, intent.HTTPS)
		if e.GetRedirect() != nil {
			s.to = nil
			s.rules = []rule{{field: s.field, redirect: e.GetRedirect()}}
		} else {
			s.forwardAll()
		}
	}
	for i, e := range spec.GetInternalServers() {
		add(&server{
			field: "internalServers[" + itoa(i) + "]", name: e.GetName(), host: hostOf(e), protocol: intent.HTTP,
			authentication: e.GetAuthentication(), authorization: e.GetAuthorization(),
		}, e.GetClusters()).forwardAll()
	}
	for i, e := range spec.GetPassthroughServers() {
		add(&server{field: "passthroughServers[" + itoa(i) + "]", name: e.GetName(), host: hostOf(e), port: e.GetPort(), protocol: intent.Passthrough}, e.GetClusters())
	}
	for i, e := range spec.GetTcpExternalServers() {
		s := add(&server{field: "tcpExternalServers[" + itoa(i) + "]", name: e.GetName(), host: hostOf(e), port: e.GetPort()}, e.GetClusters())
		s.terminates(e.GetTls(), intent.TCP, intent.TCPTLS)
	}
	for i, e := range spec.GetTcpInternalServers() {
		add(&server{field: "tcpInternalServers[" + itoa(i) + "]", name: e.GetName(), host: hostOf(e), protocol: intent.TCP}, e.GetClusters())
	}
	return all
}

// forwardAll makes the target of an HTTP server its only rule.
func (s *server) forwardAll() {
	s.rules, s.to = []rule{{field: s.field, to: s.to}}, nil
}

func unifiedServers(spec *gatewayv2.Gateway) []*server {
	var all []*server
	add := func(s *server) {
		s.front = resource.Fronts(spec)
		s.refuse("failoverSettings.automaticLoadBalancing", s.failover.GetAutomaticLoadBalancing() != nil, false)
		all = append(all, s)
	}
	for i, h := range spec.GetHttp() {
		s := &server{
			field: "http[" + itoa(i) + "]", name: h.GetName(), host: hostOf(h), port: h.GetPort(),
			cors: h.GetRouting().GetCorsPolicy(), authentication: h.GetAuthentication(), authorization: h.GetAuthorization(), limits: h.GetRateLimiting(),
			failover: h.GetFailoverSettings(),
		}
		s.terminates(h.GetTls(), intent.HTTP, intent.HTTPS)
		s.refuse("trafficMode", h.GetTrafficMode() == gatewayv2.TrafficMode_EGRESS, true)
		s.refuse("extensions", h.GetExtensions() != nil, true)
		s.refuse("openapi.validation", h.GetOpenapi().GetValidation().GetEnabled(), true)
		for j, r := range h.GetRouting().GetRules() {
			s.rules = append(s.rules, unifiedRule(s, r, "routing.rules["+itoa(j)+"]"))
		}
		add(s)
	}
	for i, t := range spec.GetTls() {
		s := &server{field: "tls[" + itoa(i) + "]", name: t.GetName(), host: hostOf(t), port: t.GetPort(), protocol: intent.Passthrough, failover: t.GetFailoverSettings()}
		s.to = unifiedTarget(t.GetRoute(), s.field+".route")
		add(s)
	}
	for i, t := range spec.GetTcp() {
		s := &server{field: "tcp[" + itoa(i) + "]", name: t.GetName(), host: hostOf(t), port: t.GetPort(), failover: t.GetFailoverSettings()}
		s.refuse("trafficMode", t.GetTrafficMode() == gatewayv2.TrafficMode_EGRESS, true)
		s.terminates(t.GetTls(), intent.TCP, intent.TCPTLS)
		s.refuse("trafficMode", t.GetTrafficMode() == gatewayv2.TrafficMode_EGRESS, true)
		s.to = unifiedTarget(t.GetRoute(), s.field+".route")
		add(s)
	}
	return all
}

func (s *server) refuse(field string, set, closes bool) {
	if set {
		s.unsupported = append(s.unsupported, unsupported{s.field + "." + field, closes})
	}
}

func unifiedRule(s *server, r *gatewayv2.GatewayHttpRule, name string) rule {
	field := s.field + "." + name
	s.refuse(name+".extensions", r.GetExtensions() != nil, true)
	out := rule{
		field: field, match: r.GetMatch(), modify: r.GetModify(), redirect: r.GetRedirect(), direct: r.GetDirectResponse(),
		cors: r.GetCorsPolicy(), noExternal: r.GetDisableExternalAuthorization(),
		to: unifiedTarget(r.GetRoute(), field+".route"),
	}
	if r.GetTimeout() != nil {
		out.timeout = new(r.GetTimeout().AsDuration())
	}
	return out
}

func unifiedTarget(r *gatewayv2.GatewayRoute, field string) *target {
	switch {
	case r == nil:
		return nil
	case r.GetServiceDestination() != nil:
		d := r.GetServiceDestination()
		return &target{field: field + ".serviceDestination", service: &gatewayv2.Route{Host: d.GetHost(), Port: d.GetPort()}, tls: d.GetTls()}
	}
	return &target{field: field + ".clusterDestination", front: true, clusters: r.GetClusterDestination().GetClusters()}
}

func hostOf(s interface{ GetHostname() string }) string { return strings.ToLower(s.GetHostname()) }

// terminating is nil for a server that speaks plain text.
func terminating(t *typesv2.ServerTLS) *typesv2.ServerTLS {
	if t.GetMode() == typesv2.ServerTLS_DISABLED {
		return nil
	}
	return t
}

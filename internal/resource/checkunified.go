package resource

import (
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/wellknown"
)

// unified checks what the annotations cannot say about a gateway of any type.
func (c *checker) unified(g *gatewayv2.Gateway) {
	var all []listener
	for i, s := range g.GetHttp() {
		path := "spec.http[" + itoa(i) + "]"
		all = append(all, c.mode(s, listen(path, s, s.GetTls(), plainHTTP, https)))
		for j, rule := range s.GetRouting().GetRules() {
			c.rule(rule, path+".routing.rules["+itoa(j)+"]")
		}
		c.authentication(s.GetAuthentication(), path+".authentication")
	}
	for i, s := range g.GetTls() {
		all = append(all, listen("spec.tls["+itoa(i)+"]", s, nil, passthrough, passthrough))
	}
	for i, s := range g.GetTcp() {
		all = append(all, c.mode(s, listen("spec.tcp["+itoa(i)+"]", s, s.GetTls(), plainTCP, tcpWithTLS)))
	}
	c.listeners(all)
	c.oneType(gatewayRoutes(g))
	if Fronts(g) {
		c.terminatedOnce(all)
	}
}

// moded is a server that says which traffic it is for.
type moded interface {
	GetPort() uint32
	GetTls() *typesv2.ServerTLS
	GetTrafficMode() gatewayv2.TrafficMode
	GetTransit() bool
}

// mode checks which of port and tls a server has, by the traffic that it is for.
func (c *checker) mode(s moded, l listener) listener {
	mode := s.GetTrafficMode()
	if s.GetTransit() && mode != gatewayv2.TrafficMode_AUTO && mode != gatewayv2.TrafficMode_TRANSIT {
		c.at(l.path+".transit", "contradicts trafficMode %s", mode)
	}
	if !s.GetTransit() && mode != gatewayv2.TrafficMode_TRANSIT {
		if l.port == 0 {
			c.at(l.path+".port", "is required: only servers with trafficMode TRANSIT have none")
		}
		return l
	}
	if l.port != 0 {
		c.at(l.path+".port", "must be absent: TRANSIT servers are called on port %d", wellknown.MTLSPort)
	}
	if s.GetTls() != nil {
		c.at(l.path+".tls", "must be absent: TRANSIT servers are called with the TLS of the mesh")
		if l.protocol == https {
			l.protocol = plainHTTP
		} else if l.protocol == tcpWithTLS {
			l.protocol = plainTCP
		}
	}
	return l.within()
}

// rule checks one rule of an HTTP server.
func (c *checker) rule(r *gatewayv2.GatewayHttpRule, path string) {
	for j, m := range r.GetMatch() {
		c.match(m, path+".match["+itoa(j)+"]")
	}
	c.redirect(r.GetRedirect(), path+".redirect")
	if r.GetTimeout() != nil {
		c.wholly(r.GetTimeout(), path+".timeout")
	}
}

// placedRoute is a route and where it stands.
type placedRoute struct {
	path  string
	route *gatewayv2.GatewayRoute
}

// gatewayRoutes are all routes of a gateway.
func gatewayRoutes(g *gatewayv2.Gateway) []placedRoute {
	var all []placedRoute
	add := func(path string, r *gatewayv2.GatewayRoute) {
		if r != nil {
			all = append(all, placedRoute{path, r})
		}
	}
	for i, s := range g.GetHttp() {
		for j, r := range s.GetRouting().GetRules() {
			add("spec.http["+itoa(i)+"].routing.rules["+itoa(j)+"].route", r.GetRoute())
		}
	}
	for i, s := range g.GetTls() {
		add("spec.tls["+itoa(i)+"].route", s.GetRoute())
	}
	for i, s := range g.GetTcp() {
		add("spec.tcp["+itoa(i)+"].route", s.GetRoute())
	}
	return all
}

// oneType checks the routes, and that all of them lead to clusters or all to services: a gateway that exposes a host and
// leads to those who expose it would call itself.
func (c *checker) oneType(routes []placedRoute) {
	first := ""
	front := false
	for _, r := range routes {
		to, service := r.route.GetClusterDestination(), r.route.GetServiceDestination()
		c.clusters(to.GetClusters(), r.path+".clusterDestination.clusters")
		if service != nil {
			c.service(service.GetHost(), r.path+".serviceDestination")
		}
		switch {
		case to == nil && service == nil: // an annotation says so
		case first == "":
			first, front = r.path, to != nil
		case front != (to != nil):
			c.at(r.path, "leads to %s, and %s to %s: all servers of one gateway lead to the same", destinations(!front), first, destinations(front))
		}
	}
}

func destinations(clusters bool) string {
	if clusters {
		return "clusters"
	}
	return "a service"
}

package resource

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

// meshPort is where calls within the mesh arrive.
const meshPort = 15443

// hostname is a DNS name in lower case.
var hostname = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)

func itoa(i int) string { return strconv.Itoa(i) }

// listener is how a server uses its port.
type listener struct {
	path     string
	protocol string // HTTP, HTTPS, TLS or TCP
	server   server
}

// gateway checks what the annotations cannot say about a gateway.
func (c *checker) gateway(g *gatewayv2.IngressGateway) {
	var all []listener
	for i, s := range g.GetHttp() {
		l := listener{"spec.http[" + itoa(i) + "]", "HTTP", s}
		if terminates(s.GetTls()) {
			l.protocol = "HTTPS"
		}
		all = append(all, l)
		c.routing(s.GetRouting(), l.path+".routing")
		c.authentication(s.GetAuthentication(), l.path+".authentication")
	}
	for i, s := range g.GetTlsPassthrough() {
		all = append(all, listener{"spec.tlsPassthrough[" + itoa(i) + "]", "TLS", s})
		c.route(s.GetRoute(), fmt.Sprintf("spec.tlsPassthrough[%d].route", i))
	}
	for i, s := range g.GetTcp() {
		l := listener{"spec.tcp[" + itoa(i) + "]", "TCP", s}
		if terminates(s.GetTls()) {
			l.protocol = "TCP with TLS"
		}
		all = append(all, l)
		c.route(s.GetRoute(), l.path+".route")
	}
	c.listeners(all)
}

func terminates(t *typesv2.ServerTLS) bool {
	return t != nil && t.GetMode() != typesv2.ServerTLS_DISABLED
}

// listeners checks servers against each other: one name, one port and one hostname are not used twice for things that
// cannot be told apart.
func (c *checker) listeners(all []listener) {
	names := map[string]listener{}
	ports := map[uint32]listener{}
	type address struct {
		port uint32
		host string
	}
	hosts := map[address]listener{}
	for _, l := range all {
		s := l.server
		if first, ok := names[s.GetName()]; ok && s.GetName() != "" {
			c.at(l.path+".name", "%q is also the name of %s", s.GetName(), first.path)
		} else {
			names[s.GetName()] = l
		}
		c.hostname(l)
		if s.GetPort() == meshPort {
			c.at(l.path+".port", "%d is reserved for calls within the mesh", meshPort)
			continue
		}
		first, ok := ports[s.GetPort()]
		switch {
		case !ok:
			ports[s.GetPort()] = l
		case first.protocol == "TCP" && l.protocol == "TCP":
			c.at(l.path+".port", "%d also serves plain TCP in %s: nothing tells their connections apart", s.GetPort(), first.path)
			continue
		case !together(first.protocol, l.protocol):
			c.at(l.path+".port", "%d serves %s here and %s in %s: one port cannot do both", s.GetPort(), l.protocol, first.protocol, first.path)
			continue
		}
		a := address{s.GetPort(), s.GetHostname()}
		if first, ok := hosts[a]; ok && a.host != "" {
			c.at(l.path+".hostname", "%q on port %d is also in %s", a.host, a.port, first.path)
		} else {
			hosts[a] = l
		}
	}
}

// together says whether two protocols share a port: everything with TLS is told apart by SNI, plain HTTP by the Host
// header, and plain TCP by nothing.
func together(a, b string) bool {
	if a == "HTTP" || b == "HTTP" || a == "TCP" || b == "TCP" {
		return a == b && a == "HTTP"
	}
	return true
}

func (c *checker) hostname(l listener) {
	h := l.server.GetHostname()
	bare := strings.TrimPrefix(h, "*.")
	switch {
	case h == "" || h == "*" || len(h) <= 253 && hostname.MatchString(bare):
	case strings.Contains(h, ":"):
		c.at(l.path+".hostname", "%q has a port: the field port is for that", h)
	case hostname.MatchString(strings.ToLower(bare)):
		c.at(l.path+".hostname", "%q must be in lower case", h)
	default:
		c.at(l.path+".hostname", "%q is not a DNS name", h)
	}
}

func (c *checker) serverTLS(t *typesv2.ServerTLS, path string) {
	files := t.GetFiles()
	switch mode := t.GetMode(); {
	case mode == typesv2.ServerTLS_DISABLED:
	case t.GetSecretName() == "" && files == nil:
		c.at(path+".secretName", "is missing: mode %s needs a certificate, from secretName or files", mode)
	case files != nil && files.GetServerCertificate() == "":
		c.at(path+".files.serverCertificate", "is missing")
	case files != nil && files.GetPrivateKey() == "":
		c.at(path+".files.privateKey", "is missing")
	case files != nil && mode != typesv2.ServerTLS_SIMPLE && files.GetCaCertificates() == "":
		c.at(path+".files.caCertificates", "is missing: mode %s verifies clients with it", mode)
	}
	lowest, highest := t.GetMinProtocolVersion(), t.GetMaxProtocolVersion()
	if highest != typesv2.ServerTLS_TLS_AUTO && lowest > highest {
		c.at(path+".maxProtocolVersion", "%s is below minProtocolVersion %s", highest, lowest)
	}
}

func (c *checker) routing(r *gatewayv2.HttpRouting, path string) {
	for i, rule := range r.GetRules() {
		at := path + ".rules[" + itoa(i) + "]"
		for j, m := range rule.GetMatch() {
			c.match(m, at+".match["+itoa(j)+"]")
		}
		if rule.GetRoute() != nil {
			c.route(rule.GetRoute(), at+".route")
		}
		c.redirect(rule.GetRedirect(), at+".redirect")
		c.operations(rule.GetModify().GetHeaders().GetRequest(), at+".modify.headers.request")
		c.operations(rule.GetModify().GetHeaders().GetResponse(), at+".modify.headers.response")
	}
}

func (c *checker) match(m *gatewayv2.HttpMatch, path string) {
	for name := range m.GetHeaders() {
		switch {
		case !headerName.MatchString(name):
			c.at(mapPath(path+".headers", name), "is not the name of a header")
		case name != strings.ToLower(name):
			c.at(mapPath(path+".headers", name), "must be in lower case: %q", strings.ToLower(name))
		}
	}
	if p := m.GetUri().GetPrefix(); p != "" && !strings.HasPrefix(p, "/") {
		c.at(path+".uri.prefix", "%q must start with '/'", p)
	}
	if p := m.GetUri().GetExact(); p != "" && !strings.HasPrefix(p, "/") {
		c.at(path+".uri.exact", "%q must start with '/'", p)
	}
}

func (c *checker) route(r *gatewayv2.Route, path string) {
	namespace, host, ok := strings.Cut(r.GetHost(), "/")
	switch {
	case !ok || strings.Contains(host, "/"): // an annotation says so
	case !dnsLabel.MatchString(namespace):
		c.at(path+".host", "%q is not the name of a namespace", namespace)
	case !hostname.MatchString(host):
		c.at(path+".host", "%q is not the name of a service", host)
	}
}

func (c *checker) redirect(r *gatewayv2.Redirect, path string) {
	if r != nil && r.GetUri() == "" && r.GetAuthority() == "" && r.GetPort() == 0 && r.GetScheme() == "" {
		c.at(path, "says nothing: set uri, authority, port or scheme")
	}
	if s := r.GetScheme(); s != "" && s != "http" && s != "https" {
		c.at(path+".scheme", "must be http or https, not %q", s)
	}
}

func (c *checker) operations(o *gatewayv2.Modify_Operations, path string) {
	for kind, names := range map[string]map[string]string{"set": o.GetSet(), "add": o.GetAdd()} {
		for name := range names {
			if !headerName.MatchString(name) {
				c.at(mapPath(path+"."+kind, name), "is not the name of a header")
			}
		}
	}
	for i, name := range o.GetRemove() {
		if !headerName.MatchString(name) {
			c.at(path+".remove["+itoa(i)+"]", "%q is not the name of a header", name)
		}
	}
}

func (c *checker) authentication(a *typesv2.Authentication, path string) {
	c.jwt(a.GetJwt(), path+".jwt")
	for i, j := range a.GetRules().GetJwt() {
		c.jwt(j, path+".rules.jwt["+itoa(i)+"]")
	}
}

func (c *checker) jwt(j *typesv2.JWT, path string) {
	if k := j.GetJwks(); k != "" && !json.Valid([]byte(k)) {
		c.at(path+".jwks", "is not JSON")
	}
	if u := j.GetJwksUri(); u != "" && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
		c.at(path+".jwksUri", "%q must start with https:// or http://", u)
	}
}

package resource

import (
	"strings"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/wellknown"
)

// listener is how a server of any gateway uses its port.
type listener struct {
	path     string
	name     string
	port     uint32
	hostname string
	protocol protocol
	// mesh servers are called from within the mesh only, on the port that is reserved for that.
	mesh bool
	// scope within which the name is unique; one for all servers unless said otherwise.
	scope string
}

// protocol that clients speak to a server, as people call it.
type protocol string

const (
	plainHTTP   protocol = "HTTP"
	https       protocol = "HTTPS"
	passthrough protocol = "TLS"
	plainTCP    protocol = "TCP"
	tcpWithTLS  protocol = "TCP with TLS"
)

// listen is the listener of a server, which speaks the plain protocol unless it terminates TLS.
func listen(path string, s server, t *typesv2.ServerTLS, plain, secure protocol) listener {
	l := listener{path: path, name: s.GetName(), hostname: s.GetHostname(), protocol: plain}
	if p, ok := s.(interface{ GetPort() uint32 }); ok {
		l.port = p.GetPort()
	}
	if t != nil && t.GetMode() != typesv2.ServerTLS_DISABLED {
		l.protocol = secure
	}
	return l
}

// within makes l a listener for callers within the mesh: what they speak is told apart by host, as everything with TLS is.
func (l listener) within() listener {
	l.mesh, l.port = true, wellknown.MTLSPort
	l.protocol = map[protocol]protocol{plainHTTP: https, plainTCP: tcpWithTLS}[l.protocol]
	return l
}

// listeners checks servers against each other: one name, one port and one hostname are not used twice for things that
// cannot be told apart.
func (c *checker) listeners(all []listener) {
	type called struct{ scope, name string }
	names := map[called]string{}
	ports := map[uint32]listener{}
	type address struct {
		port uint32
		host string
	}
	hosts := map[address]listener{}
	for _, l := range all {
		if first, ok := names[called{l.scope, l.name}]; ok && l.name != "" {
			c.at(l.path+".name", "%q is also the name of %s", l.name, first)
		} else {
			names[called{l.scope, l.name}] = l.path
		}
		c.hostname(l)
		if l.port == wellknown.MTLSPort && !l.mesh {
			c.at(l.path+".port", "%d is reserved for calls within the mesh", wellknown.MTLSPort)
			continue
		}
		first, ok := ports[l.port]
		switch {
		case !ok:
			ports[l.port] = l
		case first.protocol == plainTCP && l.protocol == plainTCP:
			c.at(l.path+".port", "%d also serves plain TCP in %s: nothing tells their connections apart", l.port, first.path)
			continue
		case !together(first.protocol, l.protocol):
			c.at(l.path+".port", "%d serves %s here and %s in %s: one port cannot do both", l.port, l.protocol, first.protocol, first.path)
			continue
		}
		a := address{l.port, l.hostname}
		if first, ok := hosts[a]; ok && a.host != "" {
			c.at(l.path+".hostname", "%q on port %d is also in %s", a.host, a.port, first.path)
		} else {
			hosts[a] = l
		}
	}
}

// together says whether two protocols share a port: everything with TLS is told apart by SNI, plain HTTP by the Host
// header, and plain TCP by nothing.
func together(a, b protocol) bool {
	if a == plainHTTP || b == plainHTTP || a == plainTCP || b == plainTCP {
		return a == b && a == plainHTTP
	}
	return true
}

// terminatedOnce checks that a gateway in front of others either terminates the TLS of a host or passes it through: behind it is
// one host, which is called in one way. Plain HTTP beside passed TLS is the redirect that everybody has.
func (c *checker) terminatedOnce(all []listener) {
	ends := map[string]string{}
	for _, l := range all {
		if _, ok := ends[l.hostname]; !ok && (l.protocol == https || l.protocol == tcpWithTLS) {
			ends[l.hostname] = l.path
		}
	}
	for _, l := range all {
		if by, ok := ends[l.hostname]; ok && l.protocol == passthrough {
			c.at(l.path+".hostname", "%q is terminated in %s: a host is terminated or passed through, not both", l.hostname, by)
		}
	}
}

func (c *checker) hostname(l listener) {
	h := l.hostname
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

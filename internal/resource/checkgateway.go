package resource

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

// ciphers are the suites of TLS 1.2 and below that Envoy knows, by the names of BoringSSL. One that it does not know, or an
// operator such as "-NAME", makes it refuse the port with all of its hosts.
var ciphers = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
	"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA",
}

// hostname is a DNS name in lower case.
var hostname = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)

func itoa(i int) string { return strconv.Itoa(i) }

// gateway checks what the annotations cannot say about a gateway.
func (c *checker) gateway(g *gatewayv2.IngressGateway) {
	var all []listener
	for i, s := range g.GetHttp() {
		path := "spec.http[" + itoa(i) + "]"
		all = append(all, listen(path, s, s.GetTls(), plainHTTP, https))
		c.routing(s.GetRouting(), path+".routing")
	}
	for i, s := range g.GetTlsPassthrough() {
		path := "spec.tlsPassthrough[" + itoa(i) + "]"
		all = append(all, listen(path, s, nil, passthrough, passthrough))
		c.route(s.GetRoute(), path+".route")
	}
	for i, s := range g.GetTcp() {
		path := "spec.tcp[" + itoa(i) + "]"
		all = append(all, listen(path, s, s.GetTls(), plainTCP, tcpWithTLS))
		c.route(s.GetRoute(), path+".route")
	}
	c.listeners(all)
}

func (c *checker) serverTLS(t *typesv2.ServerTLS, path string) {
	files := t.GetFiles()
	c.secretName(t.GetSecretName(), path)
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
	for i, name := range t.GetCipherSuites() {
		if !slices.Contains(ciphers, name) {
			c.at(path+".cipherSuites["+itoa(i)+"]", "%q is not a cipher suite that Envoy knows; a port with such a name would not open: use %s", name, strings.Join(ciphers, ", "))
		}
	}
	lowest, highest := t.GetMinProtocolVersion(), t.GetMaxProtocolVersion()
	if highest != typesv2.ServerTLS_TLS_AUTO && lowest > highest {
		c.at(path+".maxProtocolVersion", "%s is below minProtocolVersion %s", highest, lowest)
	}
}

// secretName is the name of a Secret, with or without the namespace in front.
func (c *checker) secretName(name, path string) {
	ns, bare, qualified := strings.Cut(name, "/")
	if !qualified {
		ns, bare = "default", name
	}
	if name != "" && (!dnsLabel.MatchString(ns) || !hostname.MatchString(bare)) {
		c.at(path+".secretName", "%q is not the name of a Secret", name)
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
	switch u := m.GetUri().GetMatchType().(type) {
	case *typesv2.StringMatch_Prefix:
		if !strings.HasPrefix(u.Prefix, "/") && u.Prefix != "" {
			c.at(path+".uri.prefix", "%q must start with '/'", u.Prefix)
		}
	case *typesv2.StringMatch_Exact:
		if !strings.HasPrefix(u.Exact, "/") {
			c.at(path+".uri.exact", "%q must start with '/'", u.Exact)
		}
	}
}

func (c *checker) route(r *gatewayv2.Route, path string) { c.service(r.GetHost(), path) }

// service checks the field host of a destination, "<namespace>/<service>".
func (c *checker) service(to, path string) {
	namespace, host, ok := strings.Cut(to, "/")
	switch {
	case !ok || strings.Contains(host, "/"): // an annotation says so
	case !dnsLabel.MatchString(namespace):
		c.at(path+".host", "%q is not the name of a namespace", namespace)
	case len(host) > 253 || !hostname.MatchString(host):
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

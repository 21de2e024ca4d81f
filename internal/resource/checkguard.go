package resource

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

// What stands before the routes of a host ends up in one listener with that of other hosts, and Envoy takes a listener whole
// or not at all. So everything that it would not take is refused here.

var (
	// token is a name in HTTP: of a header, a cookie, a method.
	token = regexp.MustCompile("^[-A-Za-z0-9!#$%&'*+.^_`|~]+$")
	// method is one that is not written in lower case by mistake.
	method = regexp.MustCompile(`^[A-Z][-A-Z0-9_]*$`)
)

// guarded is a server with something before its routes.
type guarded interface {
	GetAuthentication() *typesv2.Authentication
	GetAuthorization() *typesv2.Authorization
}

// guards checks what the parts of a guard say together.
func (c *checker) guards(s guarded, path string) {
	c.signIn(s, path)
	a := s.GetAuthentication()
	signedIn := a.GetOidc() != nil || a.GetJwt() != nil || len(a.GetRules().GetJwt()) > 0
	for i, rule := range s.GetAuthorization().GetLocal().GetRules() {
		for j := range rule.GetFrom() {
			if !signedIn {
				c.at(fmt.Sprintf("%s.authorization.local.rules[%d].from[%d].jwt", path, i, j), "can never match: the server has no authentication, so that there is no token")
			}
		}
	}
}

func (c *checker) authentication(a *typesv2.Authentication, path string) {
	rules := a.GetRules().GetJwt()
	switch {
	case a.GetRules() != nil && len(rules) == 0:
		c.at(path+".rules.jwt", "is empty: say which tokens are accepted")
	case a.GetRequireJwt() && a.GetJwt() == nil && len(rules) == 0 && a.GetOidc() == nil:
		c.at(path+".requireJwt", "needs rules.jwt: no token would be accepted")
	}
	for i, j := range rules {
		if first := slices.IndexFunc(rules[:i], func(o *typesv2.JWT) bool { return proto.Equal(o, j) }); first >= 0 {
			c.at(fmt.Sprintf("%s.rules.jwt[%d]", path, i), "is the same as jwt[%d]", first)
		}
	}
}

func (c *checker) jwt(j *typesv2.JWT, path string) {
	for i, a := range j.GetAudiences() {
		if a == "" {
			c.at(path+".audiences["+itoa(i)+"]", "is empty")
		}
	}
	switch k := j.GetKeys().(type) {
	case *typesv2.JWT_Jwks:
		if err := checkKeys(k.Jwks); err != nil {
			c.at(path+".jwks", "%v", err)
		}
	default:
		c.uri(j.GetJwksUri(), path+".jwksUri", jwksSchemes)
	}
	for i, h := range j.GetFromHeaders() {
		at := path + ".fromHeaders[" + itoa(i) + "]"
		c.header(h.GetName(), at+".name")
		c.plain(h.GetPrefix(), at+".prefix")
	}
	for i, name := range j.GetFromCookies() {
		if !token.MatchString(name) {
			c.at(path+".fromCookies["+itoa(i)+"]", "%q is not the name of a cookie", name)
		}
	}
	if name := j.GetOutputPayloadToHeader(); name != "" {
		c.header(name, path+".outputPayloadToHeader")
	}
	taken := map[string]string{strings.ToLower(j.GetOutputPayloadToHeader()): "outputPayloadToHeader"}
	delete(taken, "")
	for i, o := range j.GetOutputClaimToHeaders() {
		at := path + ".outputClaimToHeaders[" + itoa(i) + "]"
		name := strings.ToLower(o.GetHeader())
		c.header(name, at+".header")
		if first := taken[name]; first != "" {
			c.at(at+".header", "%q is also the header of %s", o.GetHeader(), first)
		}
		taken[name] = "outputClaimToHeaders[" + itoa(i) + "]"
		c.plain(o.GetClaim(), at+".claim")
	}
}

// header checks the name of a header that is read or written by name; the empty one is left to the annotations where it is
// required.
func (c *checker) header(name, path string) {
	switch {
	case !token.MatchString(name):
		c.at(path, "%q is not the name of a header", name)
	case strings.EqualFold(name, "host"):
		c.at(path, "%q is not a header that can be used for this", name)
	}
}

// names checks a list of names of headers.
func (c *checker) names(names []string, path string) {
	for i, n := range names {
		at := path + "[" + itoa(i) + "]"
		switch c.header(n, at); {
		case strings.Contains(n, "*"):
			c.at(at, "%q has a \"*\": each header is named", n)
		case slices.ContainsFunc(names[:i], func(o string) bool { return strings.EqualFold(o, n) }):
			c.at(at, "%q is there twice", n)
		}
	}
}

// plain checks a text that may stand in a header.
func (c *checker) plain(s, path string) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.at(path, "%q has characters that no header can have", s)
	}
}

// Schemes of the addresses of services, and their ports where there is one that everybody knows.
var (
	jwksSchemes     = map[string]string{"https": "443", "http": "80"}
	externalSchemes = map[string]string{"https": "443", "http": "80", "grpc": "", "grpcs": ""}
)

// uri checks the address of a service that the gateway itself calls, and returns it.
func (c *checker) uri(text, path string, schemes map[string]string) *url.URL {
	if text == "" {
		c.at(path, "is missing")
		return nil
	}
	u, err := url.Parse(text)
	if err != nil {
		c.at(path, "%q is not an address", text)
		return nil
	}
	scheme, known := schemes[u.Scheme]
	host := u.Hostname()
	switch _, err := netip.ParseAddr(host); {
	case !known:
		c.at(path, "%q must start with %s", text, orList(schemes))
	case u.User != nil:
		c.at(path, "has a name or a password in it, which everybody could read")
	case u.Fragment != "":
		c.at(path, "%q must not have a part behind '#'", text)
	case err != nil && !(len(host) <= 253 && hostname.MatchString(strings.ToLower(host))):
		c.at(path, "%q is neither a DNS name nor an IP address", host)
	case u.Port() == "" && (scheme == "" || strings.HasSuffix(u.Host, ":")):
		c.at(path, "%q needs a port, for example %q", text, u.Scheme+"://"+strings.TrimSuffix(u.Host, ":")+":9000")
	case u.Port() != "" && !isPort(u.Port()):
		c.at(path, "%q is not a port", u.Port())
	default:
		return u
	}
	return nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func orList(schemes map[string]string) string {
	var all []string
	for _, s := range []string{"https", "http", "grpcs", "grpc"} {
		if _, ok := schemes[s]; ok {
			all = append(all, s+"://")
		}
	}
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}

// external checks an authorizer.
func (c *checker) external(e *typesv2.Authorization_External, path string) {
	if u := c.uri(e.GetUri(), path+".uri", externalSchemes); u != nil {
		rpc := strings.HasPrefix(u.Scheme, "grpc")
		secure := strings.HasSuffix(u.Scheme, "s")
		switch {
		case u.RawQuery != "" || u.ForceQuery:
			c.at(path+".uri", "%q must not have a part behind '?'", e.GetUri())
		case rpc && strings.Trim(u.Path, "/") != "":
			c.at(path+".uri", "%q has a path, which gRPC has not", e.GetUri())
		case strings.Trim(u.Path, "/") != "" && e.GetPathPrefix() != "":
			c.at(path+".pathPrefix", "stands beside a path in uri: write one of the two")
		case rpc && e.GetPathPrefix() != "":
			c.at(path+".pathPrefix", "is for http:// and https://: gRPC has no paths")
		}
		if secure && e.GetTls() != nil && e.GetTls().GetMode() == typesv2.ClientTLS_DISABLED {
			c.at(path+".tls.mode", "DISABLED contradicts %s:// in uri", u.Scheme)
		}
	}
	c.noMeshTLS(e.GetTls(), path+".tls")
	c.names(e.GetIncludeRequestHeaders(), path+".includeRequestHeaders")
	c.names(e.GetAllowedUpstreamHeaders(), path+".allowedUpstreamHeaders")
	if t := e.GetTimeout(); t != nil && t.IsValid() {
		c.patience(t.AsDuration(), path+".timeout")
	}
	if p := e.GetPathPrefix(); p != "" {
		c.path(p, path+".pathPrefix")
	}
}

// patience checks how long a gateway waits for an answer. Envoy counts in milliseconds, and takes 0 for ever.
func (c *checker) patience(d time.Duration, path string) {
	if d < time.Millisecond || d > time.Hour {
		c.at(path, "must be between 1ms and 1h")
	}
}

// path checks one that is written before or compared with the path of requests.
func (c *checker) path(p, path string) {
	switch {
	case !strings.HasPrefix(p, "/"):
		c.at(path, "%q must start with '/'", p)
	case strings.ContainsAny(p, "?#"):
		c.at(path, "%q is more than a path: it has a '?' or '#'", p)
	case strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		c.at(path, "%q has characters that no path can have", p)
	}
}

// noMeshTLS is for services that a gateway asks by itself.
func (c *checker) noMeshTLS(t *typesv2.ClientTLS, path string) {
	if t.GetMode() == typesv2.ClientTLS_ISTIO_MUTUAL {
		c.at(path+".mode", "ISTIO_MUTUAL is not for this: services of the mesh are asked with the mesh's mutual TLS when there is no tls")
	}
}

// clientTLS checks how a client starts TLS.
func (c *checker) clientTLS(t *typesv2.ClientTLS, path string) {
	files := t.GetFiles()
	switch mode := t.GetMode(); {
	case mode == typesv2.ClientTLS_DISABLED || mode == typesv2.ClientTLS_ISTIO_MUTUAL:
		if t.GetSource() != nil {
			c.at(path+".mode", "%s uses no certificates, and some are given: SIMPLE and MUTUAL do", mode)
		}
		return
	case mode == typesv2.ClientTLS_SIMPLE:
		if files.GetClientCertificate() != "" || files.GetPrivateKey() != "" {
			c.at(path+".mode", "SIMPLE shows no certificate, and one is given: MUTUAL does")
		}
	case t.GetSource() == nil:
		c.at(path+".secretName", "is missing: mode %s needs a certificate, from secretName or files", mode)
	case files != nil && files.GetClientCertificate() == "":
		c.at(path+".files.clientCertificate", "is missing")
	case files != nil && files.GetPrivateKey() == "":
		c.at(path+".files.privateKey", "is missing")
	}
	if _, ok := t.GetSource().(*typesv2.ClientTLS_SecretName); ok && t.GetSecretName() == "" {
		c.at(path+".secretName", "is empty")
	}
	c.secretName(t.GetSecretName(), path)
	c.file(files.GetClientCertificate(), path+".files.clientCertificate")
	c.file(files.GetPrivateKey(), path+".files.privateKey")
	c.file(files.GetCaCertificates(), path+".files.caCertificates")
	for i, n := range t.GetSubjectAltNames() {
		if n == "" {
			c.at(path+".subjectAltNames["+itoa(i)+"]", "is empty")
		}
	}
}

// file checks the path of a file in the pods of a gateway. Istio's agent is asked for two at once, with a "~" between them.
func (c *checker) file(name, path string) {
	if name != "" && (!strings.HasPrefix(name, "/") || strings.Contains(name, "~")) {
		c.at(path, "%q must start with '/' and have no '~'", name)
	}
}

// local checks rules that a gateway decides by itself.
func (c *checker) local(l *typesv2.Authorization_Local, path string) {
	names := map[string]int{}
	for i, r := range l.GetRules() {
		at := path + ".rules[" + itoa(i) + "]"
		if first, again := names[r.GetName()]; again {
			c.at(at+".name", "%q is also the name of rules[%d]", r.GetName(), first)
		} else {
			names[r.GetName()] = i
		}
		for j, f := range r.GetFrom() {
			c.caller(f, at+".from["+itoa(j)+"]")
		}
		for j, to := range r.GetTo() {
			c.operation(to, at+".to["+itoa(j)+"]")
		}
	}
}

func (c *checker) caller(f *typesv2.Authorization_From, path string) {
	if f.GetJwt() == nil {
		c.at(path+".jwt", "is missing: leave from out for all callers")
	}
	for claim := range f.GetJwt().GetOther() {
		at := mapPath(path+".jwt.other", claim)
		switch {
		case claim == "":
			c.at(at, "is not the name of a claim")
		case claim == "iss" && f.GetJwt().GetIss() != "" || claim == "sub" && f.GetJwt().GetSub() != "":
			c.at(at, "is there twice: there is a field %s", claim)
		}
	}
}

func (c *checker) operation(o *typesv2.Authorization_To, path string) {
	if len(o.GetMethods())+len(o.GetPaths()) == 0 {
		c.at(path, "says nothing: leave to out for all requests")
	}
	c.operationOf(o.GetMethods(), o.GetPaths(), path)
}

// operationOf checks methods and paths of requests.
func (c *checker) operationOf(methods, paths []string, path string) {
	for i, m := range methods {
		if !method.MatchString(m) {
			c.at(path+".methods["+itoa(i)+"]", "%q is not a method, such as GET", m)
		}
	}
	for i, p := range paths {
		at := path + ".paths[" + itoa(i) + "]"
		switch bare := strings.TrimSuffix(p, "*"); {
		case p == "*":
		case strings.HasPrefix(bare, "*") && bare == p && !strings.Contains(bare[1:], "*"):
			c.path("/"+bare[1:], at)
		case strings.Contains(bare, "*"):
			c.at(at, "%q has a \"*\" that is neither the first nor the last character alone", p)
		default:
			c.path(bare, at)
		}
	}
}

package resource

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

var (
	// scope is one of OAuth: RFC 6749, 3.3.
	scope = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`)
	// requestScheme and requestHost are what Envoy puts in the place of them in an address that browsers come back to.
	requestScheme = regexp.MustCompile(`^%REQ\((:scheme|:?x-forwarded-proto)\)%://`)
	requestHost   = regexp.MustCompile(`(^[^%]+://)%REQ\(:authority\)%`)
)

// discovery is where providers say what they have.
const discovery = "/.well-known/openid-configuration"

// oidc checks how browsers sign in at a provider. Whatever Envoy would not take, it would not take the whole port for.
func (c *checker) oidc(o *typesv2.OIDC, path string) {
	c.provider(o.GetProvider(), path+".provider")
	c.plain(o.GetClientId(), path+".clientId")
	if s := o.GetClientTokenSecret(); s != "" && !hostname.MatchString(s) {
		c.at(path+".clientTokenSecret", "%q is not the name of a Secret in the namespace of the gateway", s)
	}
	back := c.redirectURI(o.GetRedirectUri(), path+".redirectUri")
	at, field := "", path+".redirectUri"
	if back != nil {
		at = back.EscapedPath()
	}
	if p := o.GetRedirectPathMatcher(); p != "" {
		at, field = p, path+".redirectPathMatcher"
		c.path(p, field)
	}
	if at == "" || at == "/" {
		if back != nil {
			c.at(field, "needs a path that is for coming back alone, for example /callback")
		}
	}
	out := "/signout"
	if p := o.GetSignoutPath(); p != "" {
		out = p
		c.path(p, path+".signoutPath")
	}
	if at == out {
		c.at(path+".signoutPath", "%q is also the path to which browsers come back", out)
	}
	for i, s := range o.GetAuthScopes() {
		switch at := path + ".authScopes[" + itoa(i) + "]"; {
		case !scope.MatchString(s):
			c.at(at, "%q is not a scope", s)
		case slices.Contains(o.GetAuthScopes()[:i], s):
			c.at(at, "%q is there twice", s)
		}
	}
}

func (c *checker) provider(p *typesv2.OIDC_Provider, path string) {
	if p == nil {
		return
	}
	c.plain(p.GetIssuer(), path+".issuer")
	for _, e := range []struct{ field, uri, member string }{
		{"authorizationEndpoint", p.GetAuthorizationEndpoint(), "authorization_endpoint"}, {"tokenEndpoint", p.GetTokenEndpoint(), "token_endpoint"},
	} {
		if e.uri == "" {
			c.at(path+"."+e.field, "is missing, and nobody asks the provider for it: write what %s says at %s%s", e.member, strings.TrimSuffix(p.GetIssuer(), "/"), discovery)
			continue
		}
		u := c.uri(e.uri, path+"."+e.field, jwksSchemes)
		if u != nil && e.field == "tokenEndpoint" && u.Scheme == "https" && p.GetTls() != nil && p.GetTls().GetMode() == typesv2.ClientTLS_DISABLED {
			c.at(path+".tls.mode", "DISABLED contradicts https:// in tokenEndpoint")
		}
	}
	switch k := p.GetKeys().(type) {
	case *typesv2.OIDC_Provider_Jwks:
		if err := checkKeys(k.Jwks); err != nil {
			c.at(path+".jwks", "%v", err)
		}
	case *typesv2.OIDC_Provider_JwksUri:
		c.uri(k.JwksUri, path+".jwksUri", jwksSchemes)
	}
	c.noMeshTLS(p.GetTls(), path+".tls")
}

// redirectURI reads the address to which a provider sends browsers back, nil when it makes no sense. The host is "%" when
// it is that of the request.
func (c *checker) redirectURI(text, path string) *url.URL {
	if text == "" {
		return nil // required
	}
	plain := requestScheme.ReplaceAllString(text, "https://")
	plain = requestHost.ReplaceAllString(plain, "${1}request.invalid")
	if strings.Contains(plain, "%") {
		c.at(path, "%q has a '%%', which starts what Envoy replaces: only %%REQ(x-forwarded-proto)%% and %%REQ(:authority)%% may be there, for scheme and host", text)
		return nil
	}
	u, err := url.Parse(plain)
	switch {
	case err != nil || u.Host == "":
		c.at(path, "%q is not an address such as https://shop.example.com/callback", text)
	case u.Scheme != "https" && u.Scheme != "http":
		c.at(path, "%q must start with https:// or http://", text)
	case u.User != nil:
		c.at(path, "has a name or a password in it, which everybody could read")
	case strings.ContainsAny(plain, "?#"):
		c.at(path, "%q must have no part behind '?' or '#'", text)
	case u.Port() != "" && !isPort(u.Port()):
		c.at(path, "%q is not a port", u.Port())
	default:
		if u.Path != "" {
			c.path(u.Path, path)
		}
		if strings.Contains(text, "%REQ(:authority)%") {
			u.Host = "%"
		}
		return u
	}
	return nil
}

// signIn checks what signing in says together with its server.
func (c *checker) signIn(s guarded, path string) {
	a := s.GetAuthentication()
	o := a.GetOidc()
	if o == nil {
		return
	}
	verified := o.GetProvider().GetKeys() != nil
	if a.GetRequireJwt() && !verified {
		c.at(path+".authentication.requireJwt", "needs oidc.provider.jwksUri or jwks: no token would be verified")
	}
	for i, rule := range s.GetAuthorization().GetLocal().GetRules() {
		for j := range rule.GetFrom() {
			if !verified && len(a.GetRules().GetJwt()) == 0 {
				c.at(fmt.Sprintf("%s.authorization.local.rules[%d].from[%d].jwt", path, i, j), "can never match: oidc.provider has neither jwksUri nor jwks, so that no token is verified")
			}
		}
	}
	named, _ := s.(interface{ GetHostname() string })
	if named == nil || named.GetHostname() == "" {
		return
	}
	quiet := &checker{}
	u := quiet.redirectURI(o.GetRedirectUri(), "")
	if u == nil || u.Host == "%" {
		return
	}
	host, have := strings.ToLower(named.GetHostname()), strings.ToLower(u.Hostname())
	below, wild := strings.CutPrefix(host, "*")
	if have != host && !(wild && strings.HasSuffix(have, below)) {
		c.at(path+".authentication.oidc.redirectUri", "is on %q: browsers have to come back to this server, %q", have, named.GetHostname())
	}
}

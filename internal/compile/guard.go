package compile

import (
	"net/url"
	"slices"
	"strings"
	"time"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/intent"
)

// guard is what stands before the routes of a server. False means that a part of it cannot be translated, and that the
// server must not be exposed: nobody may pass where the author meant that some may not.
func guard(p *plan, s *server, out *output) (*intent.Guard, bool) {
	open := true
	say := func(field string, closes bool) {
		if closes {
			open = false
			out.say(p.FQN, no(reasonNotTranslated, field, "The field %s is not translated; server %q is not exposed, because it would be open to all.", field, s.name))
			return
		}
		out.say(p.FQN, no(reasonNotTranslated, field, "The field %s is not translated.", field))
	}
	for _, u := range s.unsupported {
		say(u.field, u.closes)
	}
	for _, t := range s.targets() {
		// Passed through, it would be TLS in TLS; and that of the mesh is there anyway, where the service takes part in it.
		if clientTLS(t.tls, "") != nil && (s.protocol == intent.Passthrough || t.tls.GetMode() == typesv2.ClientTLS_ISTIO_MUTUAL) {
			say(t.field+".tls", true)
		}
	}
	if !s.isHTTP() {
		return nil, open
	}
	g := &intent.Guard{JWT: tokens(s.authentication)}
	if o := s.authentication.GetOidc(); o != nil {
		g.SignIn = signIn(o, s.host)
		if jwt := providerTokens(o, g.SignIn); jwt != nil {
			g.JWT = jwt
		}
		if len(s.authentication.GetRules().GetJwt()) > 0 || s.authentication.GetJwt() != nil { //nolint:staticcheck // old input
			// Who has only a token would be sent to sign in, and the tokens of who did would be strange to the rules.
			open = false
			out.say(p.FQN, no(reasonNotTranslated, s.field+".authentication.oidc", "Signing in beside rules for tokens is not translated; server %q is not exposed.", s.name))
		}
		if strings.HasPrefix(o.GetRedirectUri(), "http://") {
			out.say(p.FQN, no(reasonCookies, s.field+".authentication.oidc.redirectUri", "Browsers send the cookies of signing in over https only, and come back over http with %q.", o.GetRedirectUri()))
		}
	}
	if e := s.authorization.GetExternal(); e != nil {
		g.External = external(e)
	}
	if l := s.authorization.GetLocal(); l != nil {
		g.Rules = accessRules(l)
	}
	if g.Limits, s.limitField = limits(p, s); g.Limits != nil && g.Limits.Service != nil {
		sayUnlimited(p, s, out)
	}
	if f := unguarded(s, g); f != "" {
		say(s.field+"."+f, true)
	}
	if *g == (intent.Guard{}) {
		return nil, open
	}
	return g, open
}

// unguarded is a field without which the guard would let pass what the author meant to stop, or that Envoy would not take.
// What was checked when the resource was accepted has none.
func unguarded(s *server, g *intent.Guard) string {
	if s.authentication.GetRequireJwt() && g.JWT == nil {
		return "authentication.requireJwt"
	}
	if g.JWT != nil {
		for i := range g.JWT.Issuers {
			if j := &g.JWT.Issuers[i]; j.Keys == "" && j.KeysAt == nil {
				return "authentication.rules.jwt[" + itoa(i) + "].jwksUri"
			}
		}
	}
	if g.SignIn != nil && g.SignIn.TokenAt == nil {
		return "authentication.oidc.provider.tokenEndpoint"
	}
	if g.External != nil && g.External.At == nil {
		return "authorization.external.uri"
	}
	return ""
}

// tokens are those that a server accepts, nil when it looks at none.
func tokens(a *typesv2.Authentication) *intent.JWT {
	list := a.GetRules().GetJwt()
	if one := a.GetJwt(); one != nil { //nolint:staticcheck // old input
		list = []*typesv2.JWT{one}
	}
	if len(list) == 0 {
		return nil
	}
	out := &intent.JWT{Required: a.GetRequireJwt(), Issuers: make([]intent.JWTIssuer, 0, len(list))}
	for _, j := range list {
		i := intent.JWTIssuer{
			Issuer: j.GetIssuer(), Audiences: j.GetAudiences(), Keys: j.GetJwks(), KeysURI: j.GetJwksUri(),
			Cookies: j.GetFromCookies(), PayloadHeader: j.GetOutputPayloadToHeader(),
		}
		if i.KeysURI != "" {
			i.KeysAt = upstream(i.KeysURI, nil, 5*time.Second)
		}
		for _, h := range j.GetFromHeaders() {
			i.Headers = append(i.Headers, intent.TokenHeader{Name: h.GetName(), Prefix: h.GetPrefix()})
		}
		for _, c := range j.GetOutputClaimToHeaders() {
			i.Claims = append(i.Claims, intent.ClaimHeader{Claim: c.GetClaim(), Header: c.GetHeader()})
		}
		out.Issuers = append(out.Issuers, i)
	}
	return out
}

// external is an authorizer. Its address may have a path, which is another way to write a prefix.
func external(e *typesv2.Authorization_External) *intent.External {
	timeout := time.Second
	if e.GetTimeout() != nil {
		timeout = e.GetTimeout().AsDuration()
	}
	out := &intent.External{
		At: upstream(e.GetUri(), e.GetTls(), timeout), GRPC: strings.HasPrefix(e.GetUri(), "grpc"),
		PathPrefix: e.GetPathPrefix(), RequestHeaders: e.GetIncludeRequestHeaders(), UpstreamHeaders: e.GetAllowedUpstreamHeaders(),
	}
	if u, err := url.Parse(e.GetUri()); err == nil && out.PathPrefix == "" {
		out.PathPrefix = u.Path
	}
	out.PathPrefix = strings.TrimRight(out.PathPrefix, "/")
	return out
}

func accessRules(l *typesv2.Authorization_Local) *intent.AccessRules {
	out := &intent.AccessRules{}
	for _, r := range l.GetRules() {
		rule := intent.AccessRule{Name: r.GetName()}
		for _, f := range r.GetFrom() {
			claims := intent.Claims{}
			for k, v := range f.GetJwt().GetOther() {
				claims[k] = v
			}
			if v := f.GetJwt().GetIss(); v != "" {
				claims["iss"] = v
			}
			if v := f.GetJwt().GetSub(); v != "" {
				claims["sub"] = v
			}
			rule.From = append(rule.From, claims)
		}
		for _, t := range r.GetTo() {
			rule.To = append(rule.To, intent.Operation{Methods: t.GetMethods(), Paths: t.GetPaths()})
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

// upstreams replaces each of the services that a guard asks. A service stands in a field of the message at.
func upstreams(g *intent.Guard, each func(at, field string, u *intent.Upstream) *intent.Upstream) *intent.Guard {
	out := *g
	if g.SignIn != nil {
		in := *g.SignIn
		in.TokenAt = each("authentication.oidc.provider", "tokenEndpoint", in.TokenAt)
		out.SignIn = &in
	}
	if g.JWT != nil {
		jwt := *g.JWT
		jwt.Issuers = slices.Clone(jwt.Issuers)
		for i := range jwt.Issuers {
			at := "authentication.rules.jwt[" + itoa(i) + "]"
			if jwt.Issuers[i].SignIn {
				at = "authentication.oidc.provider"
			}
			if u := jwt.Issuers[i].KeysAt; u != nil {
				jwt.Issuers[i].KeysAt = each(at, "jwksUri", u)
			}
		}
		out.JWT = &jwt
	}
	if g.External != nil {
		e := *g.External
		e.At = each("authorization.external", "uri", e.At)
		out.External = &e
	}
	return &out
}

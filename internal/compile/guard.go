package compile

import (
	"cmp"
	"net/url"
	"strconv"
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
		if t.front {
			say(t.field, true)
		}
	}
	if !s.isHTTP() {
		return nil, open
	}
	g := &intent.Guard{JWT: tokens(s.authentication)}
	if s.authentication.GetOidc() != nil {
		say(s.field+".authentication.oidc", true)
	}
	if s.authorization.GetExternal() != nil {
		say(s.field+".authorization.external", true)
	}
	if l := s.authorization.GetLocal(); l != nil {
		g.Rules = accessRules(l)
	}
	if g.Limits, s.limitField = limits(p, s); g.Limits != nil && g.Limits.Service != nil {
		sayUnlimited(p, s, out)
	}
	if *g == (intent.Guard{}) {
		return nil, open
	}
	return g, open
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

// upstream reads the address of a service that a gateway asks: http, https, grpc or grpcs. What was checked when the
// resource was accepted parses.
func upstream(uri string, tls *typesv2.ClientTLS, timeout time.Duration) *intent.Upstream {
	u, err := url.Parse(uri)
	if err != nil {
		return nil
	}
	secure := u.Scheme == "https" || u.Scheme == "grpcs"
	out := &intent.Upstream{Host: strings.ToLower(u.Hostname()), HTTP2: strings.HasPrefix(u.Scheme, "grpc"), TLS: clientTLS(tls, u.Hostname()), Timeout: timeout}
	if secure && out.TLS == nil {
		out.TLS = &intent.ClientTLS{Mode: "SIMPLE", SNI: out.Host}
	}
	port := cmp.Or(u.Port(), "80")
	if secure {
		port = cmp.Or(u.Port(), "443")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		out.Port = uint32(n)
	}
	return out
}

func clientTLS(t *typesv2.ClientTLS, sni string) *intent.ClientTLS {
	if t == nil || t.GetMode() == typesv2.ClientTLS_DISABLED {
		return nil
	}
	return &intent.ClientTLS{
		Mode: t.GetMode().String(), SNI: sni, Secret: t.GetSecretName(), SubjectAltNames: t.GetSubjectAltNames(),
		Certificate: t.GetFiles().GetClientCertificate(), Key: t.GetFiles().GetPrivateKey(), CA: t.GetFiles().GetCaCertificates(),
	}
}

// upstreams calls each of the services that a guard asks.
func upstreams(g *intent.Guard, each func(field string, u *intent.Upstream) *intent.Upstream) *intent.Guard {
	if g.JWT == nil {
		return g
	}
	out, jwt := *g, *g.JWT
	jwt.Issuers = append([]intent.JWTIssuer(nil), jwt.Issuers...)
	for i := range jwt.Issuers {
		if at := jwt.Issuers[i].KeysAt; at != nil {
			jwt.Issuers[i].KeysAt = each("authentication.rules.jwt["+itoa(i)+"].jwksUri", at)
		}
	}
	out.JWT = &jwt
	return &out
}

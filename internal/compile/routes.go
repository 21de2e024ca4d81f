package compile

import (
	"maps"
	"slices"
	"strings"
	"time"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// serverTLS takes the Secret of a unified gateway by its name alone, or with the namespace of the gateway's pods before it.
func serverTLS(t *typesv2.ServerTLS, namespace string) *intent.TLS {
	if t == nil {
		return nil
	}
	out := &intent.TLS{
		Mode:            t.GetMode().String(),
		Secret:          strings.TrimPrefix(t.GetSecretName(), namespace+"/"),
		Certificate:     t.GetFiles().GetServerCertificate(),
		Key:             t.GetFiles().GetPrivateKey(),
		CA:              t.GetFiles().GetCaCertificates(),
		SubjectAltNames: t.GetSubjectAltNames(),
		Ciphers:         t.GetCipherSuites(),
	}
	if v := t.GetMinProtocolVersion(); v != typesv2.ServerTLS_TLS_AUTO {
		out.Min = v.String()
	}
	if v := t.GetMaxProtocolVersion(); v != typesv2.ServerTLS_TLS_AUTO {
		out.Max = v.String()
	}
	return out
}

// addRoutes adds what a server does with requests to its host in the plan.
func addRoutes(p *plan, host int, s *server, name string, ports []uint32, out *output) {
	h := &p.Hosts[host]
	h.HTTP, p.Refs = slices.Grow(h.HTTP, len(s.rules)), slices.Grow(p.Refs, len(s.rules)+1)
	shared := cors(s.cors)
	for i := range s.rules {
		r := &s.rules[i]
		route := httpRoute(p, r, out)
		route.Name = p.Name + "-" + name + "-" + itoa(i)
		route.Ports = ports
		if route.CORS = shared; r.cors != nil {
			route.CORS = cors(r.cors)
		}
		if r.to != nil {
			route.To = p.lead(s, r.to, destinationRef{Host: host, Kind: kindHTTP, Index: len(h.HTTP)})
		}
		h.HTTP = append(h.HTTP, route)
	}
	if s.to == nil {
		return
	}
	if s.protocol == intent.Passthrough {
		to := p.lead(s, s.to, destinationRef{Host: host, Kind: kindTLS, Index: len(h.Pass)})
		h.Pass = append(h.Pass, intent.Forward{Ports: ports, To: to})
		return
	}
	to := p.lead(s, s.to, destinationRef{Host: host, Kind: kindTCP, Index: len(h.TCP)})
	h.TCP = append(h.TCP, intent.Forward{Ports: ports, To: to})
}

// lead is where a target of a server leads to. What it refers to is noted in the plan with the place where it stands.
func (p *plan) lead(s *server, t *target, at destinationRef) []intent.Share {
	if t.front {
		f := fronted{Field: t.field, Host: s.host, Kind: at.Kind, At: at.Host, Index: at.Index, Sets: sets(t), Mesh: s.port == 0, Failover: serverFailover(s.failover)}
		p.Fronts = append(p.Fronts, f)
		return f.shares(s.port)
	}
	d, ref := destination(t.service)
	ref.Field, ref.Host, ref.Kind, ref.Index, ref.TLS = t.field, at.Host, at.Kind, at.Index, clientTLS(t.tls, d.Host)
	p.Refs = append(p.Refs, ref)
	return intent.All(d)
}

// destination reads "<namespace>/<service>". Short names of services become full ones; the name of another
// namespace's service does not pass as one of this namespace, whatever stands before the slash.
func destination(to *gatewayv2.Route) (intent.Destination, destinationRef) {
	ns, host, _ := strings.Cut(to.GetHost(), "/")
	ref := destinationRef{Namespace: ns, Port: to.GetPort()}
	labels := strings.Split(host, ".")
	switch {
	case len(labels) == 1:
		ref.Service = host
	case len(labels) == 2 && labels[1] == ns:
		ref.Service = labels[0]
	case len(labels) >= 3 && labels[2] == "svc":
		ref.Service, ref.Namespace = labels[0], labels[1]
	}
	if ref.Service != "" && len(labels) <= 3 {
		host = ref.Service + "." + ref.Namespace + ".svc.cluster.local"
	}
	return intent.Destination{Host: host, Port: to.GetPort()}, ref
}

func httpRoute(p *plan, r *rule, out *output) intent.HTTPRoute {
	field := r.field
	route := intent.HTTPRoute{Timeout: r.timeout, NoExternal: r.noExternal}
	route.Matches, _ = httpMatches(p.FQN, field, r.match, out)
	route.Request = headers(r.modify.GetHeaders().GetRequest())
	route.Response = headers(r.modify.GetHeaders().GetResponse())
	if w := r.modify.GetRewrite(); w.GetUri() != "" || w.GetAuthority() != "" {
		if r.to != nil {
			route.Rewrite = &intent.Rewrite{URI: w.GetUri(), Authority: w.GetAuthority()}
		} else {
			out.say(p.FQN, no(reasonNotTranslated, field+".modify.rewrite", "The field %s.modify.rewrite has no effect without a route.", field))
		}
	}
	if d := r.redirect; d != nil {
		route.Redirect = &intent.Redirect{URI: d.GetUri(), Authority: d.GetAuthority(), Scheme: d.GetScheme(), Port: d.GetPort(), Code: d.GetRedirectCode()}
	}
	if d := r.direct; d != nil {
		route.Direct = &intent.Direct{Status: d.GetStatus()}
		switch b := d.GetBody().GetSpecifier().(type) {
		case *gatewayv2.HttpBody_String_:
			route.Direct.Body = []byte(b.String_)
		case *gatewayv2.HttpBody_Bytes:
			route.Direct.Body, route.Direct.Binary = b.Bytes, true
		}
	}
	return route
}

// httpMatches translates the alternatives of a rule, and says where in the list those stand that can be matched. With none
// left the rule never matches: matching more than was asked for is worse than matching nothing.
func httpMatches(fqn resource.FQN, field string, list []*gatewayv2.HttpMatch, out *output) (matches []intent.HTTPMatch, from []int) {
	for i, m := range list {
		match, unknown := httpMatch(m)
		for _, h := range unknown {
			out.say(fqn, no(reasonNotTranslated, field+".match["+itoa(i)+"].headers", "The pseudo header %q cannot be matched.", h))
		}
		if len(unknown) == 0 {
			matches, from = append(matches, match), append(from, i)
		}
	}
	if len(list) > 0 && len(matches) == 0 {
		never := intent.HTTPMatch{URI: &intent.StringMatch{Exact: "/isthmus.invalid/never"}}
		matches = append(matches, never)
	}
	return matches, from
}

// httpMatch translates one alternative and returns the pseudo headers that cannot be matched.
func httpMatch(m *gatewayv2.HttpMatch) (match intent.HTTPMatch, unknown []string) {
	match.URI = stringMatch(m.GetUri())
	if len(m.GetHeaders()) == 0 {
		return match, nil
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetHeaders())) {
		v := stringMatch(m.GetHeaders()[name])
		switch {
		case name == ":method":
			match.Method = v
		case name == ":authority":
			match.Authority = v
		case name == ":scheme":
			match.Scheme = v
		case name == ":path" && match.URI == nil:
			match.URI = v
		case strings.HasPrefix(name, ":"):
			unknown = append(unknown, name)
		default:
			if match.Headers == nil {
				match.Headers = map[string]intent.StringMatch{}
			}
			if v == nil {
				v = &intent.StringMatch{}
			}
			match.Headers[strings.ToLower(name)] = *v
		}
	}
	return match, unknown
}

func stringMatch(m *typesv2.StringMatch) *intent.StringMatch {
	switch {
	case m == nil:
		return nil
	case m.GetPrefix() != "":
		return &intent.StringMatch{Prefix: m.GetPrefix()}
	case m.GetRegex() != "":
		return &intent.StringMatch{Regex: m.GetRegex()}
	}
	return &intent.StringMatch{Exact: m.GetExact()}
}

func headers(o *gatewayv2.Modify_Operations) intent.Headers {
	return intent.Headers{Set: o.GetSet(), Add: o.GetAdd(), Remove: o.GetRemove()}
}

func cors(c *gatewayv2.CorsPolicy) *intent.CORS {
	if c == nil {
		return nil
	}
	out := &intent.CORS{
		Origins: c.GetAllowOrigin(), Methods: c.GetAllowMethods(), Headers: c.GetAllowHeaders(), Expose: c.GetExposeHeaders(),
	}
	if c.AllowCredentials != nil {
		out.Credentials = new(c.GetAllowCredentials())
	}
	if c.GetMaxAge() != nil {
		out.MaxAge = new(time.Duration(c.GetMaxAge().AsDuration()))
	}
	return out
}

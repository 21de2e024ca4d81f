package compile

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

const (
	// limiterName and limiterNamespace are those of the rate limit service that Isthmus ships, and limiterPort where it is asked.
	limiterName      = "isthmus-ratelimit"
	limiterNamespace = "istio-system"
	limiterPort      = 8081

	// defaultQuestion is how long an answer of a rate limit service is waited for.
	defaultQuestion = 20 * time.Millisecond
	// defaultValues is how many values a rule of a pod tells apart.
	defaultValues = 20
)

// limits are those of a server, nil when it has none. field is where they stand: that of their form.
func limits(p *plan, s *server) (out *intent.Limits, field string) {
	field = s.field + ".rateLimiting."
	switch {
	case s.limits.GetSettings() != nil:
		return settingsLimits(s.limits.GetSettings(), p.FQN, s.name), field + "settings"
	case s.limits.GetExternalService() != nil:
		return externalLimits(s.limits.GetExternalService()), field + "externalService"
	case len(s.limits.GetLocal().GetRules()) > 0:
		return localLimits(s.limits.GetLocal()), field + "local"
	}
	return nil, ""
}

func settingsLimits(t *typesv2.RateLimiting_Settings, gateway resource.FQN, server string) *intent.Limits {
	out := &intent.Limits{Service: &intent.LimitService{
		At: &intent.Upstream{
			Host: limiterName + "." + limiterNamespace + ".svc.cluster.local", Port: limiterPort, Mesh: true, HTTP2: true, Timeout: defaultQuestion,
		},
		Domain: "isthmus", Shipped: true, FailClosed: t.GetFailClosed(),
	}}
	if t.GetTimeout() != nil {
		out.Service.At.Timeout = t.GetTimeout().AsDuration()
	}
	for i, r := range t.GetRules() {
		out.Rules = append(out.Rules, intent.LimitRule{
			Name:       string(gateway) + "/" + server + "/" + itoa(i),
			Limit:      itoa(r.GetLimit().GetRequestsPerUnit()) + "/" + r.GetLimit().GetUnit().String(),
			Dimensions: dimensions(r.GetDimensions()),
		})
	}
	return out
}

func externalLimits(e *typesv2.RateLimiting_ExternalService) *intent.Limits {
	timeout := defaultQuestion
	if e.GetTimeout() != nil {
		timeout = e.GetTimeout().AsDuration()
	}
	uri := e.GetRateLimitServerUri()
	if !strings.Contains(uri, "://") {
		uri = "grpc://" + uri
	}
	out := &intent.Limits{Service: &intent.LimitService{At: upstream(uri, e.GetTls(), timeout), Domain: e.GetDomain(), FailClosed: e.GetFailClosed()}}
	for _, r := range e.GetRules() {
		rule := intent.LimitRule{}
		for _, d := range r.GetDimensions() {
			rule.Dimensions = append(rule.Dimensions, externalDimension(d))
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

func externalDimension(d *typesv2.RateLimiting_ExternalDimension) intent.Dimension {
	switch k := d.GetKind().(type) {
	case *typesv2.RateLimiting_ExternalDimension_DestinationCluster:
		return intent.Dimension{Kind: intent.DestinationCluster}
	case *typesv2.RateLimiting_ExternalDimension_RemoteAddress:
		return intent.Dimension{Kind: intent.EachAddress}
	case *typesv2.RateLimiting_ExternalDimension_RequestHeaders:
		return intent.Dimension{Kind: intent.EachValue, Header: strings.ToLower(k.RequestHeaders.GetHeaderName()), Key: k.RequestHeaders.GetDescriptorKey()}
	case *typesv2.RateLimiting_ExternalDimension_HeaderValueMatch:
		out := intent.Dimension{Kind: intent.HeaderMatch, Not: k.HeaderValueMatch.GetDontMatch(), Value: k.HeaderValueMatch.GetDescriptorValue()}
		headers := k.HeaderValueMatch.GetHeaders()
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			out.Headers = append(out.Headers, intent.HeaderTest{Name: strings.ToLower(name), Match: stringMatch(headers[name])})
		}
		return out
	}
	return intent.Dimension{Kind: intent.SourceCluster}
}

func localLimits(l *typesv2.RateLimiting_Local) *intent.Limits {
	out := &intent.Limits{Values: defaultValues}
	if l.MaxWildcardDimensions != nil {
		out.Values = l.GetMaxWildcardDimensions()
	}
	for _, r := range l.GetRules() {
		b := intent.Bucket{Max: r.GetTokenBucket().GetMaxTokens(), PerFill: 1, Fill: r.GetTokenBucket().GetFillInterval().AsDuration()}
		if r.GetTokenBucket().TokensPerFill != nil {
			b.PerFill = r.GetTokenBucket().GetTokensPerFill()
		}
		out.Rules = append(out.Rules, intent.LimitRule{Bucket: b, Dimensions: dimensions(r.GetDimensions())})
	}
	return out
}

func dimensions(all []*typesv2.RateLimiting_Dimension) []intent.Dimension {
	out := make([]intent.Dimension, 0, len(all))
	for _, d := range all {
		switch k := d.GetKind().(type) {
		case *typesv2.RateLimiting_Dimension_RemoteAddress:
			out = append(out, addressDimension(k.RemoteAddress.GetValue()))
		case *typesv2.RateLimiting_Dimension_Header:
			h := intent.HeaderTest{Name: strings.ToLower(k.Header.GetName()), Match: stringMatch(k.Header.GetValue())}
			if h.Match == nil && !k.Header.GetDontMatch() {
				out = append(out, intent.Dimension{Kind: intent.EachValue, Header: h.Name})
				continue
			}
			out = append(out, intent.Dimension{Kind: intent.HeaderMatch, Headers: []intent.HeaderTest{h}, Not: k.Header.GetDontMatch()})
		}
	}
	return out
}

// addressDimension reads what was checked when the resource was accepted: "*", an address, or a CIDR.
func addressDimension(value string) intent.Dimension {
	if value == "*" {
		return intent.Dimension{Kind: intent.EachAddress}
	}
	in := intent.Dimension{Kind: intent.AddressIn}
	if a, err := netip.ParseAddr(value); err == nil {
		in.Range, _ = a.Prefix(a.BitLen())
	} else if p, err := netip.ParsePrefix(value); err == nil {
		in.Range = p.Masked()
	}
	return in
}

// sayUnlimited names the rules of a server whose requests no service is asked about: Envoy answers them itself.
func sayUnlimited(p *plan, s *server, out *output) {
	for i := range s.rules {
		r := &s.rules[i]
		what := ""
		switch {
		case r.redirect != nil:
			what = ".redirect"
		case r.direct != nil:
			what = ".directResponse"
		}
		if what != "" {
			out.say(p.FQN, no(reasonNotTranslated, r.field+what, "The requests of %s%s are not limited: the gateway answers them without asking a rate limit service. %s.rateLimiting.local limits them.", r.field, what, s.field))
		}
	}
}

// checkClients says which limits do not see the addresses of clients.
func (s *scene) checkClients() {
	for i := range s.plan.Servers {
		g, field := s.plan.Servers[i].Guard, s.plan.LimitFields[i]
		if g == nil || g.Limits == nil {
			continue
		}
		service := s.hidesClients(s.plan.Servers[i].Port)
		if service == "" {
			continue
		}
		for j := range g.Limits.Rules {
			for k := range g.Limits.Rules[j].Dimensions {
				if g.Limits.Rules[j].Dimensions[k].ByAddress() {
					s.say(no(reasonClientHidden, field+".rules["+itoa(j)+"].dimensions["+itoa(k)+"].remoteAddress",
						"Service %q in namespace %q has externalTrafficPolicy Cluster: the gateway sees addresses of nodes in place of its clients'.", service, s.plan.Namespace))
				}
			}
		}
	}
}

// hidesClients is the name of the Service through which a port is called from outside, when it puts addresses of nodes in the
// place of the clients' and nothing tells the gateway who they are.
func (s *scene) hidesClients(port uint32) string {
	for _, w := range s.pods {
		told := s.cluster.ForwardedClients
		if w.ForwardedClients != nil {
			told = w.GetForwardedClients()
		}
		if told {
			return ""
		}
	}
	for _, svc := range s.services {
		// A Service that is called from within the cluster alone has no policy.
		if svc.GetExternalTrafficPolicy() == "Cluster" && portOf(svc, port) != nil {
			return svc.GetName()
		}
	}
	return ""
}

// limitsOf are the limits of a server, with what they take from the cluster: the service that they ask.
func (s *scene) limitsOf(i int) *intent.Limits {
	l, field := s.plan.Servers[i].Guard.Limits, s.plan.LimitFields[i]
	if l == nil || l.Service == nil {
		return l
	}
	if l.Service.Shipped {
		if s.cluster.Known && s.fact("service/"+limiterNamespace+"/"+limiterName) == nil {
			s.sayNoLimiter(field, l.Service)
		}
		return l
	}
	out, service := *l, *l.Service
	service.At = s.upstream(field, "rateLimitServerUri", service.At)
	out.Service = &service
	return &out
}

func (s *scene) sayNoLimiter(field string, l *intent.LimitService) {
	effect := "pass without being counted"
	if l.FailClosed {
		effect = "are refused"
	}
	s.say(no(reasonUnknownService, field, "Service %q does not exist in namespace %q, so that requests %s. \"tctl install manifest cluster-operators\" prints it.", limiterName, limiterNamespace, effect))
}

package compile

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/intent"
)

// Istio follows the routes of a service for callers in the mesh, and not at a gateway that leads to it. So a gateway's routes
// are split here as those of the service say: each becomes one for every route of the service that requests can meet there.

// splitter splits one route of a gateway.
type splitter struct {
	*scene
	ref   destinationRef
	route *intent.Route
	// port of the service, 0 for its only one.
	port uint32
}

// splitterOf is nil when the service of a destination has no versions and no routes.
func (s *scene) splitterOf(ref destinationRef) *splitter {
	if ref.Service == "" {
		return nil
	}
	route, _ := s.r.get(splitKey(s.cluster.Name, ref.Namespace, ref.Service)).(*intent.Route)
	if route == nil {
		return nil
	}
	if ref.TLS != nil {
		s.say(no(reasonNotSplit, ref.Field+".tls", "The gateway starts TLS of its own to service %q in namespace %q, and does not follow %q.", ref.Service, ref.Namespace, route.FQN))
		return nil
	}
	return &splitter{scene: s, ref: ref, route: route, port: ref.Port}
}

// spot is the place of a route among the hosts of a gateway.
type spot struct {
	host  int
	kind  string
	index int
}

// split replaces routes of hosts, which are this gateway's own.
func split(hosts []intent.GatewayHost, all map[spot]*splitter) {
	for i := range hosts {
		h := &hosts[i]
		var http []intent.HTTPRoute
		for j := range h.HTTP {
			if x := all[spot{i, kindHTTP, j}]; x != nil {
				http = append(http, x.http(&h.HTTP[j])...)
			} else {
				http = append(http, h.HTTP[j])
			}
		}
		h.HTTP = http
		for kind, list := range map[string][]intent.Forward{kindTLS: h.Pass, kindTCP: h.TCP} {
			for j := range list {
				if x := all[spot{i, kind, j}]; x != nil {
					x.stream(&list[j])
				}
			}
		}
	}
}

// stream is where connections go. The first route of the service that is about the port holds.
func (x *splitter) stream(f *intent.Forward) {
	lists := [][]intent.Forward{x.route.TCP, x.route.TLS}
	if x.ref.Kind == kindTLS {
		slices.Reverse(lists)
	}
	for _, list := range lists {
		for _, r := range list {
			if len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, x.meant) {
				f.To = x.shares(r.To)
				return
			}
		}
	}
}

// meant says whether a port, 0 for any, is that of the gateway's destination. A service with one port has no other.
func (x *splitter) meant(port uint32) bool { return port == x.port || port == 0 || x.port == 0 }

// shares are destinations with the port that the gateway leads to, where they say none.
func (x *splitter) shares(to []intent.Share) []intent.Share {
	to = slices.Clone(to)
	for i := range to {
		if to[i].Port == 0 {
			to[i].Port = x.port
		}
	}
	return to
}

// http is a route of the gateway for each route of the service that requests can meet there, in its order.
func (x *splitter) http(g *intent.HTTPRoute) []intent.HTTPRoute {
	var out []intent.HTTPRoute
	ours := g.Matches
	if len(ours) == 0 {
		ours = []intent.HTTPMatch{{}}
	}
	for i := range x.route.HTTP {
		r := &x.route.HTTP[i]
		next := x.follow(g, r)
		if len(r.Matches) == 0 {
			next.Matches = left(g, ours)
			return append(out, next)
		}
		both, unclear := x.matches(ours, g, r)
		if len(both) > 0 {
			next.Name, next.Matches = g.Name+"-"+r.Name, left(g, both)
			out = append(out, next)
		}
		if len(unclear) > 0 {
			x.sayUnclear(r)
			out = append(out, refused(g, r, left(g, unclear)))
		}
		// What is answered already meets no later route.
		ours = slices.DeleteFunc(slices.Clone(ours), func(m intent.HTTPMatch) bool { return among(both, m) || among(unclear, m) })
		if len(ours) == 0 {
			return out
		}
	}
	next := *g
	next.Matches = left(g, ours)
	return append(out, next)
}

// left are matches as a route has them: none, and not one that matches everything.
func left(g *intent.HTTPRoute, matches []intent.HTTPMatch) []intent.HTTPMatch {
	if len(g.Matches) == 0 && among(matches, intent.HTTPMatch{}) {
		return nil
	}
	return matches
}

func among(matches []intent.HTTPMatch, m intent.HTTPMatch) bool {
	return slices.ContainsFunc(matches, func(x intent.HTTPMatch) bool { return reflect.DeepEqual(x, m) })
}

// follow is a route of the gateway that does what one of the service does.
func (x *splitter) follow(g, r *intent.HTTPRoute) intent.HTTPRoute {
	next := *g
	next.Fault, next.Mirrors, next.To = r.Fault, r.Mirrors, x.shares(r.To)
	if r.Direct != nil {
		next.To, next.Rewrite, next.Direct = nil, nil, r.Direct
	}
	return next
}

// refused answers requests that may meet a route of the service, when it cannot be said which do.
func refused(g, r *intent.HTTPRoute, matches []intent.HTTPMatch) intent.HTTPRoute {
	next := *g
	next.Name, next.Matches = g.Name+"-"+r.Name+"-unclear", matches
	next.To, next.Rewrite, next.Direct = nil, nil, &intent.Direct{Status: 503}
	return next
}

func (x *splitter) sayUnclear(r *intent.HTTPRoute) {
	c := no(reasonNotCombined, x.ref.Field, "Route %q of %q matches something that the gateway's rule matches or changes in another way. Requests that may be meant are answered with 503.", r.Name, x.route.FQN)
	x.say(c)
	c.Field, c.Message = "httpRoutes", "At "+string(x.plan.FQN)+", "+x.ref.Field+": "+c.Message
	x.out.say(x.route.FQN, in(x.cluster.Name, c))
}

// matches are what both one of the matches of a route of the gateway and the route of the service match; unclear is more than
// that, where it cannot be said.
func (x *splitter) matches(ours []intent.HTTPMatch, g, r *intent.HTTPRoute) (both, unclear []intent.HTTPMatch) {
	for i := range ours {
		for j := range r.Matches {
			if !x.meant(r.Matches[j].Port) {
				continue
			}
			m, how := combine(&ours[i], &r.Matches[j], g)
			switch {
			case how == possible && !among(both, m):
				both = append(both, m)
			case how == unsure && !among(unclear, m):
				unclear = append(unclear, m)
			}
		}
	}
	// What is sure to be meant is not unclear.
	unclear = slices.DeleteFunc(unclear, func(m intent.HTTPMatch) bool { return among(both, m) })
	return both, unclear
}

// certainty of a match that two rules have to agree on.
type certainty int

const (
	possible certainty = iota
	// unsure: the match is that of the gateway where the other cannot be added.
	unsure
	impossible
)

// combine is what both match: a match of a route g of a gateway, and one of the service as requests come to it from there.
func combine(ours, theirs *intent.HTTPMatch, g *intent.HTTPRoute) (intent.HTTPMatch, certainty) {
	out := *ours
	worst := possible
	add := func(m *intent.StringMatch, how certainty) *intent.StringMatch {
		worst = max(worst, how)
		return m
	}
	out.Method = add(and(ours.Method, theirs.Method))
	out.Scheme = add(and(ours.Scheme, theirs.Scheme))
	if authority := g.Rewrite; authority != nil && authority.Authority != "" && theirs.Authority != nil {
		add(nil, known(theirs.Authority, authority.Authority))
	} else {
		out.Authority = add(and(ours.Authority, theirs.Authority))
	}
	out.Headers = map[string]intent.StringMatch{}
	for name, m := range ours.Headers {
		out.Headers[name] = m
	}
	for name, m := range theirs.Headers {
		merged, how := header(ours, &m, name, &g.Request)
		add(nil, how)
		if merged != nil {
			out.Headers[name] = *merged
		}
	}
	uri, path, how := uris(ours.URI, theirs.URI, g.Rewrite)
	out.URI = add(uri, how)
	if path != nil {
		out.Headers[":path"] = *path
	}
	if len(out.Headers) == 0 {
		out.Headers = nil
	}
	return out, worst
}

// header is what a header has to be so that it matches for both, after the gateway changed it. Without a result it may be anything.
func header(ours *intent.HTTPMatch, theirs *intent.StringMatch, name string, changes *intent.Headers) (*intent.StringMatch, certainty) {
	var own *intent.StringMatch
	if m, ok := ours.Headers[name]; ok {
		own = &m
	}
	is := func(other string) bool { return strings.EqualFold(other, name) }
	for _, other := range slices.Sorted(maps.Keys(changes.Set)) {
		switch value := changes.Set[other]; {
		case is(other) && strings.Contains(value, "%"):
			return own, unsure
		case is(other):
			return own, known(theirs, value)
		}
	}
	for other := range changes.Add {
		if is(other) {
			return own, unsure
		}
	}
	if slices.ContainsFunc(changes.Remove, is) {
		return own, impossible
	}
	return and(own, theirs)
}

// uris is what a path has to be so that it matches for both, after it was rewritten. Where two matches of the path are needed, the
// second is of the pseudo header, which has the query too.
func uris(ours, theirs *intent.StringMatch, rewrite *intent.Rewrite) (uri, path *intent.StringMatch, how certainty) {
	if theirs != nil && rewrite != nil && rewrite.URI != "" {
		path, how = rewritten(ours, theirs, rewrite.URI)
		return ours, path, how
	}
	uri, how = and(ours, theirs)
	if how != unsure || isExact(ours) || isExact(theirs) {
		return uri, nil, how
	}
	if theirs.Regex == "" {
		return ours, theirs, possible
	}
	if pattern := "(?:" + theirs.Regex + ")" + anyQuery; len(pattern) <= longestPattern {
		return ours, &intent.StringMatch{Regex: pattern}, possible
	}
	return ours, nil, unsure
}

// anyQuery is what may come after a path in the pseudo header.
const anyQuery = `(\?.*)?`

// longestPattern is the longest regular expression that istiod takes.
const longestPattern = 1024

// rewritten is what a path that matches ours has to be beside that, so that it matches theirs once the beginning that ours matched is
// replaced; nil for anything. The match of ours has to stay: it says what is replaced.
func rewritten(ours, theirs *intent.StringMatch, by string) (*intent.StringMatch, certainty) {
	prefix := "/"
	switch {
	case ours == nil:
	case isExact(ours):
		return nil, known(theirs, by)
	case ours.Regex != "":
		return nil, unsure
	default:
		prefix = ours.Prefix
	}
	rest, longer := strings.CutPrefix(theirs.Prefix+theirs.Exact, by)
	switch {
	case theirs.Regex != "":
		return nil, unsure
	case longer && isExact(theirs):
		return &intent.StringMatch{Regex: regexp.QuoteMeta(prefix+rest) + anyQuery}, possible
	case longer:
		return &intent.StringMatch{Prefix: prefix + rest}, possible
	case theirs.Prefix != "" && strings.HasPrefix(by, theirs.Prefix):
		return nil, possible
	}
	return nil, impossible
}

// and is what two matches have in common; nil matches everything. When that cannot be said it is the first.
func and(a, b *intent.StringMatch) (*intent.StringMatch, certainty) {
	switch {
	case b == nil || a != nil && *a == *b:
		return a, possible
	case a == nil:
		return b, possible
	case isExact(a):
		return a, known(b, a.Exact)
	case isExact(b):
		return b, known(a, b.Exact)
	case a.Prefix != "" && strings.HasPrefix(a.Prefix, b.Prefix) && b.Prefix != "":
		return a, possible
	case b.Prefix != "" && strings.HasPrefix(b.Prefix, a.Prefix) && a.Prefix != "":
		return b, possible
	case a.Prefix != "" && b.Prefix != "":
		return a, impossible
	}
	return a, unsure
}

// isExact says whether a match is of one value, which may be the empty one.
func isExact(m *intent.StringMatch) bool { return m.Prefix == "" && m.Regex == "" }

// known says whether a value that is known matches.
func known(m *intent.StringMatch, value string) certainty {
	fits := false
	switch {
	case m.Prefix != "":
		fits = strings.HasPrefix(value, m.Prefix)
	case m.Regex != "":
		re, err := regexp.Compile("^(?:" + m.Regex + ")$")
		if err != nil {
			return unsure
		}
		fits = re.MatchString(value)
	default:
		fits = m.Exact == value
	}
	if fits {
		return possible
	}
	return impossible
}

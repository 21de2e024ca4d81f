package istio

import (
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
)

// httpRoute is a route without its policy for other origins, which several may share.
func httpRoute(in *intent.HTTPRoute) *networking.HTTPRoute {
	out := &networking.HTTPRoute{
		Name:    in.Name,
		Match:   httpMatches(in),
		Headers: headers(in),
	}
	if w := in.Rewrite; w != nil {
		out.Rewrite = &networking.HTTPRewrite{Uri: w.URI, Authority: w.Authority}
	}
	if in.Timeout != nil {
		out.Timeout = durationpb.New(*in.Timeout)
	}
	out.Fault, out.Mirrors = fault(in.Fault), mirrors(in.Mirrors)
	switch {
	case len(in.To) > 0:
		for _, s := range in.To {
			out.Route = append(out.Route, &networking.HTTPRouteDestination{Destination: destination(s.Destination), Weight: int32(s.Weight)})
		}
	case in.Redirect != nil:
		out.Redirect = redirect(in.Redirect)
	case in.Direct != nil:
		out.DirectResponse = directResponse(in.Direct)
	}
	return out
}

// httpMatches combines every match of the user with every port of the server. In the mesh there is no server, and a match may
// name a port of the service.
func httpMatches(in *intent.HTTPRoute) []*networking.HTTPMatchRequest {
	matches := in.Matches
	if len(in.Ports) == 0 {
		var out []*networking.HTTPMatchRequest
		for i := range matches {
			out = append(out, httpMatch(&matches[i], matches[i].Port))
		}
		return out
	}
	if len(matches) == 0 {
		matches = []intent.HTTPMatch{{}}
	}
	out := make([]*networking.HTTPMatchRequest, 0, len(matches)*len(in.Ports))
	for i := range matches {
		for _, port := range in.Ports {
			out = append(out, httpMatch(&matches[i], port))
		}
	}
	return out
}

func httpMatch(m *intent.HTTPMatch, port uint32) *networking.HTTPMatchRequest {
	r := &networking.HTTPMatchRequest{
		Name: m.Name, Port: port, Uri: stringMatch(m.URI), Method: stringMatch(m.Method),
		Scheme: stringMatch(m.Scheme), Authority: stringMatch(m.Authority),
	}
	for name, v := range m.Headers {
		if r.Headers == nil {
			r.Headers = map[string]*networking.StringMatch{}
		}
		r.Headers[name] = stringMatch(&v)
	}
	return r
}

func stringMatch(m *intent.StringMatch) *networking.StringMatch {
	switch {
	case m == nil:
		return nil
	case m.Prefix != "":
		return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: m.Prefix}}
	case m.Regex != "":
		return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: m.Regex}}
	}
	return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: m.Exact}}
}

func headers(in *intent.HTTPRoute) *networking.Headers {
	if in.Request.Empty() && in.Response.Empty() {
		return nil
	}
	return &networking.Headers{Request: operations(in.Request), Response: operations(in.Response)}
}

func operations(h intent.Headers) *networking.Headers_HeaderOperations {
	if h.Empty() {
		return nil
	}
	return &networking.Headers_HeaderOperations{Set: h.Set, Add: h.Add, Remove: h.Remove}
}

func redirect(in *intent.Redirect) *networking.HTTPRedirect {
	out := &networking.HTTPRedirect{Uri: in.URI, Authority: in.Authority, Scheme: in.Scheme, RedirectCode: in.Code}
	if in.Port != 0 {
		out.RedirectPort = &networking.HTTPRedirect_Port{Port: in.Port}
	}
	return out
}

func directResponse(in *intent.Direct) *networking.HTTPDirectResponse {
	out := &networking.HTTPDirectResponse{Status: in.Status}
	switch {
	case in.Binary:
		out.Body = &networking.HTTPBody{Specifier: &networking.HTTPBody_Bytes{Bytes: in.Body}}
	case len(in.Body) > 0:
		out.Body = &networking.HTTPBody{Specifier: &networking.HTTPBody_String_{String_: string(in.Body)}}
	}
	return out
}

func corsPolicy(in *intent.CORS) *networking.CorsPolicy {
	if in == nil {
		return nil
	}
	out := &networking.CorsPolicy{AllowMethods: in.Methods, AllowHeaders: in.Headers, ExposeHeaders: in.Expose}
	for _, o := range in.Origins {
		out.AllowOrigins = append(out.AllowOrigins, &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: o}})
	}
	if in.MaxAge != nil {
		out.MaxAge = durationpb.New(*in.MaxAge)
	}
	if in.Credentials != nil {
		out.AllowCredentials = wrapperspb.Bool(*in.Credentials)
	}
	return out
}

package istio

import (
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"

	"isthmus.dev/isthmus/internal/intent"
)

// payload is where the verified payload of a token is for the filters behind.
const payload = "isthmus"

// jwtFilter verifies the tokens of one server. Istio's RequestAuthentication would do it for all hosts of the pods at
// once, so that a token for one of them opened the others.
func jwtFilter(j *intent.JWT, suffix string) httpFilter {
	f := httpFilter{name: "isthmus.jwt" + suffix}
	providers := make(map[string]*structpb.Value, len(j.Issuers))
	accepted := make([]*structpb.Value, 0, len(j.Issuers)+1)
	for i := range j.Issuers {
		name := "issuer-" + strconv.Itoa(i)
		provider := jwtProvider(&j.Issuers[i])
		if at := j.Issuers[i].KeysAt; at != nil {
			of := i
			if j.Issuers[i].SignIn {
				of = 0 // all of them are the provider
			}
			name, cluster := upstreamCluster(at, "isthmus.keys-"+strconv.Itoa(of)+suffix)
			if cluster != nil && of == i {
				f.clusters = append(f.clusters, cluster)
			}
			provider.Fields["remote_jwks"] = nested(
				"http_uri", nested("uri", text(j.Issuers[i].KeysURI), "cluster", text(name), "timeout", duration(at.Timeout)),
				"cache_duration", text("300s"),
			)
		}
		providers[name] = structpb.NewStructValue(provider)
		accepted = append(accepted, nested("provider_name", text(name)))
	}
	if !j.Required {
		accepted = append(accepted, nested("allow_missing", nested()))
	}
	requirement := accepted[0]
	if len(accepted) > 1 {
		requirement = nested("requires_any", nested("requirements", list(accepted...)))
	}
	config := func() *structpb.Struct {
		return typed("extensions.filters.http.jwt_authn.v3.JwtAuthentication",
			"providers", structpb.NewStructValue(&structpb.Struct{Fields: providers}),
			"requirement_map", nested("token", requirement),
			"bypass_cors_preflight", yes(),
		)
	}
	f.config, f.always = config(), config()
	f.always.Fields["rules"] = list(nested("match", nested("prefix", text("/")), "requirement_name", text("token")))
	f.host = typed("extensions.filters.http.jwt_authn.v3.PerRouteConfig", "requirement_name", text("token"))
	return f
}

// jwtProvider is an issuer without remote keys.
func jwtProvider(i *intent.JWTIssuer) *structpb.Struct {
	p := object(
		"issuer", text(i.Issuer),
		"payload_in_metadata", text(payload),
		"forward", yes(), // the service may look at the token itself
	)
	if len(i.Audiences) > 0 {
		p.Fields["audiences"] = texts(i.Audiences)
	}
	if i.Keys != "" {
		p.Fields["local_jwks"] = nested("inline_string", text(i.Keys))
	}
	var headers, claims []*structpb.Value
	for _, h := range i.Headers {
		headers = append(headers, nested("name", text(h.Name), "value_prefix", text(h.Prefix)))
	}
	for _, c := range i.Claims {
		claims = append(claims, nested("claim_name", text(c.Claim), "header_name", text(c.Header)))
	}
	if headers != nil {
		p.Fields["from_headers"] = list(headers...)
	}
	if len(i.Cookies) > 0 {
		p.Fields["from_cookies"] = texts(i.Cookies)
	}
	if claims != nil {
		p.Fields["claim_to_headers"] = list(claims...)
	}
	if i.PayloadHeader != "" {
		p.Fields["forward_payload_header"] = text(i.PayloadHeader)
	}
	return p
}

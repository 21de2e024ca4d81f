package istio

import (
	"regexp"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"isthmus.dev/isthmus/internal/intent"
)

// externalFilter asks a service about each request. Istio's own way to say it, a provider in the mesh's configuration, takes
// one for all hosts of the pods. Without an answer the request is refused with 403.
func externalFilter(e *intent.External, suffix string) httpFilter {
	const message = "extensions.filters.http.ext_authz.v3."
	f := httpFilter{name: "isthmus.external" + suffix, off: func(r *intent.HTTPRoute) bool { return r.NoExternal }}
	name, cluster := upstreamCluster(e.At, f.name)
	if cluster != nil {
		f.clusters = append(f.clusters, cluster)
	}
	config := typed(message+"ExtAuthz", "transport_api_version", text("V3"), "stat_prefix", text("isthmus"))
	if len(e.RequestHeaders) > 0 {
		config.Fields["allowed_headers"] = headerNames(e.RequestHeaders)
	}
	if e.GRPC {
		config.Fields["grpc_service"] = nested(
			// Without an authority it would be the cluster's name, which some servers refuse.
			"envoy_grpc", nested("cluster_name", text(name), "authority", text(e.At.Host)),
			"timeout", duration(e.At.Timeout),
		)
		if len(e.UpstreamHeaders) > 0 {
			config.Fields["decoder_header_mutation_rules"] = nested(
				"disallow_all", yes(), "allow_expression", nested("regex", text(anyName(e.UpstreamHeaders))),
			)
		}
	} else {
		service := object("server_uri", nested("uri", text("http://"+e.At.Host), "cluster", text(name), "timeout", duration(e.At.Timeout)))
		if e.PathPrefix != "" {
			service.Fields["path_prefix"] = text(e.PathPrefix)
		}
		if len(e.UpstreamHeaders) > 0 {
			service.Fields["authorization_response"] = nested("allowed_upstream_headers", headerNames(e.UpstreamHeaders))
		}
		config.Fields["http_service"] = structpb.NewStructValue(service)
	}
	f.config, f.always = config, config
	f.host = typed(message+"ExtAuthzPerRoute", "check_settings", nested())
	return f
}

// headerNames matches any of the names, which are no case's own.
func headerNames(names []string) *structpb.Value {
	patterns := make([]*structpb.Value, len(names))
	for i, n := range names {
		patterns[i] = nested("exact", text(n), "ignore_case", yes())
	}
	return nested("patterns", list(patterns...))
}

// anyName is a regular expression for names in lower case.
func anyName(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(strings.ToLower(n))
	}
	return strings.Join(quoted, "|")
}

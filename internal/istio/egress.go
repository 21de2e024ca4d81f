package istio

import (
	"regexp"
	"strconv"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderEgress makes what lets requests out of the mesh at a gateway. The VirtualService refuses all of them; the EnvoyFilter
// puts a route before that, which has everything that lets a request out and everything that stops it. So a part that is
// missing closes the gateway.
func renderEgress(g *intent.Gateway, dress *dress) []config {
	e := g.Egress
	name := wellknown.EgressPrefix + e.Name
	object := func(kind string, wave uint32) config {
		return config{apiVersion: networkingV1, kind: kind, namespace: g.Namespace, name: name, wave: wave, dress: dress}
	}
	filter, gateway, refusal := object("EnvoyFilter", waveEnvoyFilter), object("Gateway", waveGateway), object("VirtualService", waveVirtualService)
	filter.apiVersion = "networking.istio.io/v1alpha3"
	filter.spec = egressFilter(g, name)
	gateway.spec = &networking.Gateway{Selector: g.Selector, Servers: []*networking.Server{{
		Name:  "egress",
		Hosts: []string{g.Namespace + "/*"},
		Port:  &networking.Port{Name: "mtls-egress", Number: wellknown.MTLSPort, Protocol: "HTTPS"},
		Tls:   &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_ISTIO_MUTUAL},
	}}}
	refusal.spec = &networking.VirtualService{
		ExportTo: []string{"."},
		Gateways: []string{g.Namespace + "/" + name},
		Hosts:    []string{"*"},
		Http:     []*networking.HTTPRoute{{Name: "refused", DirectResponse: &networking.HTTPDirectResponse{Status: 403}}},
	}
	configs := []config{filter, gateway, refusal}
	if e.Service != "" {
		rule := object("DestinationRule", waveDestinationRule)
		rule.spec = egressRule(e)
		configs = append(configs, rule)
	}
	return configs
}

// egressRule says how callers of all namespaces call the gateway. The server name is Istio's own for the Service.
func egressRule(e *intent.Egress) *networking.DestinationRule {
	return &networking.DestinationRule{Host: e.Service, ExportTo: []string{"*"}, TrafficPolicy: &networking.TrafficPolicy{
		PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{{
			Port: &networking.PortSelector{Number: wellknown.MTLSPort},
			Tls:  &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_ISTIO_MUTUAL, SubjectAltNames: e.Identities},
			ConnectionPool: &networking.ConnectionPoolSettings{
				Tcp:  &networking.ConnectionPoolSettings_TCPSettings{ConnectTimeout: durationpb.New(connectTimeout)},
				Http: &networking.ConnectionPoolSettings_HTTPSettings{UseClientProtocol: true},
			},
		}},
	}}
}

// egressFilter is the way out: who may take it, where the host is, and how it is spoken to.
func egressFilter(g *intent.Gateway, gateway string) *networking.EnvoyFilter {
	suffix := "." + g.Egress.Name
	rules, lookup, cluster := "isthmus.egress"+suffix, "isthmus.lookup"+suffix, "isthmus.outside"+suffix
	filters := []httpFilter{
		{name: rules, config: typed("extensions.filters.http.rbac.v3.RBAC")},
		{name: lookup, config: typed("extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig", "dns_cache_config", lookups(cluster))},
	}
	out := &networking.EnvoyFilter{
		WorkloadSelector: &networking.WorkloadSelector{Labels: g.Selector},
		ConfigPatches:    []*networking.EnvoyFilter_EnvoyConfigObjectPatch{clusterPatch(outsideCluster(cluster))},
	}
	for _, f := range filters {
		out.ConfigPatches = append(out.ConfigPatches, filterPatch(&networking.EnvoyFilter_ListenerMatch{FilterChain: manager("")}, f))
	}
	route := object(
		"name", text("egress"),
		"match", nested("prefix", text("/")),
		"route", nested("cluster", text(cluster), "timeout", text("0s")),
		// What the mesh says about its workloads is nobody's business outside, and what leaves is HTTPS.
		"request_headers_to_remove", texts([]string{"x-forwarded-client-cert", "x-envoy-peer-metadata", "x-envoy-peer-metadata-id", "x-envoy-attempt-count", "x-envoy-decorator-operation"}),
		"request_headers_to_add", list(nested("header", nested("key", text("x-forwarded-proto"), "value", text("https")), "append_action", text("OVERWRITE_IF_EXISTS_OR_ADD"))),
		"typed_per_filter_config", nested(
			rules, structpb.NewStructValue(typed("extensions.filters.http.rbac.v3.RBACPerRoute", "rbac", nested("rules", nested("action", text("ALLOW"), "policies", egressPolicies(g.Egress))))),
			lookup, structpb.NewStructValue(typed("extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig")),
		),
	)
	match := &networking.EnvoyFilter_RouteConfigurationMatch{
		PortNumber: wellknown.MTLSPort, Gateway: g.Namespace + "/" + gateway,
		Vhost: &networking.EnvoyFilter_RouteConfigurationMatch_VirtualHostMatch{DomainName: "*"},
	}
	out.ConfigPatches = append(out.ConfigPatches, &networking.EnvoyFilter_EnvoyConfigObjectPatch{
		ApplyTo: networking.EnvoyFilter_HTTP_ROUTE,
		Match: &networking.EnvoyFilter_EnvoyConfigObjectMatch{
			Context:     networking.EnvoyFilter_GATEWAY,
			ObjectTypes: &networking.EnvoyFilter_EnvoyConfigObjectMatch_RouteConfiguration{RouteConfiguration: match},
		},
		Patch: &networking.EnvoyFilter_Patch{Operation: networking.EnvoyFilter_Patch_INSERT_FIRST, Value: route},
	})
	return out
}

// lookups are the addresses of hosts that were asked for; filter and cluster share those of one name.
func lookups(name string) *structpb.Value {
	return nested("name", text(name), "dns_lookup_family", text("V4_PREFERRED"))
}

// outsideCluster speaks TLS to the host that a request is for, and takes only a certificate for that name from an authority
// that the system trusts. So the name that was allowed is the one that answers, whatever address the name has.
func outsideCluster(name string) *structpb.Struct {
	const options = "extensions.upstreams.http.v3.HttpProtocolOptions"
	return object(
		"name", text(name),
		"lb_policy", text("CLUSTER_PROVIDED"),
		"connect_timeout", text("5s"),
		"cluster_type", nested("name", text("envoy.clusters.dynamic_forward_proxy"), "typed_config", structpb.NewStructValue(
			typed("extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig", "dns_cache_config", lookups(name)))),
		"typed_extension_protocol_options", nested("envoy."+options, structpb.NewStructValue(typed(options,
			"upstream_http_protocol_options", nested("auto_sni", yes(), "auto_san_validation", yes()),
			"use_downstream_protocol_config", nested("http_protocol_options", nested(), "http2_protocol_options", nested()),
		))),
		"transport_socket", nested("name", text("envoy.transport_sockets.tls"), "typed_config", structpb.NewStructValue(
			typed("extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context", nested(
				"validation_context_sds_secret_config", sds("file-root:system"),
			)))),
	)
}

// egressPolicies are rules as Envoy has them. Without any, nobody gets out.
func egressPolicies(e *intent.Egress) *structpb.Value {
	policies := make(map[string]*structpb.Value, len(e.Rules))
	for i := range e.Rules {
		r := &e.Rules[i]
		principals := []*structpb.Value{nested("any", yes())}
		if !r.Anybody {
			principals = principals[:0]
			for _, c := range r.Callers {
				how := "exact"
				if c.Prefix {
					how = "prefix"
				}
				principals = append(principals, nested("authenticated", nested("principal_name", nested(how, text(c.Name)))))
			}
		}
		permissions := make([]*structpb.Value, len(r.To))
		for j := range r.To {
			permissions[j] = nested("and_rules", nested("rules", list(hostPermission(r.To[j].Host), operationPermission(&r.To[j].Operation))))
		}
		policies[strconv.Itoa(i)] = nested("principals", list(principals...), "permissions", list(permissions...))
	}
	return structpb.NewStructValue(&structpb.Struct{Fields: policies})
}

// hostPermission matches requests for hosts, in any case, with or without a port.
func hostPermission(h intent.HostMatch) *structpb.Value {
	const label, port = `[^:/@]*`, `(:[0-9]+)?`
	var pattern string
	switch {
	case h.Any:
		return nested("any", yes())
	case h.Prefix != "":
		pattern = "(?i)" + regexp.QuoteMeta(h.Prefix) + label + port
	case h.Suffix != "":
		pattern = "(?i)[^:/@]+" + regexp.QuoteMeta(h.Suffix) + port
	case h.Regex != "":
		pattern = "(?:" + h.Regex + ")" + port
	case h.Exact != "":
		pattern = "(?i)" + regexp.QuoteMeta(h.Exact) + port
	default:
		return nested("not_rule", nested("any", yes()))
	}
	return nested("header", nested("name", text(":authority"), "string_match", nested("safe_regex", nested("regex", text(pattern)))))
}

package istio

import (
	"net/netip"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"isthmus.dev/isthmus/internal/intent"
)

// upstreamCluster is the name of the Envoy cluster with which a gateway asks a service, and the cluster itself unless
// Istio has it: services of the mesh are asked as everybody asks them, with the mesh's mutual TLS, unless they have TLS of
// their own.
func upstreamCluster(u *intent.Upstream, name string) (string, *structpb.Struct) {
	switch {
	case u.Mesh:
		return "outbound|" + strconv.FormatUint(uint64(u.Port), 10) + "||" + u.Host, nil
	case u.Lost:
		return name, nil // asking what Envoy does not have fails at once
	}
	c := object(
		"name", text(name),
		"type", text("STRICT_DNS"),
		"dns_lookup_family", text("V4_PREFERRED"),
		"respect_dns_ttl", yes(),
		// A connection serves many questions, so that making one may take longer than each.
		"connect_timeout", duration(min(max(u.Timeout, time.Second), 5*time.Second)),
		"load_assignment", nested("cluster_name", text(name), "endpoints", list(nested("lb_endpoints", list(nested(
			"endpoint", nested("address", nested("socket_address", nested("address", text(u.Host), "port_value", number(float64(u.Port))))),
		))))),
	)
	if u.HTTP2 {
		c.Fields["typed_extension_protocol_options"] = nested("envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			structpb.NewStructValue(typed("extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config", nested("http2_protocol_options", nested(
				// Without pings, a service that is cut off would be asked over the dead connection for many minutes.
				"connection_keepalive", nested("interval", text("15s"), "timeout", text("5s")),
			)))))
	}
	if u.TLS != nil {
		c.Fields["transport_socket"] = nested("name", text("envoy.transport_sockets.tls"), "typed_config", structpb.NewStructValue(upstreamTLS(u.TLS)))
	}
	return name, c
}

// upstreamTLS trusts the authorities of a secret, of a file, or of the system.
func upstreamTLS(t *intent.ClientTLS) *structpb.Struct {
	common := object()
	ca := "file-root:system"
	switch {
	case t.Secret != "":
		ca = "kubernetes://" + t.Secret + "-cacert"
		if t.Mode == "MUTUAL" {
			common.Fields["tls_certificate_sds_secret_configs"] = list(sds("kubernetes://" + t.Secret))
		}
	case t.CA != "":
		ca = "file-root:" + t.CA
	}
	if t.Secret == "" && t.Mode == "MUTUAL" {
		common.Fields["tls_certificate_sds_secret_configs"] = list(sds("file-cert:" + t.Certificate + "~" + t.Key))
	}
	names := t.SubjectAltNames
	if len(names) == 0 {
		names = []string{t.Name}
	}
	var sans []*structpb.Value
	for _, n := range names {
		for _, kind := range []string{"DNS", "URI", "IP_ADDRESS"} {
			sans = append(sans, nested("san_type", text(kind), "matcher", nested("exact", text(n))))
		}
	}
	common.Fields["combined_validation_context"] = nested(
		"default_validation_context", nested("match_typed_subject_alt_names", list(sans...)),
		"validation_context_sds_secret_config", sds(ca),
	)
	out := typed("extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context", structpb.NewStructValue(common))
	if _, err := netip.ParseAddr(t.Name); err != nil { // an address is no server name
		out.Fields["sni"] = text(t.Name)
	}
	return out
}

// sds is a secret that Envoy asks for: of Kubernetes from istiod, of a file from the agent beside it.
func sds(name string) *structpb.Value {
	source := nested("ads", nested(), "resource_api_version", text("V3"))
	if len(name) > 5 && name[:5] == "file-" {
		source = nested("resource_api_version", text("V3"), "api_config_source", nested(
			"api_type", text("GRPC"), "transport_api_version", text("V3"), "set_node_on_first_message_only", yes(),
			"grpc_services", list(nested("envoy_grpc", nested("cluster_name", text("sds-grpc")))),
		))
	}
	return nested("name", text(name), "sds_config", source)
}

// duration is a time as protobuf's JSON has it.
func duration(d time.Duration) *structpb.Value {
	return text(strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s")
}

package istio

import (
	"google.golang.org/protobuf/types/known/structpb"
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/wellknown"
)

// receivedPatches change how proxies treat the connections that come to them.
func receivedPatches(r *intent.Received) []*networking.EnvoyFilter_EnvoyConfigObjectPatch {
	var out []*networking.EnvoyFilter_EnvoyConfigObjectPatch
	if r.KeepAlive != nil {
		out = append(out, mergePatch(networking.EnvoyFilter_LISTENER,
			&networking.EnvoyFilter_EnvoyConfigObjectMatch{Context: networking.EnvoyFilter_SIDECAR_INBOUND},
			object("socket_options", keepAliveOptions(r.KeepAlive))))
	}
	http, tcp := object(), object()
	if r.Connection != nil {
		http.Fields["max_connection_duration"] = duration(*r.Connection)
	}
	if r.Stream != nil {
		http.Fields["max_stream_duration"] = duration(*r.Stream)
	}
	if r.TCP != nil {
		tcp = typed("extensions.filters.network.tcp_proxy.v3.TcpProxy", "max_downstream_connection_duration", duration(*r.TCP))
	}
	patch := func(name string, config *structpb.Struct) {
		if r.Sidecars {
			out = append(out, mergePatch(networking.EnvoyFilter_NETWORK_FILTER, receivedBy(networking.EnvoyFilter_SIDECAR_INBOUND, 0, name), filterConfig(name, config)))
		}
		if r.Gateways { // what comes from outside the mesh is the gateway's own matter
			out = append(out, mergePatch(networking.EnvoyFilter_NETWORK_FILTER, receivedBy(networking.EnvoyFilter_GATEWAY, wellknown.MTLSPort, name), filterConfig(name, config)))
		}
	}
	if len(http.GetFields()) > 0 {
		patch("envoy.filters.network.http_connection_manager", typed("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
			"common_http_protocol_options", structpb.NewStructValue(http)))
	}
	if r.Stream != nil && r.Sidecars { // Istio's routes to applications say that there is no bound, and come before the filter's
		match := calledRoutes("")
		match.Context = networking.EnvoyFilter_SIDECAR_INBOUND
		out = append(out, mergePatch(networking.EnvoyFilter_HTTP_ROUTE, match,
			object("route", nested("max_stream_duration", nested("max_stream_duration", duration(*r.Stream))))))
	}
	if len(tcp.GetFields()) > 0 {
		patch("envoy.filters.network.tcp_proxy", tcp)
	}
	return out
}

func filterConfig(name string, config *structpb.Struct) *structpb.Struct {
	return object("name", text(name), "typed_config", structpb.NewStructValue(config))
}

// receivedBy matches a filter of the connections that come to a proxy, on a port of a gateway.
func receivedBy(context networking.EnvoyFilter_PatchContext, port uint32, filter string) *networking.EnvoyFilter_EnvoyConfigObjectMatch {
	return &networking.EnvoyFilter_EnvoyConfigObjectMatch{
		Context: context,
		ObjectTypes: &networking.EnvoyFilter_EnvoyConfigObjectMatch_Listener{Listener: &networking.EnvoyFilter_ListenerMatch{
			PortNumber:  port,
			FilterChain: &networking.EnvoyFilter_ListenerMatch_FilterChainMatch{Filter: &networking.EnvoyFilter_ListenerMatch_FilterMatch{Name: filter}},
		}},
	}
}

// keepAliveOptions are those of Linux's sockets, which the connections that a listener gets have from it.
func keepAliveOptions(k *intent.KeepAlive) *structpb.Value {
	const socket, tcp, keep, idle, interval, probes = 1, 6, 9, 4, 5, 6
	option := func(level, name float64, value uint32, says string) *structpb.Value {
		return nested("description", text(says), "level", number(level), "name", number(name), "int_value", number(float64(value)))
	}
	options := []*structpb.Value{option(socket, keep, 1, "keep-alive")}
	if k.Idle != 0 {
		options = append(options, option(tcp, idle, seconds(k.Idle), "seconds before the first probe"))
	}
	if k.Interval != 0 {
		options = append(options, option(tcp, interval, seconds(k.Interval), "seconds between probes"))
	}
	if k.Probes != 0 {
		options = append(options, option(tcp, probes, k.Probes, "probes before the connection is given up"))
	}
	return list(options...)
}

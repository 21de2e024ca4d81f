package istio

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/wellknown"
)

// httpFilter is a filter that stands before the routes of one server. It is in the filter chains of the server and does
// nothing there until the virtual host of the server's host switches it on, so that no other host meets it.
type httpFilter struct {
	name string
	// config of the filter, and what the virtual host says to it.
	config, host *structpb.Struct
	// clusters that it asks, beside those that Istio knows.
	clusters []*structpb.Struct
	// always is the configuration of a filter that is on for all requests.
	always *structpb.Struct
	// off says for which routes of the host it stays off; nil for none.
	off func(*intent.HTTPRoute) bool
}

// guardOf makes the filters of a server, in the order in which requests meet them.
func guardOf(s *intent.Server) []httpFilter {
	if s.Guard == nil {
		return nil
	}
	// The name is unique on the pods, and stays when the resource or its server is renamed: for as long as Envoy has a listener with the
	// new names and routes with the old ones, nothing would stand before the host.
	return filtersOf(s.Guard, "."+s.Host+"."+strconv.FormatUint(uint64(s.Port), 10))
}

// filtersOf are those of a guard, in the order in which requests meet them.
func filtersOf(g *intent.Guard, suffix string) []httpFilter {
	var filters []httpFilter
	if g.SignIn != nil {
		filters = append(filters, signInFilter(g.SignIn, suffix))
	}
	if g.JWT != nil {
		filters = append(filters, jwtFilter(g.JWT, suffix))
	}
	if g.External != nil {
		filters = append(filters, externalFilter(g.External, suffix))
	}
	if g.Rules != nil {
		filters = append(filters, rulesFilter(g.Rules, suffix))
	}
	if g.Limits != nil {
		filters = append(filters, limitsFilter(g.Limits, suffix))
	}
	return filters
}

// guards is the EnvoyFilter with everything that stands before the routes of a host, nil when that is nothing.
func guards(g *intent.Gateway, h *intent.GatewayHost) *networking.EnvoyFilter {
	var out *networking.EnvoyFilter
	for i := range g.Servers {
		s := &g.Servers[i]
		filters := guardOf(s)
		if s.Host != h.Host || len(filters) == 0 {
			continue
		}
		if out == nil {
			out = &networking.EnvoyFilter{WorkloadSelector: &networking.WorkloadSelector{Labels: g.Selector}}
		}
		perHost := make(map[string]*structpb.Value, len(filters))
		for _, f := range filters {
			for _, c := range f.clusters {
				out.ConfigPatches = append(out.ConfigPatches, clusterPatch(c))
			}
			for _, match := range chainsOf(s) {
				out.ConfigPatches = append(out.ConfigPatches, filterPatch(match, f))
			}
			perHost[f.name] = structpb.NewStructValue(f.host)
		}
		value := object("typed_per_filter_config", structpb.NewStructValue(&structpb.Struct{Fields: perHost}))
		for _, port := range portsOf(s) {
			out.ConfigPatches = append(out.ConfigPatches, hostPatch(h.Host, port, value))
			for i := range h.HTTP {
				if off := exceptions(&h.HTTP[i], port, filters); off != nil {
					out.ConfigPatches = append(out.ConfigPatches, routePatch(h.Host, port, h.HTTP[i].Name, off))
				}
			}
		}
	}
	return out
}

// exceptions is what a route on a port says to the filters that stay off for it, nil for none.
func exceptions(r *intent.HTTPRoute, port uint32, filters []httpFilter) *structpb.Struct {
	if !slices.Contains(r.Ports, port) {
		return nil
	}
	var off map[string]*structpb.Value
	for _, f := range filters {
		if f.off != nil && f.off(r) {
			if off == nil {
				off = map[string]*structpb.Value{}
			}
			off[f.name] = structpb.NewStructValue(typed("config.route.v3.FilterConfig", "disabled", yes()))
		}
	}
	if off == nil {
		return nil
	}
	return object("typed_per_filter_config", structpb.NewStructValue(&structpb.Struct{Fields: off}))
}

// portsOf are the ports on which a server is called, as its Gateway names them.
func portsOf(s *intent.Server) []uint32 {
	var ports []uint32
	if s.Port != 0 {
		ports = append(ports, s.Port)
	}
	if s.Internal {
		ports = append(ports, wellknown.MTLSPort)
	}
	return ports
}

// chainsOf matches the filter chains of a server. Those with TLS have the host as their server name, on both ports; one
// that speaks plain HTTP is shared by all hosts of its port.
func chainsOf(s *intent.Server) []*networking.EnvoyFilter_ListenerMatch {
	named := &networking.EnvoyFilter_ListenerMatch{FilterChain: manager(s.Host)}
	switch {
	case s.Protocol == intent.HTTPS && s.Host != "*" || s.Port == 0:
		return []*networking.EnvoyFilter_ListenerMatch{named}
	case s.Target == 0 || s.Host == "*": // which listener it is cannot be said, and elsewhere the filter does no harm
		return []*networking.EnvoyFilter_ListenerMatch{{FilterChain: manager("")}}
	}
	matches := []*networking.EnvoyFilter_ListenerMatch{{PortNumber: s.Target, FilterChain: manager("")}}
	if s.Internal {
		matches = append(matches, named)
	}
	return matches
}

// manager matches the end of the HTTP filters in chains with a server name, or in all.
func manager(sni string) *networking.EnvoyFilter_ListenerMatch_FilterChainMatch {
	return &networking.EnvoyFilter_ListenerMatch_FilterChainMatch{
		Sni: sni,
		Filter: &networking.EnvoyFilter_ListenerMatch_FilterMatch{
			Name:      "envoy.filters.network.http_connection_manager",
			SubFilter: &networking.EnvoyFilter_ListenerMatch_SubFilterMatch{Name: "envoy.filters.http.router"},
		},
	}
}

func filterPatch(match *networking.EnvoyFilter_ListenerMatch, f httpFilter) *networking.EnvoyFilter_EnvoyConfigObjectPatch {
	return &networking.EnvoyFilter_EnvoyConfigObjectPatch{
		ApplyTo: networking.EnvoyFilter_HTTP_FILTER,
		Match: &networking.EnvoyFilter_EnvoyConfigObjectMatch{
			Context:     networking.EnvoyFilter_GATEWAY,
			ObjectTypes: &networking.EnvoyFilter_EnvoyConfigObjectMatch_Listener{Listener: match},
		},
		Patch: &networking.EnvoyFilter_Patch{
			Operation: networking.EnvoyFilter_Patch_INSERT_BEFORE,
			Value:     object("name", text(f.name), "disabled", structpb.NewBoolValue(true), "typed_config", structpb.NewStructValue(f.config)),
		},
	}
}

// hostPatch adds to the virtual host of a host on a port.
func hostPatch(host string, port uint32, value *structpb.Struct) *networking.EnvoyFilter_EnvoyConfigObjectPatch {
	return routesPatch(networking.EnvoyFilter_VIRTUAL_HOST, port, &networking.EnvoyFilter_RouteConfigurationMatch_VirtualHostMatch{DomainName: host}, value)
}

// routePatch adds to one of its routes.
func routePatch(host string, port uint32, route string, value *structpb.Struct) *networking.EnvoyFilter_EnvoyConfigObjectPatch {
	return routesPatch(networking.EnvoyFilter_HTTP_ROUTE, port, &networking.EnvoyFilter_RouteConfigurationMatch_VirtualHostMatch{
		DomainName: host, Route: &networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch{Name: route},
	}, value)
}

func routesPatch(to networking.EnvoyFilter_ApplyTo, port uint32, host *networking.EnvoyFilter_RouteConfigurationMatch_VirtualHostMatch, value *structpb.Struct) *networking.EnvoyFilter_EnvoyConfigObjectPatch {
	return &networking.EnvoyFilter_EnvoyConfigObjectPatch{
		ApplyTo: to,
		Match: &networking.EnvoyFilter_EnvoyConfigObjectMatch{
			Context: networking.EnvoyFilter_GATEWAY,
			ObjectTypes: &networking.EnvoyFilter_EnvoyConfigObjectMatch_RouteConfiguration{
				RouteConfiguration: &networking.EnvoyFilter_RouteConfigurationMatch{PortNumber: port, Vhost: host},
			},
		},
		Patch: &networking.EnvoyFilter_Patch{Operation: networking.EnvoyFilter_Patch_MERGE, Value: value},
	}
}

func clusterPatch(c *structpb.Struct) *networking.EnvoyFilter_EnvoyConfigObjectPatch {
	return &networking.EnvoyFilter_EnvoyConfigObjectPatch{
		ApplyTo: networking.EnvoyFilter_CLUSTER,
		Match:   &networking.EnvoyFilter_EnvoyConfigObjectMatch{Context: networking.EnvoyFilter_GATEWAY},
		Patch:   &networking.EnvoyFilter_Patch{Operation: networking.EnvoyFilter_Patch_ADD, Value: c},
	}
}

// object makes a structure of names and values, one after the other.
func object(pairs ...any) *structpb.Struct {
	fields := make(map[string]*structpb.Value, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		fields[pairs[i].(string)] = pairs[i+1].(*structpb.Value)
	}
	return &structpb.Struct{Fields: fields}
}

// typed is an object with the type of an Envoy message, "envoy." and "type.googleapis.com/" left out.
func typed(message string, pairs ...any) *structpb.Struct {
	o := object(pairs...)
	o.Fields["@type"] = text("type.googleapis.com/envoy." + message)
	return o
}

func text(s string) *structpb.Value       { return structpb.NewStringValue(s) }
func number(n float64) *structpb.Value    { return structpb.NewNumberValue(n) }
func yes() *structpb.Value                { return structpb.NewBoolValue(true) }
func nested(pairs ...any) *structpb.Value { return structpb.NewStructValue(object(pairs...)) }

func list(values ...*structpb.Value) *structpb.Value {
	return structpb.NewListValue(&structpb.ListValue{Values: values})
}

func texts(all []string) *structpb.Value {
	values := make([]*structpb.Value, len(all))
	for i, s := range all {
		values[i] = text(s)
	}
	return list(values...)
}

// glob matches a text that may begin or end with "*".
func glob(s string) *structpb.Value {
	switch {
	case s == "*":
		return nested("safe_regex", nested("regex", text(".+")))
	case strings.HasSuffix(s, "*"):
		return nested("prefix", text(strings.TrimSuffix(s, "*")))
	case strings.HasPrefix(s, "*"):
		return nested("suffix", text(strings.TrimPrefix(s, "*")))
	}
	return nested("exact", text(s))
}

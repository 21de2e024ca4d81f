package istio

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"isthmus.dev/isthmus/internal/intent"
)

// Types of Envoy's messages about limits.
const (
	limitMessage = "extensions.filters.http.ratelimit.v3."
	podMessage   = "extensions.filters.http.local_ratelimit.v3."
)

// limitsFilter counts the requests of one server. The rules of a service are what the virtual host says: they change without
// a change of the listener. Those of a pod are the filter's own: the buckets of a virtual host would be full again whenever
// anything about any host of the port is changed.
func limitsFilter(l *intent.Limits, suffix string) httpFilter {
	f := httpFilter{name: "isthmus.limits" + suffix}
	if l.Service == nil {
		f.config, f.host = podLimits(l, f.name), switchOn()
		return f
	}
	at := l.Service.At
	name, cluster := upstreamCluster(at, f.name)
	if cluster != nil {
		f.clusters = append(f.clusters, cluster)
	}
	f.config = typed(limitMessage+"RateLimit",
		"domain", text(l.Service.Domain),
		"timeout", duration(at.Timeout),
		"failure_mode_deny", structpb.NewBoolValue(l.Service.FailClosed),
		"rate_limited_as_resource_exhausted", yes(), // a gRPC client would take UNAVAILABLE for a reason to try again
		"rate_limit_service", nested("transport_api_version", text("V3"), "grpc_service", nested("envoy_grpc", nested(
			"cluster_name", text(name), "authority", text(at.Host), // the name of Istio's cluster is none that servers take
		))),
	)
	if l.Service.Shipped {
		f.config.Fields["enable_x_ratelimit_headers"] = text("DRAFT_VERSION_03")
	}
	rules := make([]*structpb.Value, len(l.Rules))
	for i := range l.Rules {
		r := &l.Rules[i]
		var actions []*structpb.Value
		if l.Service.Shipped {
			actions = append(actions, genericKey("rule", r.Name), genericKey("limit", r.Limit))
		}
		for j := range r.Dimensions {
			actions = append(actions, askedActions(&r.Dimensions[j], l.Service.Shipped, j)...)
		}
		rules[i] = nested("actions", list(actions...))
	}
	f.host = typed(limitMessage+"RateLimitPerRoute", "rate_limits", list(rules...))
	return f
}

// switchOn switches a filter on that has nothing else to be told by a virtual host. Envoy would want an empty
// configuration for that, which Istio's API refuses for having no type; one of a type that is no filter's own, and optional,
// comes to the same.
func switchOn() *structpb.Struct {
	return typed("config.route.v3.FilterConfig",
		"config", nested("@type", text("type.googleapis.com/google.protobuf.Empty"), "value", nested()), "is_optional", yes())
}

// askedActions make the entries of a service's question that a dimension is about. A dimension that is not about a request
// makes none, and then the whole rule asks nothing.
func askedActions(d *intent.Dimension, shipped bool, index int) []*structpb.Value {
	if d.Kind == intent.AddressIn { // the service compares
		return []*structpb.Value{genericKey("remote_address_in", d.Range.String()), nested("remote_address", nested())}
	}
	key, value := d.Key, d.Value
	if shipped {
		key, value = ownEntry(d, index)
	}
	return []*structpb.Value{action(d, key, value)}
}

// ownEntry is the descriptor entry of a dimension where the choice is ours.
func ownEntry(d *intent.Dimension, index int) (key, value string) {
	switch d.Kind {
	case intent.EachValue:
		return "header:" + d.Header, ""
	case intent.HeaderMatch:
		return "header_match:" + strconv.Itoa(index), "true"
	case intent.AddressIn:
		return "masked_remote_address", d.Range.Masked().String()
	case intent.EachAddress:
		return "remote_address", ""
	}
	return "", ""
}

// action is what makes the entry of a dimension. An empty key is the one that Envoy gives by itself.
func action(d *intent.Dimension, key, value string) *structpb.Value {
	switch d.Kind {
	case intent.EachAddress:
		return nested("remote_address", nested())
	case intent.AddressIn:
		family := "v4_prefix_mask_len"
		if d.Range.Addr().Is6() {
			family = "v6_prefix_mask_len"
		}
		return nested("masked_remote_address", nested(family, number(float64(d.Range.Bits()))))
	case intent.EachValue:
		return nested("request_headers", nested("header_name", text(d.Header), "descriptor_key", text(key)))
	case intent.HeaderMatch:
		match := object("descriptor_value", text(value), "expect_match", structpb.NewBoolValue(!d.Not), "headers", headerTests(d.Headers))
		if key != "" {
			match.Fields["descriptor_key"] = text(key)
		}
		return nested("header_value_match", structpb.NewStructValue(match))
	case intent.SourceCluster:
		return nested("source_cluster", nested())
	case intent.DestinationCluster:
		return nested("destination_cluster", nested())
	}
	panic(fmt.Sprintf("dimension of unknown kind %d", d.Kind))
}

func genericKey(key, value string) *structpb.Value {
	return nested("generic_key", nested("descriptor_key", text(key), "descriptor_value", text(value)))
}

func headerTests(tests []intent.HeaderTest) *structpb.Value {
	values := make([]*structpb.Value, len(tests))
	for i, t := range tests {
		h := object("name", text(t.Name))
		switch {
		case t.Match == nil:
			h.Fields["present_match"] = yes()
		case t.Match.Prefix != "":
			h.Fields["string_match"] = nested("prefix", text(t.Match.Prefix))
		case t.Match.Regex != "":
			h.Fields["string_match"] = nested("safe_regex", nested("regex", text(t.Match.Regex)))
		default:
			h.Fields["string_match"] = nested("exact", text(t.Match.Exact))
		}
		values[i] = structpb.NewStructValue(h)
	}
	return list(values...)
}

// podLimits is a token bucket for each rule, or for each value that a rule tells apart.
func podLimits(l *intent.Limits, name string) *structpb.Struct {
	var rules, descriptors []*structpb.Value
	for i := range l.Rules {
		r := &l.Rules[i]
		// Two equal descriptors would be refused; with the rule's number in them no two are equal.
		id := strconv.Itoa(i)
		actions := []*structpb.Value{genericKey("rule", id)}
		entries := []*structpb.Value{nested("key", text("rule"), "value", text(id))}
		for j := range r.Dimensions {
			d := &r.Dimensions[j]
			key, value := ownEntry(d, j)
			actions = append(actions, action(d, key, value))
			entry := object("key", text(key))
			if value != "" { // an entry without a value stands for all values
				entry.Fields["value"] = text(value)
			}
			entries = append(entries, structpb.NewStructValue(entry))
		}
		rules = append(rules, nested("actions", list(actions...)))
		descriptors = append(descriptors, nested("entries", list(entries...), "token_bucket", bucket(r.Bucket)))
	}
	always := nested("default_value", nested("numerator", number(100)))
	return typed(podMessage+"LocalRateLimit",
		"stat_prefix", text(name),
		"filter_enabled", always, "filter_enforced", always,
		"rate_limited_as_resource_exhausted", yes(),
		"rate_limits", list(rules...),
		"descriptors", list(descriptors...),
		"max_dynamic_descriptors", number(float64(l.Values)),
		// Requests that no rule counts have to have a bucket too. It is never empty.
		"token_bucket", bucket(intent.Bucket{Max: math.MaxUint32, PerFill: math.MaxUint32, Fill: time.Second}),
		"always_consume_default_token_bucket", structpb.NewBoolValue(false),
	)
}

func bucket(b intent.Bucket) *structpb.Value {
	return nested("max_tokens", number(float64(b.Max)), "tokens_per_fill", number(float64(b.PerFill)), "fill_interval", duration(b.Fill))
}

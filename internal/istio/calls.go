package istio

import (
	"maps"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
)

// everybody: Envoy's least share of healthy endpoints, in percent. With fewer it calls all of them, so that ejection never is an outage.
const everybody = 1

// trafficFilter changes what proxies have of the calls that they make and get, nil when that is nothing. It adds to what Istio makes of the rules of everybody
// else, which a DestinationRule or VirtualService of the caller's namespace would hide, and goes from what is said of all hosts to
// what is said of one.
func trafficFilter(o *intent.Outgoing) *networking.EnvoyFilter {
	out := &networking.EnvoyFilter{}
	if o.Received != nil {
		out.ConfigPatches = receivedPatches(o.Received)
	}
	for i := range o.Calls {
		c := &o.Calls[i]
		if v := clusterChanges(c); v != nil {
			out.ConfigPatches = append(out.ConfigPatches, callPatch(networking.EnvoyFilter_CLUSTER, calledClusters(c.Host), v))
		}
		if v := routeChanges(c); v != nil {
			out.ConfigPatches = append(out.ConfigPatches, callPatch(networking.EnvoyFilter_HTTP_ROUTE, calledRoutes(c.Host), v))
		}
	}
	if len(out.ConfigPatches) == 0 {
		return nil
	}
	return out
}

// callPatch changes what sidecars have of calls. A list takes the place of the one that was there, which would win where it stays.
func callPatch(to networking.EnvoyFilter_ApplyTo, match *networking.EnvoyFilter_EnvoyConfigObjectMatch, value *structpb.Struct) *networking.EnvoyFilter_EnvoyConfigObjectPatch {
	match.Context = networking.EnvoyFilter_SIDECAR_OUTBOUND
	return mergePatch(to, match, value)
}

func mergePatch(to networking.EnvoyFilter_ApplyTo, match *networking.EnvoyFilter_EnvoyConfigObjectMatch, value *structpb.Struct) *networking.EnvoyFilter_EnvoyConfigObjectPatch {
	operation := networking.EnvoyFilter_Patch_MERGE
	if hasList(value) {
		operation = networking.EnvoyFilter_Patch_MERGE_AND_REPLACE_LIST // Istio has it since 1.31
	}
	return &networking.EnvoyFilter_EnvoyConfigObjectPatch{
		ApplyTo: to, Match: match, Patch: &networking.EnvoyFilter_Patch{Operation: operation, Value: value},
	}
}

func hasList(s *structpb.Struct) bool {
	for v := range maps.Values(s.GetFields()) {
		if v.GetListValue() != nil || hasList(v.GetStructValue()) {
			return true
		}
	}
	return false
}

// calledClusters are those of a host, on all ports and with all subsets; of all hosts when it is empty.
func calledClusters(host string) *networking.EnvoyFilter_EnvoyConfigObjectMatch {
	out := &networking.EnvoyFilter_EnvoyConfigObjectMatch{}
	if host != "" {
		out.ObjectTypes = &networking.EnvoyFilter_EnvoyConfigObjectMatch_Cluster{Cluster: &networking.EnvoyFilter_ClusterMatch{Service: host}}
	}
	return out
}

// calledRoutes are those that lead somewhere: the others would become routes to nowhere, which Envoy refuses.
func calledRoutes(host string) *networking.EnvoyFilter_EnvoyConfigObjectMatch {
	return &networking.EnvoyFilter_EnvoyConfigObjectMatch{
		ObjectTypes: &networking.EnvoyFilter_EnvoyConfigObjectMatch_RouteConfiguration{RouteConfiguration: &networking.EnvoyFilter_RouteConfigurationMatch{
			Vhost: &networking.EnvoyFilter_RouteConfigurationMatch_VirtualHostMatch{
				DomainName: host,
				Route:      &networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch{Action: networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch_ROUTE},
			},
		}},
	}
}

// clusterChanges is what a call says about connections, nil for nothing.
func clusterChanges(c *intent.Call) *structpb.Struct {
	out := object()
	if c.Pool.Connect != 0 {
		out.Fields["connect_timeout"] = duration(c.Pool.Connect)
	}
	if k := c.KeepAlive; k != nil {
		alive := object()
		for name, n := range map[string]uint32{"keepalive_probes": k.Probes, "keepalive_time": seconds(k.Idle), "keepalive_interval": seconds(k.Interval)} {
			if n != 0 {
				alive.Fields[name] = number(float64(n))
			}
		}
		out.Fields["upstream_connection_options"] = nested("tcp_keepalive", structpb.NewStructValue(alive))
	}
	if c.Pool.MaxConnections != 0 || c.Pool.MaxRequests != 0 {
		out.Fields["circuit_breakers"] = nested("thresholds", list(thresholds(c.Pool)))
	}
	if c.Ejection != nil {
		out.Fields["outlier_detection"] = outliers(c.Ejection)
		out.Fields["common_lb_config"] = nested("healthy_panic_threshold", nested("value", number(everybody)))
	}
	if len(out.GetFields()) == 0 {
		return nil
	}
	return out
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// thresholds are Istio's own, which have no bounds, with bounds.
func thresholds(p intent.Pool) *structpb.Value {
	bound := func(n uint32) *structpb.Value {
		if n == 0 {
			n = math.MaxUint32
		}
		return number(float64(n))
	}
	return nested(
		"max_connections", bound(p.MaxConnections), "max_requests", bound(p.MaxRequests),
		"max_pending_requests", bound(0), "max_retries", bound(0), "track_remaining", yes(),
	)
}

func outliers(e *intent.Ejection) *structpb.Value {
	// Endpoints that are worse than others are not looked for: Envoy would, of five and more.
	out := object("enforcing_success_rate", number(0), "max_ejection_percent", number(float64(e.MaxPercent)))
	count := func(name string, errors intent.Errors) {
		if errors.Count != 0 {
			out.Fields[name] = number(float64(errors.Count))
		}
		if errors.Percent != nil {
			out.Fields["enforcing_"+name] = number(float64(*errors.Percent))
		}
	}
	count("consecutive_5xx", e.Any)
	count("consecutive_gateway_failure", e.Gateway)
	count("consecutive_local_origin_failure", e.Local)
	for name, d := range map[string]time.Duration{"interval": e.Interval, "base_ejection_time": e.Base, "max_ejection_time": e.Max} {
		if d != 0 {
			out.Fields[name] = duration(d)
		}
	}
	if e.Split {
		out.Fields["split_external_local_origin_errors"] = yes()
		out.Fields["enforcing_local_origin_success_rate"] = number(0)
	}
	return structpb.NewStructValue(out)
}

// routeChanges is what a call says about requests, nil for nothing.
func routeChanges(c *intent.Call) *structpb.Struct {
	action := object()
	if c.Timeout != nil {
		action.Fields["timeout"] = duration(*c.Timeout)
	}
	if c.Retries != nil {
		action.Fields["retry_policy"] = structpb.NewStructValue(retryPolicy(c.Retries))
	}
	if len(action.GetFields()) == 0 {
		return nil
	}
	return object("route", structpb.NewStructValue(action))
}

func retryPolicy(r *intent.Retries) *structpb.Struct {
	if r.Attempts == 0 {
		// A number of 0 does not replace another when messages are merged. This asks for headers of which none is named.
		return object("retry_on", text("retriable-headers"))
	}
	out := object("num_retries", number(float64(r.Attempts)))
	if r.PerTry != 0 {
		out.Fields["per_try_timeout"] = duration(r.PerTry)
	}
	on := r.On
	if len(r.Codes) > 0 {
		codes := make([]*structpb.Value, len(r.Codes))
		for i, n := range r.Codes {
			codes[i] = number(float64(n))
		}
		out.Fields["retriable_status_codes"] = list(codes...)
		on = append(on[:len(on):len(on)], "retriable-status-codes")
	}
	if len(on) > 0 {
		out.Fields["retry_on"] = text(strings.Join(on, ","))
	}
	if r.Base != 0 {
		back := object("base_interval", duration(r.Base))
		if r.Max != 0 {
			back.Fields["max_interval"] = duration(r.Max)
		}
		out.Fields["retry_back_off"] = structpb.NewStructValue(back)
	}
	return out
}

// othersRule says what holds for those of a namespace whose rule another one would hide, although it is not for them.
func othersRule(c *intent.Call) *networking.DestinationRule {
	own := intent.Call{Host: c.Host, Global: c.Global, Versions: c.Versions}
	return callRule(&own)
}

// callRule says of one host what cannot be said of all in one place. It hides the rule of everybody else from the namespace, and
// so says all that this says.
func callRule(c *intent.Call) *networking.DestinationRule {
	policy := &networking.TrafficPolicy{}
	if c.Global == nil {
		ps := &networking.TrafficPolicy_PortTrafficPolicy{}
		changePolicy(ps, c)
		policy.LoadBalancer, policy.ConnectionPool, policy.Tls = ps.LoadBalancer, ps.ConnectionPool, ps.Tls
	} else {
		policy = policyOf(c.Host, c.Global.Ports, c.Global.Failover, c.Global.Spread)
		for _, ps := range policy.PortLevelSettings {
			changePolicy(ps, c)
		}
	}
	rule := &networking.DestinationRule{Host: c.Host, ExportTo: []string{"."}, TrafficPolicy: policy}
	if c.Versions != nil {
		addVersions(rule, *c.Versions, c)
	}
	if proto.Size(rule.TrafficPolicy) == 0 {
		rule.TrafficPolicy = nil // Istio refuses one that says nothing
	}
	return rule
}

func changePolicy(ps *networking.TrafficPolicy_PortTrafficPolicy, c *intent.Call) {
	if c.MutualTLS && ps.Tls == nil {
		ps.Tls = &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_ISTIO_MUTUAL}
	}
	if c.Pool.PerConnection != 0 {
		if ps.ConnectionPool == nil {
			ps.ConnectionPool = &networking.ConnectionPoolSettings{}
		}
		if ps.ConnectionPool.Http == nil {
			ps.ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{}
		}
		ps.ConnectionPool.Http.MaxRequestsPerConnection = int32(c.Pool.PerConnection)
	}
	if c.Balance == nil {
		return
	}
	if ps.LoadBalancer == nil {
		ps.LoadBalancer = &networking.LoadBalancerSettings{}
	}
	if h := c.Balance.Hash; h != nil {
		ps.LoadBalancer.LbPolicy = &networking.LoadBalancerSettings_ConsistentHash{ConsistentHash: consistentHash(h)}
		return
	}
	ps.LoadBalancer.LbPolicy = &networking.LoadBalancerSettings_Simple{
		Simple: networking.LoadBalancerSettings_SimpleLB(networking.LoadBalancerSettings_SimpleLB_value[c.Balance.Simple]),
	}
}

func consistentHash(h *intent.Hash) *networking.LoadBalancerSettings_ConsistentHashLB {
	out := &networking.LoadBalancerSettings_ConsistentHashLB{}
	switch {
	case h.Header != "":
		out.HashKey = &networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName{HttpHeaderName: h.Header}
	case h.Query != "":
		out.HashKey = &networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName{HttpQueryParameterName: h.Query}
	case h.Cookie != nil:
		out.HashKey = &networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie{HttpCookie: &networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie{
			Name: h.Cookie.Name, Path: h.Cookie.Path, Ttl: durationpb.New(h.Cookie.Lifetime),
		}}
	default:
		out.HashKey = &networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp{UseSourceIp: h.SourceIP}
	}
	switch {
	case h.Ring != 0:
		out.HashAlgorithm = &networking.LoadBalancerSettings_ConsistentHashLB_RingHash_{RingHash: &networking.LoadBalancerSettings_ConsistentHashLB_RingHash{MinimumRingSize: h.Ring}}
	case h.Table != 0:
		out.HashAlgorithm = &networking.LoadBalancerSettings_ConsistentHashLB_Maglev{Maglev: &networking.LoadBalancerSettings_ConsistentHashLB_MagLev{TableSize: h.Table}}
	}
	return out
}

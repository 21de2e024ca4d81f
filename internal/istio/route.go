package istio

import (
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderRoute makes the DestinationRule with the versions of a service, and the VirtualService with what goes to which, for
// callers in all namespaces. Names of Services are unique in their namespace, and have no dot that could become a dash.
func renderRoute(in *intent.Route) []config {
	dress := newDress(in.Metadata, in.Workspace, "", []resource.FQN{in.FQN})
	name := wellknown.RoutePrefix + in.Key.Name
	var configs []config
	if rule := destinationRule(in.Host, in.Versions); rule != nil {
		rule.ExportTo = []string{"*"}
		configs = append(configs, config{
			apiVersion: networkingV1, kind: "DestinationRule", namespace: in.Key.Namespace, name: name,
			spec: rule, wave: waveDestinationRule, dress: dress,
		})
	}
	if len(in.HTTP)+len(in.TLS)+len(in.TCP) > 0 { // Istio refuses a VirtualService without a route
		configs = append(configs, config{
			apiVersion: networkingV1, kind: "VirtualService", namespace: in.Key.Namespace, name: name,
			spec: routeService(in), wave: waveVirtualService, dress: dress,
		})
	}
	return configs
}

func routeService(in *intent.Route) *networking.VirtualService {
	vs := &networking.VirtualService{Hosts: []string{in.Host}, ExportTo: []string{"*"}}
	for i := range in.HTTP {
		vs.Http = append(vs.Http, httpRoute(&in.HTTP[i]))
	}
	for _, f := range in.TLS {
		r := &networking.TLSRoute{Route: routeTo(f.To)}
		for _, p := range f.Ports {
			r.Match = append(r.Match, &networking.TLSMatchAttributes{Port: p, SniHosts: []string{in.Host}})
		}
		vs.Tls = append(vs.Tls, r)
	}
	for _, f := range in.TCP {
		r := &networking.TCPRoute{Route: routeTo(f.To)}
		for _, p := range f.Ports {
			r.Match = append(r.Match, &networking.L4MatchAttributes{Port: p})
		}
		vs.Tcp = append(vs.Tcp, r)
	}
	return vs
}

// destinationRule says what versions a service has, and who gets to the same pod; nil when there is nothing to say.
func destinationRule(host string, v intent.Versions) *networking.DestinationRule {
	rule := &networking.DestinationRule{Host: host}
	if v.Sticky != nil || len(v.Ports) > 0 {
		rule.TrafficPolicy = &networking.TrafficPolicy{}
	}
	addVersions(rule, v, &intent.Call{})
	if rule.TrafficPolicy == nil && len(rule.Subsets) == 0 {
		return nil
	}
	return rule
}

// addVersions adds to a rule with a policy what there is to say of the versions of a service. What its callers want comes before what the
// service wants, and has to be said again wherever a part of the policy takes the place of the whole.
func addVersions(rule *networking.DestinationRule, v intent.Versions, c *intent.Call) {
	if v.Sticky != nil && c.Balance == nil {
		rule.TrafficPolicy.LoadBalancer = sticky(v.Sticky)
	}
	if ports := stickyPorts(v.Ports, c); ports != nil {
		rule.TrafficPolicy.PortLevelSettings = ports
	}
	for _, s := range v.Subsets {
		out := &networking.Subset{Name: s.Name, Labels: s.Labels}
		if ports := stickyPorts(s.Ports, c); ports != nil {
			out.TrafficPolicy = &networking.TrafficPolicy{PortLevelSettings: ports}
		}
		rule.Subsets = append(rule.Subsets, out)
	}
}

func stickyPorts(ports []intent.PortSticky, c *intent.Call) []*networking.TrafficPolicy_PortTrafficPolicy {
	if c.Balance != nil {
		return nil
	}
	var out []*networking.TrafficPolicy_PortTrafficPolicy
	for i := range ports {
		ps := &networking.TrafficPolicy_PortTrafficPolicy{Port: &networking.PortSelector{Number: ports[i].Port}, LoadBalancer: sticky(&ports[i].Hash)}
		changePolicy(ps, c)
		out = append(out, ps)
	}
	return out
}

func sticky(h *intent.Hash) *networking.LoadBalancerSettings {
	return &networking.LoadBalancerSettings{LbPolicy: &networking.LoadBalancerSettings_ConsistentHash{ConsistentHash: consistentHash(h)}}
}

func fault(in *intent.Fault) *networking.HTTPFaultInjection {
	if in == nil {
		return nil
	}
	out := &networking.HTTPFaultInjection{}
	if in.Status != 0 || in.GRPC != "" {
		out.Abort = &networking.HTTPFaultInjection_Abort{Percentage: &networking.Percent{Value: in.AbortPart}}
		if in.Status != 0 {
			out.Abort.ErrorType = &networking.HTTPFaultInjection_Abort_HttpStatus{HttpStatus: int32(in.Status)}
		} else {
			out.Abort.ErrorType = &networking.HTTPFaultInjection_Abort_GrpcStatus{GrpcStatus: in.GRPC}
		}
	}
	if in.Delay != 0 {
		out.Delay = &networking.HTTPFaultInjection_Delay{
			Percentage:    &networking.Percent{Value: in.DelayPart},
			HttpDelayType: &networking.HTTPFaultInjection_Delay_FixedDelay{FixedDelay: durationpb.New(in.Delay)},
		}
	}
	return out
}

func mirrors(in []intent.Mirror) []*networking.HTTPMirrorPolicy {
	var out []*networking.HTTPMirrorPolicy
	for _, m := range in {
		out = append(out, &networking.HTTPMirrorPolicy{Destination: destination(m.Destination), Percentage: &networking.Percent{Value: m.Part}})
	}
	return out
}

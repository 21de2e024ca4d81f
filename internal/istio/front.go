package istio

import (
	networking "istio.io/api/networking/v1alpha3"
	istiotype "istio.io/api/type/v1beta1"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderFront makes, for each host that a gateway calls in a way of its own, a DestinationRule for the gateway's pods. It
// hides the rule of all other callers from everything in the namespace, also from what it does not select, so that a
// second one says the same as that (istio's push context keeps one rule set per namespace and host).
func renderFront(f *intent.Front) []config {
	dress := newDress(f.Metadata, f.Workspace, f.Group, []resource.FQN{f.Key.FQN})
	var configs []config
	add := func(name string, spec *networking.DestinationRule) {
		spec.ExportTo = []string{"."}
		configs = append(configs, config{
			apiVersion: networkingV1, kind: "DestinationRule", namespace: f.Namespace, name: name,
			spec: spec, wave: waveDestinationRule, dress: dress,
		})
	}
	for i := range f.Hosts {
		h := &f.Hosts[i]
		add(wellknown.Tier1Prefix+h.Name, &networking.DestinationRule{
			Host: h.Host, WorkloadSelector: workloads(f.Selector),
			TrafficPolicy: policyOf(h.Host, h.Ports, h.Failover, h.Spread), Subsets: subsets(h),
		})
		if h.Ruled {
			continue // of two rules for everybody else Istio takes the older one
		}
		add(wellknown.GlobalPrefix+h.Name, &networking.DestinationRule{Host: h.Host, TrafficPolicy: policyOf(h.Host, h.Ports, h.Mesh, h.Spread)})
	}
	return configs
}

func subsets(h *intent.FrontHost) []*networking.Subset {
	var out []*networking.Subset
	for _, s := range h.Subsets {
		out = append(out, &networking.Subset{Name: s.Name, Labels: s.Labels, TrafficPolicy: policyOf(h.Host, h.Ports, h.Failover, s.Spread)})
	}
	return out
}

func workloads(labels map[string]string) *istiotype.WorkloadSelector {
	return &istiotype.WorkloadSelector{MatchLabels: labels}
}

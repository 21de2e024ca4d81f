package istio

import (
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderOutgoing makes the Sidecar of each namespace whose calls of unknown hosts go to a gateway. Istio takes one for a
// namespace: with the name that people give to theirs, an older one is found and left alone.
func renderOutgoing(o *intent.Outgoing) []config {
	dress := newDress(o.Metadata, o.Workspace, "", []resource.FQN{o.Key.FQN})
	configs := make([]config, len(o.Namespaces))
	for i, ns := range o.Namespaces {
		configs[i] = config{
			apiVersion: networkingV1, kind: "Sidecar", namespace: ns, name: "default",
			spec: &networking.Sidecar{
				Egress: []*networking.IstioEgressListener{{Hosts: []string{"*/*"}}},
				OutboundTrafficPolicy: &networking.OutboundTrafficPolicy{
					Mode:        networking.OutboundTrafficPolicy_ALLOW_ANY,
					EgressProxy: &networking.Destination{Host: o.Egress, Port: &networking.PortSelector{Number: wellknown.MTLSPort}},
				},
			},
			wave: waveSidecar, dress: dress,
		}
	}
	return configs
}

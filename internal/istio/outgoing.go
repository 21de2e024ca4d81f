package istio

import (
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderOutgoing makes the Sidecar of each namespace whose calls of unknown hosts go to a gateway, or that knows some hosts
// only. Istio takes one for a namespace: with the name that people give to theirs, an older one is found and left alone.
func renderOutgoing(o *intent.Outgoing) []config {
	dress := newDress(o.Metadata, o.Workspace, "", []resource.FQN{o.Key.FQN})
	configs := make([]config, len(o.Namespaces))
	for i, ns := range o.Namespaces {
		spec := &networking.Sidecar{Egress: []*networking.IstioEgressListener{{Hosts: o.Visible}}}
		if o.Egress != "" {
			spec.OutboundTrafficPolicy = &networking.OutboundTrafficPolicy{
				Mode:        networking.OutboundTrafficPolicy_ALLOW_ANY,
				EgressProxy: &networking.Destination{Host: o.Egress, Port: &networking.PortSelector{Number: wellknown.MTLSPort}},
			}
		}
		configs[i] = config{apiVersion: networkingV1, kind: "Sidecar", namespace: ns, name: "default", spec: spec, wave: waveSidecar, dress: dress}
	}
	return configs
}

package istio

import (
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderOutgoing makes what each namespace has of its own about calls: the Sidecar of one whose calls of unknown hosts go to a
// gateway, or that knows some hosts only; and how hosts are called. Istio takes one Sidecar for a namespace: with the name
// that people give to theirs, an older one is found and left alone.
func renderOutgoing(o *intent.Outgoing) []config {
	dress := newDress(o.Metadata, o.Workspace, "", []resource.FQN{o.Key.FQN})
	var configs []config
	each := func(kind, name string, spec proto.Message, wave uint32) {
		apiVersion := networkingV1
		if kind == "EnvoyFilter" {
			apiVersion = "networking.istio.io/v1alpha3"
		}
		for _, ns := range o.Namespaces {
			configs = append(configs, config{apiVersion: apiVersion, kind: kind, namespace: ns, name: name, spec: spec, wave: wave, dress: dress})
		}
	}
	if len(o.Visible) > 0 {
		each("Sidecar", "default", sidecar(o), waveSidecar)
	}
	if f := callsFilter(o.Calls); f != nil {
		each("EnvoyFilter", "traffic", f, waveEnvoyFilter)
	}
	for i := range o.Calls {
		if c := &o.Calls[i]; c.NeedsRule() {
			each("DestinationRule", "traffic-"+c.Name, callRule(c), waveDestinationRule)
		}
	}
	return configs
}

func sidecar(o *intent.Outgoing) *networking.Sidecar {
	spec := &networking.Sidecar{Egress: []*networking.IstioEgressListener{{Hosts: o.Visible}}}
	if o.Egress != "" {
		spec.OutboundTrafficPolicy = &networking.OutboundTrafficPolicy{
			Mode:        networking.OutboundTrafficPolicy_ALLOW_ANY,
			EgressProxy: &networking.Destination{Host: o.Egress, Port: &networking.PortSelector{Number: wellknown.MTLSPort}},
		}
	}
	return spec
}

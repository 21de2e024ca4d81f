package istio

import (
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderOutgoing makes what each namespace has of its own about calls: the Sidecar of one whose calls of unknown hosts go to a
// gateway, or that knows some hosts only; and how hosts are called. Istio takes one Sidecar for a namespace: with the name
// that people give to theirs, an older one is found and left alone. The pods of one service have objects of their own.
func renderOutgoing(o *intent.Outgoing) []config {
	dress := newDress(o.Metadata, o.Workspace, "", o.Owners)
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
	known, name := "default", "traffic"
	if o.Service != "" {
		name += "-" + o.Service
		known = name
	}
	if len(o.Visible) > 0 {
		each("Sidecar", known, sidecar(o), waveSidecar)
	}
	if f := trafficFilter(o); f != nil {
		if o.Service != "" {
			f.WorkloadSelector = &networking.WorkloadSelector{Labels: o.Selector}
			f.Priority = 1 // after that of the namespace
		}
		each("EnvoyFilter", name, f, waveEnvoyFilter)
	}
	for i := range o.Calls {
		c := &o.Calls[i]
		if !c.NeedsRule() {
			continue
		}
		rule := callRule(c)
		if o.Service != "" {
			rule.WorkloadSelector = workloads(o.Selector)
		}
		each("DestinationRule", name+"-"+c.Name, rule, waveDestinationRule)
		if c.Alone && (c.Global != nil || c.Versions != nil) {
			each("DestinationRule", name+"-"+c.Name+"-others", othersRule(c), waveDestinationRule)
		}
	}
	return configs
}

func sidecar(o *intent.Outgoing) *networking.Sidecar {
	spec := &networking.Sidecar{Egress: []*networking.IstioEgressListener{{Hosts: o.Visible}}}
	if o.Service != "" {
		spec.WorkloadSelector = &networking.WorkloadSelector{Labels: o.Selector}
	}
	if o.Egress != "" {
		spec.OutboundTrafficPolicy = &networking.OutboundTrafficPolicy{
			Mode:        networking.OutboundTrafficPolicy_ALLOW_ANY,
			EgressProxy: &networking.Destination{Host: o.Egress, Port: &networking.PortSelector{Number: wellknown.MTLSPort}},
		}
	}
	return spec
}

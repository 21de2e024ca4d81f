package istio

import (
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// nowhere is a destination that does not exist: Envoy closes connections that are led there.
const nowhere = "nowhere.isthmus.internal"

// renderHidden answers calls of hidden hosts in the sidecars of the workspace. It is beside the ServiceEntries of the hosts, because every
// Sidecar that knows these knows it too, and it takes nothing away: a host that a sidecar does not know is called past the mesh.
func renderHidden(h *intent.Hidden) []config {
	spec := &networking.VirtualService{ExportTo: h.Namespaces}
	lost := &networking.Destination{Host: nowhere}
	for _, host := range h.Hosts {
		spec.Hosts = append(spec.Hosts, host.Host)
		for _, p := range host.Ports {
			switch p.Protocol {
			case intent.HTTP:
				if len(spec.Http) == 0 {
					spec.Http = []*networking.HTTPRoute{{Name: "hidden", DirectResponse: &networking.HTTPDirectResponse{Status: 503}}}
				}
			case intent.Passthrough:
				spec.Tls = append(spec.Tls, &networking.TLSRoute{
					Match: []*networking.TLSMatchAttributes{{Port: p.Number, SniHosts: []string{host.Host}}},
					Route: []*networking.RouteDestination{{Destination: lost}},
				})
			default:
				spec.Tcp = withPort(spec.Tcp, p.Number, lost)
			}
		}
	}
	return []config{{
		apiVersion: networkingV1, kind: "VirtualService", namespace: wellknown.GlobalNamespace, name: "hidden-" + h.Name, spec: spec,
		wave: waveVirtualService, dress: newDress(intent.Metadata{}, h.Workspace, "", []resource.FQN{h.Setting}),
	}}
}

// withPort adds a route for a port, once.
func withPort(routes []*networking.TCPRoute, port uint32, to *networking.Destination) []*networking.TCPRoute {
	for _, r := range routes {
		if r.Match[0].Port == port {
			return routes
		}
	}
	return append(routes, &networking.TCPRoute{
		Match: []*networking.L4MatchAttributes{{Port: port}},
		Route: []*networking.RouteDestination{{Destination: to}},
	})
}

package istio

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// renderDirect makes the object that a user has written, in the place of its kind among the others. A Gateway gets a server for callers
// within the mesh: routes that are bound to the Gateway hold for it, too, without being changed.
func renderDirect(d *intent.DirectObject) []config {
	spec := d.Spec
	if g, ok := spec.(*networking.Gateway); ok && len(d.Called) > 0 {
		own := append(slices.Clone(g.GetServers()), &networking.Server{Name: "isthmus-mtls", Hosts: d.Called, Port: directPort(), Tls: mutualOfMesh()})
		spec = &networking.Gateway{Selector: g.GetSelector(), Servers: own}
	}
	return []config{{
		apiVersion: d.APIVersion, kind: d.Kind, namespace: d.Namespace, name: d.Name, spec: spec, wave: waveOf(d.Kind),
		dress: newDress(d.Metadata, d.Workspace, d.Group, []resource.FQN{d.Key.FQN}),
	}}
}

// directPort is named so that no port of the user's has the name: it has to be unique in a Gateway.
func directPort() *networking.Port {
	p := mtlsPort("HTTPS")
	p.Name = "isthmus-" + p.Name
	return p
}

// waveOf is the wave of a kind of Istio's. What guards is there before what it guards.
func waveOf(kind string) uint32 {
	switch kind {
	case "ServiceEntry":
		return waveServiceEntry
	case "DestinationRule":
		return waveDestinationRule
	case "Gateway":
		return waveGateway
	case "VirtualService":
		return waveVirtualService
	case "AuthorizationPolicy":
		return waveAccess
	case "PeerAuthentication":
		return waveMTLS
	case "Sidecar":
		return waveSidecar
	}
	return waveEnvoyFilter
}

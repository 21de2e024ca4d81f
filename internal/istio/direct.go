package istio

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderDirect makes the object that a user has written, in the place of its kind among the others. A Gateway gets a server for callers
// within the mesh: routes that are bound to the Gateway hold for it, too, without being changed.
func renderDirect(d *intent.DirectObject) []config {
	spec := d.Spec
	if g, ok := spec.(*networking.Gateway); ok && len(d.Called) > 0 {
		own := slices.Clone(g.GetServers())
		for _, h := range d.Called { // one for each: Istio leaves out a server with a host that another Gateway of the pods has, too
			sum := sha256.Sum256([]byte(h))
			name := directPort + "-" + hex.EncodeToString(sum[:4]) // names of routes have it, and must not change with other hosts
			own = append(own, &networking.Server{
				Name: name, Hosts: []string{h}, Port: &networking.Port{Name: name, Number: wellknown.MTLSPort, Protocol: "HTTPS"}, Tls: mutualOfMesh(),
			})
		}
		spec = &networking.Gateway{Selector: g.GetSelector(), Servers: own}
	}
	return []config{{
		apiVersion: d.APIVersion, kind: d.Kind, namespace: d.Namespace, name: d.Name, spec: spec, wave: waveOf(d.Kind),
		dress: newDress(d.Metadata, d.Workspace, d.Group, []resource.FQN{d.Key.FQN}),
	}}
}

// directPort begins the names of the ports of such servers. No port of the user's begins like that: names are unique in a Gateway.
const directPort = "isthmus-mtls"

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

package istio

import (
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// renderDirect makes the object that a user has written, in the place of its kind among the others.
func renderDirect(d *intent.DirectObject) []config {
	return []config{{
		apiVersion: d.APIVersion, kind: d.Kind, namespace: d.Namespace, name: d.Name, spec: d.Spec, wave: waveOf(d.Kind),
		dress: newDress(d.Metadata, d.Workspace, d.Group, []resource.FQN{d.Key.FQN}),
	}}
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

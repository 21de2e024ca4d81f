package istio

import (
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
)

// renderOrigin makes a service that only routes of the gateway's namespace lead to, and says how TLS is started to it. A
// DestinationRule for the service itself would hide that of its owner from everybody in the namespace.
func renderOrigin(g *intent.Gateway, o *intent.Origin, dress *dress) []config {
	protocol := "TCP"
	if o.HTTP {
		protocol = "HTTP"
	}
	names := o.TLS.SubjectAltNames
	if len(names) == 0 {
		names = []string{o.TLS.Name}
	}
	tls := &networking.ClientTLSSettings{
		Mode: networking.ClientTLSSettings_TLSmode(networking.ClientTLSSettings_TLSmode_value[o.TLS.Mode]),
		Sni:  o.TLS.Name, SubjectAltNames: names, CredentialName: o.TLS.Secret,
		ClientCertificate: o.TLS.Certificate, PrivateKey: o.TLS.Key, CaCertificates: o.TLS.CA,
	}
	if o.TLS.Secret == "" && o.TLS.CA == "" {
		tls.CaCertificates = "system" // else nobody's word is asked for
	}
	at := func(kind string, wave uint32) config {
		return config{apiVersion: networkingV1, kind: kind, namespace: g.Namespace, name: o.Name, wave: wave, dress: dress}
	}
	entry, rule := at("ServiceEntry", waveServiceEntry), at("DestinationRule", waveDestinationRule)
	entry.spec = &networking.ServiceEntry{
		Hosts: []string{o.Host}, ExportTo: []string{"."}, Location: networking.ServiceEntry_MESH_EXTERNAL, Resolution: networking.ServiceEntry_DNS,
		Ports:     []*networking.ServicePort{{Name: "origin", Number: o.Port, Protocol: protocol}},
		Endpoints: []*networking.WorkloadEntry{{Address: o.Address}},
	}
	rule.spec = &networking.DestinationRule{Host: o.Host, ExportTo: []string{"."}, TrafficPolicy: &networking.TrafficPolicy{Tls: tls}}
	return []config{entry, rule}
}

package istio

import (
	"crypto/sha256"
	"encoding/hex"

	"google.golang.org/protobuf/proto"
	security "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"

	"isthmus.dev/isthmus/internal/intent"
)

// renderSecurity makes what protects the workloads of namespaces. A PeerAuthentication has the name that people give to theirs, because
// Istio takes one for a namespace: an older one of somebody else is found and left alone.
func renderSecurity(s *intent.Security) []config {
	dress := newDress(s.Metadata, s.Workspace, "", s.Owners)
	var configs []config
	add := func(kind, namespace, name string, wave uint32, spec proto.Message) {
		configs = append(configs, config{apiVersion: securityV1, kind: kind, namespace: namespace, name: name, wave: wave, dress: dress, spec: spec})
	}
	for i := range s.Namespaces {
		n := &s.Namespaces[i]
		if n.MTLS != "" {
			mode := security.PeerAuthentication_MutualTLS_Mode(security.PeerAuthentication_MutualTLS_Mode_value[string(n.MTLS)])
			add("PeerAuthentication", n.Namespace, "default", waveMTLS, &security.PeerAuthentication{Mtls: &security.PeerAuthentication_MutualTLS{Mode: mode}})
		}
		if n.Access == nil {
			continue
		}
		add("AuthorizationPolicy", n.Namespace, "allow", waveAccess, allow(n.Access))
		for _, g := range n.Gateways {
			add("AuthorizationPolicy", n.Namespace, bounded("allow-gateway-"+g.Name), waveOpenGateway, openTo(g.Labels))
		}
	}
	return configs
}

// allow lets callers in and nobody else; without any, nobody at all. All is said in one policy that allows: what another one
// denies, no third one could give back to gateways.
func allow(a *intent.Access) *security.AuthorizationPolicy {
	out := &security.AuthorizationPolicy{}
	if a.Anybody || len(a.Callers) > 0 {
		source := &security.Source{Principals: a.Callers, NotPrincipals: a.Except}
		out.Rules = []*security.Rule{{From: []*security.Rule_From{{Source: source}}}}
	}
	return out
}

// openTo lets everybody in to some pods, whatever other policies let in.
func openTo(labels map[string]string) *security.AuthorizationPolicy {
	return &security.AuthorizationPolicy{
		Selector: &istiotype.WorkloadSelector{MatchLabels: labels},
		Rules:    []*security.Rule{{}},
	}
}

// bounded is a name that Kubernetes takes: a long one is cut, and ends in a hash of all of it.
func bounded(name string) string {
	const most = 253
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:most-9] + "-" + hex.EncodeToString(sum[:4])
}

package istio

import (
	"crypto/sha256"
	"encoding/hex"

	"google.golang.org/protobuf/proto"
	security "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderSecurity makes what protects the workloads of namespaces. A PeerAuthentication has the name that people give to theirs, because
// Istio takes one for a namespace: an older one of somebody else is found and left alone.
func renderSecurity(s *intent.Security) []config {
	dress := newDress(s.Metadata, s.Workspace, "", s.Owners)
	var configs []config
	add := func(kind, namespace, name string, wave uint32, spec proto.Message) {
		configs = append(configs, config{apiVersion: securityV1, kind: kind, namespace: namespace, name: name, wave: wave, dress: dress, spec: spec})
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		own, suffix, wave := "default", "", uint32(waveAccess)
		var selector *istiotype.WorkloadSelector
		if p.Service != "" {
			own, suffix, wave = "service-"+p.Service, wellknown.ServiceInfix+p.Service, waveService
			selector = &istiotype.WorkloadSelector{MatchLabels: p.Selector}
		}
		if p.MTLS != "" {
			mode := security.PeerAuthentication_MutualTLS_Mode(security.PeerAuthentication_MutualTLS_Mode_value[string(p.MTLS)])
			add("PeerAuthentication", p.Namespace, own, waveMTLS, &security.PeerAuthentication{Selector: selector, Mtls: &security.PeerAuthentication_MutualTLS{Mode: mode}})
		}
		if f := sidecarGuards(p, selector); f != nil {
			configs = append(configs, config{
				apiVersion: "networking.istio.io/v1alpha3", kind: "EnvoyFilter", namespace: p.Namespace, name: wellknown.SidecarGuard + suffix,
				wave: waveEnvoyFilter, dress: dress, spec: f,
			})
		}
		for j := range p.Extensions {
			e := &p.Extensions[j]
			configs = append(configs, config{
				apiVersion: "extensions.istio.io/v1alpha1", kind: "WasmPlugin", namespace: p.Namespace,
				name: wellknown.SidecarPrefix + e.Name, // those of a gateway have one dot
				wave: waveWasmPlugin, dress: dress, spec: sidecarPlugin(e),
			})
		}
		if p.Access == nil {
			continue
		}
		add("AuthorizationPolicy", p.Namespace, wellknown.AllowName+suffix, wave, allow(p.Access, selector))
		if deny := deny(p.Access, selector); deny != nil && selector != nil {
			add("AuthorizationPolicy", p.Namespace, wellknown.DenyName+suffix, waveDeny, deny)
		}
		for _, g := range p.Gateways {
			everybody := &intent.Access{Anybody: true}
			add("AuthorizationPolicy", p.Namespace, bounded(wellknown.OpenPrefix+g.Name), waveOpenGateway, allow(everybody, &istiotype.WorkloadSelector{MatchLabels: g.Labels}))
		}
	}
	return configs
}

// allow lets callers in; without any, nobody. Policies that allow add up, so for a namespace it says all: what another one
// denied, no third one could give back to gateways.
func allow(a *intent.Access, selector *istiotype.WorkloadSelector) *security.AuthorizationPolicy {
	out := &security.AuthorizationPolicy{Selector: selector}
	switch {
	case a.Anybody && len(a.Except) == 0:
		out.Rules = []*security.Rule{{}}
	case a.Anybody || len(a.Callers) > 0:
		out.Rules = []*security.Rule{from(&security.Source{Principals: a.Callers, NotPrincipals: a.Except})}
	}
	for _, rule := range out.Rules {
		if a.HTTP { // any method: a rule about it lets nothing else in
			rule.To = []*security.Rule_To{{Operation: &security.Operation{Methods: []string{"*"}}}}
		}
	}
	return out
}

// deny keeps everybody else out, also whom the policy of the namespace lets in; nil where that is nobody.
func deny(a *intent.Access, selector *istiotype.WorkloadSelector) *security.AuthorizationPolicy {
	out := &security.AuthorizationPolicy{Selector: selector, Action: security.AuthorizationPolicy_DENY}
	switch {
	case a.Everybody():
		return nil
	case !a.Anybody && len(a.Callers) == 0:
		out.Rules = []*security.Rule{{}}
		return out
	case !a.Anybody:
		out.Rules = append(out.Rules, from(&security.Source{NotPrincipals: a.Callers}))
	}
	if len(a.Except) > 0 {
		out.Rules = append(out.Rules, from(&security.Source{Principals: a.Except}))
	}
	if a.HTTP { // what has no method is all of the rest
		out.Rules = append(out.Rules, &security.Rule{To: []*security.Rule_To{{Operation: &security.Operation{NotMethods: []string{"*"}}}}})
	}
	return out
}

func from(s *security.Source) *security.Rule {
	return &security.Rule{From: []*security.Rule_From{{Source: s}}}
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

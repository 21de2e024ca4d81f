package compile

import (
	"slices"
	"strings"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

const intentSecurity = "u/intent/security/"

// securedLayer looks at what is protected in one cluster: its namespaces and the gateways in them.
func securedLayer() *layer {
	return &layer{
		name: "secured",
		unitOf: func(key string) string {
			rest, _ := strings.CutPrefix(key, "u/secure/")
			if rest == key {
				return ""
			}
			return rest
		},
		root:   func(unit string) string { return "u/secure/" + unit },
		derive: deriveSecured,
	}
}

func deriveSecured(r *Reads, unit string, out *output) {
	p, _ := r.get("u/secure/" + unit).(*protection)
	cluster, _, _ := strings.Cut(unit, "/")
	// Before a cluster has reported, its gateways are not known, and would be closed with the rest.
	if _, known := r.get(trustPrefix + cluster).(trust); p == nil || !known {
		return
	}
	made := &intent.Security{
		Key:       intent.GatewayKey{Cluster: cluster, FQN: p.FQN},
		Workspace: p.Workspace.Name(), Owners: p.Owners, Metadata: p.Metadata,
	}
	for _, ns := range p.Scope.namespaces(r, cluster) {
		f, _ := r.get(string(store.FactKey(cluster, "namespace//"+ns))).(*isthmusv1.Fact)
		if f == nil || f.GetNamespace().GetTerminating() {
			continue
		}
		if p.Scope.Index == "" && ownerOf(r, securityScope(p.Workspace), cluster, ns) != "" {
			continue // of a group, which has what the workspace says too
		}
		n := intent.SecuredNamespace{Namespace: ns, MTLS: p.MTLS, Access: p.accessIn(r, ns)}
		if n.Access != nil {
			n.Gateways = gatewaysIn(r, cluster, ns)
		}
		if n.MTLS != "" || n.Access != nil {
			made.Namespaces = append(made.Namespaces, n)
		}
	}
	if len(made.Namespaces) > 0 {
		out.put(intentSecurity+unit, made)
	}
}

// gatewaysIn are the gateways of a namespace. Edges tell of all that Istio takes for one.
func gatewaysIn(r *Reads, cluster, namespace string) []intent.GatewayPods {
	var all []intent.GatewayPods
	for _, v := range r.prefix(string(store.FactKey(cluster, "workload/"+namespace+"/"))) {
		f, _ := v.(*isthmusv1.Fact)
		w := f.GetWorkload()
		labels := w.GetLabels()
		if own := labels[wellknown.GatewayLabel]; own != "" {
			labels = map[string]string{wellknown.GatewayLabel: own}
		}
		if len(labels) > 0 { // a selector without labels would be of all pods
			all = append(all, intent.GatewayPods{Name: w.GetName(), Labels: labels})
		}
	}
	return all
}

// accessIn is who may call the services of one namespace, nil for everybody.
func (p *protection) accessIn(r *Reads, namespace string) *intent.Access {
	if p.Access == nil || len(p.Access.Admit)+len(p.Access.Except) == 0 {
		return nil
	}
	out := &intent.Access{Anybody: len(p.Access.Admit) == 0, Except: sorted(slices.Clone(p.Access.Except))}
	for i, m := range p.Access.Admit {
		names := m.in(r, p, namespace)
		if i > 0 {
			names = meet(out.Callers, names)
		}
		out.Callers = names
	}
	return out
}

// in are the identities that are let into a namespace.
func (m *admission) in(r *Reads, p *protection, namespace string) []string {
	if m.Any {
		return []string{"*"}
	}
	if len(m.Own) == 0 {
		return m.Names
	}
	names := slices.Clone(m.Names)
	trusts(r, p.Workspace.Ancestor("organizations"), func(cluster, domain string) {
		if owns(r, p.Workspace, cluster, namespace) {
			for _, a := range m.Own {
				names = append(names, account(domain, namespace, a))
			}
		}
	})
	return sorted(names)
}

// meet are the identities that are in both lists.
func meet(a, b []string) []string {
	if slices.Contains(a, "*") {
		return b
	}
	if slices.Contains(b, "*") {
		return a
	}
	var both []string
	for _, lists := range [][2][]string{{a, b}, {b, a}} {
		in := make(map[string]bool, len(lists[1]))
		for _, name := range lists[1] {
			in[name] = true
		}
		for _, name := range lists[0] {
			namespace, _, one := strings.Cut(name, "/sa/")
			if in[name] || one && in[namespace+"/*"] {
				both = append(both, name)
			}
		}
	}
	return sorted(both)
}

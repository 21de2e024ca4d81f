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

// securedLayer looks at what is protected in one cluster: its namespaces and the gateways in them, or a service.
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
	if p.Service != "" {
		if pods := p.service(r, cluster, out); pods != nil {
			made.Pods = []intent.SecuredPods{*pods}
		}
	} else {
		made.Pods = p.namespaces(r, cluster, out)
	}
	if len(made.Pods) > 0 {
		out.put(intentSecurity+unit, made)
		for i := range made.Pods {
			out.put(madePrefix(cluster, made.Pods[i].Namespace)+string(p.FQN), made)
		}
	}
}

// namespaces are all that is protected in a cluster.
func (p *protection) namespaces(r *Reads, cluster string, out *output) []intent.SecuredPods {
	var all []intent.SecuredPods
	for _, ns := range p.Scope.namespaces(r, cluster) {
		if !remains(r, cluster, ns) {
			continue
		}
		if p.Scope.Index == "" && ownerOf(r, securityScope(p.Workspace), cluster, ns) != "" {
			continue // of a group, which has what the workspace says too
		}
		n := intent.SecuredPods{Namespace: ns, MTLS: p.MTLS, Access: p.accessIn(r, ns), Guards: p.guardsIn(r, cluster, ns, out), Extensions: p.extensionsIn(r, cluster, ns, out)}
		if n.Access.Everybody() {
			n.Access = nil // as if nothing was said
		}
		if n.Access != nil {
			n.Gateways = gatewaysIn(r, cluster, ns)
		}
		if n.MTLS != "" || n.Access != nil || len(n.Guards)+len(n.Extensions) > 0 {
			all = append(all, n)
		}
	}
	return all
}

// remains says whether a namespace is there, and not about to go.
func remains(r *Reads, cluster, namespace string) bool {
	f, _ := r.get(string(store.FactKey(cluster, "namespace//"+namespace))).(*isthmusv1.Fact)
	return f != nil && !f.GetNamespace().GetTerminating()
}

func (p *protection) serviceIn(r *Reads, cluster string) *isthmusv1.Service {
	f, _ := r.get(string(store.FactKey(cluster, "service/"+p.Namespace+"/"+p.Service))).(*isthmusv1.Fact)
	return f.GetService()
}

// sayUnknown says when no cluster has the service.
func (p *protection) sayUnknown(r *Reads, out *output) {
	reached, found := false, false
	trusts(r, p.Workspace.Ancestor("organizations"), func(cluster, _ string) {
		if p.Scope.owns(r, cluster, p.Namespace) {
			reached = true
			found = found || p.serviceIn(r, cluster) != nil
		}
	})
	if reached && !found {
		out.say(p.FQN, no(reasonUnknownService, "service", "Service %q does not exist in namespace %q of any cluster.", p.Service, p.Namespace))
	}
}

// saySharedPods says which other service with a setting selects the same pods.
func (p *protection) saySharedPods(r *Reads, cluster string, selector map[string]string, out *output) {
	prefix := securedServicesPrefix(p.Scope.FQN, p.Namespace)
	for key, by := range r.prefix(prefix) {
		other := &protection{}
		if other.aim(p.Namespace + "/" + strings.TrimPrefix(key, prefix)); other.Service == p.Service {
			continue
		}
		if s := other.serviceIn(r, cluster).GetSelector(); len(s) > 0 && samePods(s, selector) {
			out.say(p.FQN, in(cluster, no(reasonPodsShared, "service", "Service %q in namespace %q selects the same pods, of which %q says something, too.", other.Service, p.Namespace, by)))
		}
	}
}

// service is what is protected of one in a cluster, nil while that is nothing.
func (p *protection) service(r *Reads, cluster string, out *output) *intent.SecuredPods {
	if !p.Scope.owns(r, cluster, p.Namespace) || !remains(r, cluster, p.Namespace) {
		return nil
	}
	say := func(reason, format string) {
		out.say(p.FQN, in(cluster, no(reason, "service", format, p.Service, p.Namespace)))
	}
	svc := p.serviceIn(r, cluster)
	selector := svc.GetSelector()
	switch {
	case svc == nil:
		return nil // another cluster may have it
	case len(selector) == 0:
		say(reasonNoEffect, "Service %q in namespace %q selects no pods that could be protected.")
		return nil
	}
	for _, v := range r.prefix(string(store.FactKey(cluster, "workload/"+p.Namespace+"/"))) {
		if f, ok := v.(*isthmusv1.Fact); ok && subset(selector, f.GetWorkload().GetLabels()) {
			say(reasonNoEffect, "Service %q in namespace %q selects pods of a gateway, which let in whom their own configuration does.")
			return nil
		}
	}
	p.saySharedPods(r, cluster, selector, out)
	pods := &intent.SecuredPods{
		Namespace: p.Namespace, Service: p.Service, Selector: selector,
		MTLS: p.MTLS, Access: p.accessIn(r, p.Namespace),
	}
	if p.OwnGuards {
		pods.Guards, pods.Without = p.guardsIn(r, cluster, p.Namespace, out), p.Shared
	}
	return pods
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

// accessIn is who may call the services of one namespace, nil when nothing is said.
func (p *protection) accessIn(r *Reads, namespace string) *intent.Access {
	a := p.Access
	switch {
	case p.closed():
		return &intent.Access{}
	case a == nil && !p.decides():
		return nil
	case a == nil:
		a = &access{}
	}
	out := &intent.Access{Anybody: len(a.Admit) == 0, Except: sorted(slices.Clone(a.Except)), HTTP: p.decides()}
	for i, m := range a.Admit {
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

package compile

import (
	"slices"
	"strings"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	istiointernalv2 "isthmus.dev/isthmus/api/tsb/istiointernal/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// tenancyLayer says who asks for namespaces that somebody else has, and which clusters cannot call each other.
func tenancyLayer() *layer {
	return &layer{
		name: "tenancy",
		unitOf: func(key string) string {
			fqn := store.Key(key).FQN()
			switch fqn.Plural() {
			case "workspaces", "gatewaygroups", "trafficgroups", "securitygroups", "istiointernalgroups", "clusters":
				return string(fqn)
			}
			return ""
		},
		root: func(unit string) string { return string(store.ResourceKey(resource.FQN(unit))) },
		derive: func(r *Reads, unit string, out *output) {
			fqn := resource.FQN(unit)
			res, _ := r.get(string(store.ResourceKey(fqn))).(*resource.Resource)
			if res == nil {
				return
			}
			switch spec := res.Spec.(type) {
			case *tsbv2.Cluster:
				sayRoots(r, fqn, out)
				sayTrust(r, fqn, out)
			case *tsbv2.Workspace:
				ps := selectorPatterns(spec.GetNamespaceSelector().GetNames())
				sayTaken(r, workspaceScope, fqn, ps, out)
				saySystem(r, fqn, ps, out)
			case *gatewayv2.Group:
				ps := selectorPatterns(spec.GetNamespaceSelector().GetNames())
				sayTaken(r, groupScope(fqn.Parent()), fqn, ps, out)
				sayBeyond(r, fqn, ps, out)
			case *trafficv2.Group:
				ps := selectorPatterns(spec.GetNamespaceSelector().GetNames())
				sayTaken(r, trafficScope(fqn.Parent()), fqn, ps, out)
				sayBeyond(r, fqn, ps, out)
			case *securityv2.Group:
				ps := selectorPatterns(spec.GetNamespaceSelector().GetNames())
				sayTaken(r, securityScope(fqn.Parent()), fqn, ps, out)
				sayBeyond(r, fqn, ps, out)
			case *istiointernalv2.Group:
				ps := selectorPatterns(spec.GetNamespaceSelector().GetNames())
				sayTaken(r, istioScope(fqn.Parent()), fqn, ps, out)
				sayBeyond(r, fqn, ps, out)
			}
		},
	}
}

// sayTrust names the trust domains of other clusters whose identities the mesh of this one does not take: its sidecars refuse calls from there
// that end at them. What a gateway takes and makes anew is not concerned.
func sayTrust(r *Reads, fqn resource.FQN, out *output) {
	var self cluster
	var others []cluster
	for _, v := range r.prefix(clustersPrefix) {
		c, ok := v.(cluster)
		switch {
		case !ok || !c.Known || c.Organization != fqn.Parent():
		case c.Name == fqn.Name():
			self = c
		default:
			others = append(others, c)
		}
	}
	var missing []string
	for _, c := range others {
		if self.Known && c.TrustDomain != self.TrustDomain && !slices.Contains(self.Aliases, c.TrustDomain) {
			missing = append(missing, c.TrustDomain)
		}
	}
	slices.Sort(missing)
	if missing = slices.Compact(missing); len(missing) > 0 {
		out.say(fqn, no(reasonTrust, "", "The mesh of the cluster takes no identities of the trust domains %s of other clusters: its trustDomainAliases lack them.", strings.Join(missing, ", ")))
	}
}

// sayTaken names, for each pattern, the first other one that asked earlier for some of the same namespaces.
func sayTaken(r *Reads, scope string, fqn resource.FQN, patterns []pattern, out *output) {
	for _, p := range patterns {
		prefixes := []string{scope + "/=" + p.Namespace + "/", scope + "/*/"}
		if p.wild() {
			prefixes = []string{scope + "/"}
		}
		var others []selection
		for _, prefix := range prefixes {
			for _, v := range r.prefix(prefix) {
				s, ok := v.(selection)
				switch {
				case ok && s.FQN == fqn: // the index knows since when
					p = s.own(p)
				case ok:
					others = append(others, s)
				}
			}
		}
		best, by := firstBefore(rank{p.Since, fqn}, p, others)
		if best.FQN != "" {
			out.say(fqn, no(reasonNamespaceTaken, selectorField(p), "Namespaces of %q belong to %q, which selected %q first.", p, best.FQN, by))
		}
	}
}

// own is p as the index has it.
func (s selection) own(p pattern) pattern {
	for _, q := range s.Patterns {
		if q.Index == p.Index {
			return q
		}
	}
	return p
}

// firstBefore finds the first of those who asked earlier for some of the namespaces of p.
func firstBefore(self rank, p pattern, others []selection) (best rank, by pattern) {
	for _, s := range others {
		for _, q := range s.Patterns {
			at := rank{q.Since, s.FQN}
			if p.overlaps(q) && at.before(self) && (best.FQN == "" || at.before(best)) {
				best, by = at, q
			}
		}
	}
	return best, by
}

func selectorField(p pattern) string { return "namespaceSelector.names[" + itoa(p.Index) + "]" }

func saySystem(r *Reads, fqn resource.FQN, patterns []pattern, out *output) {
	for _, p := range patterns {
		if !p.wild() && isSystem(r, fqn, p.Namespace) {
			out.say(fqn, no(reasonSystemNamespace, selectorField(p), "Namespace %q is a system namespace, which no workspace can own.", p.Namespace))
		}
	}
}

// sayBeyond names the patterns of a group that select more than its workspace does.
func sayBeyond(r *Reads, group resource.FQN, patterns []pattern, out *output) {
	ws, _ := r.get(string(store.ResourceKey(group.Parent()))).(*resource.Resource)
	if ws == nil {
		return
	}
	spec, _ := ws.Spec.(*tsbv2.Workspace)
	of := selectorPatterns(spec.GetNamespaceSelector().GetNames())
	for _, p := range patterns {
		covered := false
		for _, w := range of {
			covered = covered || w.covers(p)
		}
		if !covered {
			out.say(group, no(reasonNotSubset, selectorField(p), "%q selects namespaces that workspace %q does not.", p, group.Parent()))
		}
	}
}

package compile

import (
	"cmp"
	"math"
	"slices"
	"strings"

	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

// pattern selects namespaces of clusters, "<cluster>/<namespace>": each part a name or "*", the namespace also "prefix*".
type pattern struct {
	Cluster, Namespace string
	// Index in the selector.
	Index int
	// Since is the commit in which the namespaces were asked for; later than all for those that have no claim.
	Since int64
}

func parsePattern(s string, index int) (pattern, bool) {
	c, n, ok := strings.Cut(s, "/")
	return pattern{Cluster: c, Namespace: n, Index: index, Since: math.MaxInt64}, ok && c != "" && n != ""
}

func (p pattern) String() string { return p.Cluster + "/" + p.Namespace }

// wild says whether it may select namespaces of several names.
func (p pattern) wild() bool { return strings.HasSuffix(p.Namespace, "*") }

func (p pattern) matches(cluster, namespace string) bool {
	return (p.Cluster == "*" || p.Cluster == cluster) && matchName(p.Namespace, namespace)
}

func matchName(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// overlaps says whether there can be a namespace that both select.
func (p pattern) overlaps(q pattern) bool {
	if p.Cluster != "*" && q.Cluster != "*" && p.Cluster != q.Cluster {
		return false
	}
	a, aWild := strings.CutSuffix(p.Namespace, "*")
	b, bWild := strings.CutSuffix(q.Namespace, "*")
	switch {
	case aWild && bWild:
		return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
	case aWild:
		return strings.HasPrefix(b, a)
	case bWild:
		return strings.HasPrefix(a, b)
	}
	return a == b
}

// covers says whether p selects all that q selects.
func (p pattern) covers(q pattern) bool {
	if p.Cluster != "*" && p.Cluster != q.Cluster {
		return false
	}
	if q.wild() && !p.wild() {
		return false
	}
	return matchName(p.Namespace, strings.TrimSuffix(q.Namespace, "*"))
}

// selection is what one workspace or group selects under one name of the index.
type selection struct {
	FQN      resource.FQN
	Patterns []pattern
}

// The index of selections: "<scope>/=<namespace>/<fqn>" for patterns with a name, "<scope>/*/<fqn>" for all others. The scope is that within
// which a namespace has one owner.
const workspaceScope = "u/workspaces"

func groupScope(workspace resource.FQN) string { return "u/gatewaygroups/" + string(workspace) }

// publishSelection puts the patterns of a selector into the index.
func publishSelection(out *output, scope string, fqn resource.FQN, patterns []pattern) {
	byKey := map[string][]pattern{}
	for _, p := range patterns {
		key := scope + "/=" + p.Namespace + "/" + string(fqn)
		if p.wild() {
			key = scope + "/*/" + string(fqn)
		}
		byKey[key] = append(byKey[key], p)
	}
	for key, ps := range byKey {
		out.put(key, selection{FQN: fqn, Patterns: ps})
	}
}

// selectorPatterns are the patterns of a selector that can be read; Check refuses the others.
func selectorPatterns(names []string) []pattern {
	var ps []pattern
	for i, n := range names {
		if p, ok := parsePattern(n, i); ok {
			ps = append(ps, p)
		}
	}
	return ps
}

// claimed looks up since when a workspace has asked for its patterns.
func claimed(r *Reads, workspace resource.FQN, patterns []pattern) []pattern {
	for i := range patterns {
		patterns[i].Since = since(r, store.NamespaceClaimKey(patterns[i].String()), workspace)
	}
	return patterns
}

// since is the commit in which a workspace asked for a claim; later than all when it did not.
func since(r *Reads, claim store.Key, workspace resource.FQN) int64 {
	c, _ := r.get(string(claim)).(*store.Claim)
	if c == nil {
		return math.MaxInt64
	}
	for _, who := range c.Claimants {
		if who.Workspace == workspace {
			return who.Since
		}
	}
	return math.MaxInt64
}

// rank orders those who ask for the same thing.
type rank struct {
	Since int64
	FQN   resource.FQN
}

func (a rank) before(b rank) bool {
	return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.FQN, b.FQN)) < 0
}

// ownerOf returns the workspace, or in the scope of a workspace the group, that owns a namespace of a cluster; empty
// when nobody does.
func ownerOf(r *Reads, scope, cluster, namespace string) resource.FQN {
	return ownersIn(r, scope, namespace)(cluster)
}

// ownersIn is ownerOf for many clusters: what may select the namespace is looked up once.
func ownersIn(r *Reads, scope, namespace string) func(cluster string) resource.FQN {
	type choice struct {
		rank
		pattern
	}
	var all []choice
	for _, p := range []string{scope + "/=" + namespace + "/", scope + "/*/"} {
		for _, v := range r.prefix(p) {
			s := v.(selection)
			for _, q := range s.Patterns {
				if matchName(q.Namespace, namespace) {
					all = append(all, choice{rank{q.Since, s.FQN}, q})
				}
			}
		}
	}
	return func(cluster string) resource.FQN {
		var best rank
		for _, c := range all {
			if c.matches(cluster, namespace) && (best.FQN == "" || c.before(best)) {
				best = c.rank
			}
		}
		return best.FQN
	}
}

// isSystem says whether nobody can own a namespace.
func isSystem(r *Reads, of resource.FQN, namespace string) bool {
	if namespace == wellknown.GlobalNamespace {
		return true
	}
	o, _ := r.get(string(store.ResourceKey(of.Ancestor("organizations")))).(*resource.Resource)
	if o == nil {
		return false
	}
	org, _ := o.Spec.(*tsbv2.Organization)
	return slices.Contains(org.GetSystemNamespaces(), namespace)
}

// owns says whether a workspace owns a namespace of a cluster.
func owns(r *Reads, workspace resource.FQN, cluster, namespace string) bool {
	return !isSystem(r, workspace, namespace) && ownerOf(r, workspaceScope, cluster, namespace) == workspace
}

package compile

import (
	"cmp"
	"strings"

	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
)

// trust is what identities in a cluster begin with.
type trust struct {
	Organization resource.FQN
	Domain       string
}

// trustPrefix is where those of the clusters are that have reported. Of another one it is not known.
const trustPrefix = "u/trust/"

// trusts calls f for each cluster of an organization.
func trusts(r *Reads, organization resource.FQN, f func(cluster, domain string)) {
	for key, v := range r.prefix(trustPrefix) {
		if t := v.(trust); t.Organization == organization {
			f(strings.TrimPrefix(key, trustPrefix), t.Domain)
		}
	}
}

// everyone in a namespace.
func everyone(domain, namespace string) string { return domain + "/ns/" + namespace + "/*" }

func account(domain, namespace, name string) string {
	if name == "*" {
		return everyone(domain, namespace)
	}
	return domain + "/ns/" + namespace + "/sa/" + name
}

// identitiesIn are those in the namespaces of a scope, in all clusters, sorted; keep, if not nil, says in which of them.
func identitiesIn(r *Reads, s *scope, keep func(cluster, namespace string) bool) []string {
	var names []string
	trusts(r, s.FQN.Ancestor("organizations"), func(cluster, domain string) {
		for _, ns := range s.namespaces(r, cluster) {
			if keep == nil || keep(cluster, ns) {
				names = append(names, everyone(domain, ns))
			}
		}
	})
	return sorted(names)
}

// accountsAnywhere reads "<namespace>/<account>", where the namespace may be ".", of the protected one, and the account "*".
func accountsAnywhere(r *Reads, organization resource.FQN, accounts []string) admission {
	var m admission
	for _, a := range accounts {
		ns, name, _ := strings.Cut(a, "/")
		if ns == "." {
			m.Own = append(m.Own, name)
			continue
		}
		trusts(r, organization, func(_, domain string) { m.Names = append(m.Names, account(domain, ns, name)) })
	}
	m.Names = sorted(m.Names)
	return m
}

// Security domains have workspaces and groups as members: domainKey is where one of them is.
func domainPrefix(domain string) string { return "u/domain/" + domain + "/" }

func isDomain(name string) bool { return resource.FQN(name).Plural() == "securitydomains" }

// workspaceDomain is the security domain of a workspace, or else of its tenant.
func workspaceDomain(r *Reads, fqn resource.FQN, w *tsbv2.Workspace) string {
	tenant, _ := specOf(r, fqn.Parent()).(*tsbv2.Tenant)
	return cmp.Or(w.GetSecurityDomain(), tenant.GetSecurityDomain())
}

// domainOf is the security domain of a group or a workspace, empty for none.
func domainOf(r *Reads, fqn resource.FQN) string {
	switch spec := specOf(r, fqn).(type) {
	case *securityv2.Group:
		return cmp.Or(spec.GetSecurityDomain(), domainOf(r, fqn.Parent()))
	case *tsbv2.Workspace:
		return workspaceDomain(r, fqn, spec)
	}
	return ""
}

// existsAs says whether there is such a workspace or group, or anybody in such a security domain.
func existsAs(r *Reads, name string) bool {
	if !isDomain(name) {
		return scopeOf(r, resource.FQN(name)) != nil
	}
	for range r.prefix(domainPrefix(name)) {
		return true
	}
	return false
}

// identitiesOf are those in a workspace, a group or a security domain.
func identitiesOf(r *Reads, name string) []string {
	if !isDomain(name) {
		if s := scopeOf(r, resource.FQN(name)); s != nil {
			return identitiesIn(r, s, nil)
		}
		return nil
	}
	var all []string
	for key := range r.prefix(domainPrefix(name)) {
		member := resource.FQN(strings.TrimPrefix(key, domainPrefix(name)))
		s := scopeOf(r, member)
		if s == nil {
			continue
		}
		var keep func(cluster, namespace string) bool
		if s.Index == "" { // groups of the workspace may be in other domains
			keep = func(cluster, namespace string) bool {
				owner := ownerOf(r, securityScope(member), cluster, namespace)
				return owner == "" || domainOf(r, owner) == name
			}
		}
		all = append(all, identitiesIn(r, s, keep)...)
	}
	return sorted(all)
}

// isAbout says whether the services of a scope, a security group or the rest of a workspace, are in a workspace, a group or a
// security domain.
func isAbout(r *Reads, name string, scope resource.FQN) bool {
	if isDomain(name) {
		return domainOf(r, scope) == name
	}
	return resource.FQN(name).Contains(scope)
}

package compile

import (
	"slices"
	"strings"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	istiointernalv2 "isthmus.dev/isthmus/api/tsb/istiointernal/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

// egress is what a gateway lets pass to hosts outside of the mesh, before any cluster was looked at.
type egress struct {
	Name  string
	Rules []egressRule
}

type egressRule struct {
	// Anybody with an identity of the mesh; otherwise those of From.
	Anybody bool
	From    []callers
	To      []intent.Outside
}

// callers are the accounts of some namespaces.
type callers struct {
	// Scope is set for the namespaces of a workspace or a group; otherwise it is Namespace.
	Scope     *scope
	Namespace string
	// Account is empty for all.
	Account string
}

// scope is a workspace or a group with the namespaces that it selects.
type scope struct {
	FQN      resource.FQN
	Patterns []pattern
	// Index in which groups of its type are, empty for a workspace.
	Index string
}

// scopeOf is nil when there is no such workspace or group.
func scopeOf(r *Reads, fqn resource.FQN) *scope {
	out := &scope{FQN: fqn}
	var selector *typesv2.NamespaceSelector
	switch spec := specOf(r, fqn).(type) {
	case *tsbv2.Workspace:
		selector = spec.GetNamespaceSelector()
	case *gatewayv2.Group:
		selector, out.Index = spec.GetNamespaceSelector(), groupScope(fqn.Parent())
	case *trafficv2.Group:
		selector, out.Index = spec.GetNamespaceSelector(), trafficScope(fqn.Parent())
	case *securityv2.Group:
		selector, out.Index = spec.GetNamespaceSelector(), securityScope(fqn.Parent())
	case *istiointernalv2.Group:
		selector, out.Index = spec.GetNamespaceSelector(), istioScope(fqn.Parent())
	default:
		return nil
	}
	out.Patterns = selectorPatterns(selector.GetNames())
	return out
}

// owns says whether a namespace of a cluster is a group's, and its workspace's.
func (s *scope) owns(r *Reads, cluster, namespace string) bool {
	return owns(r, s.FQN.Ancestor("workspaces"), cluster, namespace) && ownerOf(r, s.Index, cluster, namespace) == s.FQN
}

// namespaces of a cluster that a scope owns, sorted. Those that a pattern with a name is about need not be there yet.
func (s *scope) namespaces(r *Reads, cluster string) []string {
	var names []string
	for _, p := range s.Patterns {
		switch {
		case p.Cluster != "*" && p.Cluster != cluster:
		case p.wild():
			for key := range r.prefix(string(store.FactKey(cluster, "namespace//"))) {
				if name := key[strings.LastIndexByte(key, '/')+1:]; matchName(p.Namespace, name) {
					names = append(names, name)
				}
			}
		default:
			names = append(names, p.Namespace)
		}
	}
	slices.Sort(names)
	workspace := s.FQN.Ancestor("workspaces")
	return slices.DeleteFunc(slices.Compact(names), func(ns string) bool {
		return !owns(r, workspace, cluster, ns) || s.Index != "" && ownerOf(r, s.Index, cluster, ns) != s.FQN
	})
}

// egressKey is where a gateway that lets out is in the index of its group.
func egressKey(fqn resource.FQN) string { return egressPrefix(fqn) + string(fqn) }

func egressPrefix(fqn resource.FQN) string { return "u/egress/" + string(fqn.Parent()) + "/" }

// exit is an entry of that index.
type exit struct {
	FQN       resource.FQN
	Namespace string
	Labels    map[string]string
}

// letsOut says whether calls to the outside go through a gateway.
func letsOut(spec gatewaySpec) bool {
	switch g := spec.(type) {
	case *gatewayv2.EgressGateway:
		return true
	case *gatewayv2.Gateway:
		return len(g.GetEgressAuthorization()) > 0
	}
	return false
}

func indexEgress(fqn resource.FQN, spec gatewaySpec, out *output) {
	if letsOut(spec) {
		w := spec.GetWorkloadSelector()
		out.put(egressKey(fqn), exit{FQN: fqn, Namespace: w.GetNamespace(), Labels: w.GetLabels()})
	}
}

// egressOf is what a gateway says about the outside, nil when that is nothing, or when another gateway says it on the same
// pods already.
func egressOf(r *Reads, p *plan, spec gatewaySpec, out *output) *egress {
	if !letsOut(spec) || p.Closed {
		return nil
	}
	const room = 40 // of 63, for what stands around it; the hash, because another gateway may have any name
	name := p.FQN.Name()
	e := &egress{Name: name[:min(len(name), room)] + "-" + shortHash(string(p.FQN))}
	for _, v := range r.prefix(egressPrefix(p.FQN)) {
		x, ok := v.(exit)
		if !ok || x.FQN >= p.FQN {
			continue
		}
		if x.Namespace == p.Namespace && samePods(x.Labels, p.Labels) {
			out.say(p.FQN, no(reasonServerConflict, "workloadSelector", "Calls to the outside already go through the same pods by %q; this gateway lets nothing out.", x.FQN))
			return nil
		}
	}
	switch g := spec.(type) {
	case *gatewayv2.EgressGateway:
		for i, a := range g.GetAuthorization() {
			e.add(r, p, a.GetFrom(), outsideHosts(a.GetTo()), "authorization["+itoa(i)+"].from", out)
		}
	case *gatewayv2.Gateway:
		for i, a := range g.GetEgressAuthorization() {
			e.addUnified(r, p, a, "egressAuthorization["+itoa(i)+"]", out)
		}
	}
	return e
}

// add adds what one element allows. One that cannot be understood in full allows nothing.
func (e *egress) add(r *Reads, p *plan, from *securityv2.AuthorizationSettings, to []intent.Outside, field string, out *output) {
	rule := egressRule{To: to}
	refused := func(field string) {
		out.say(p.FQN, no(reasonNotTranslated, field, "The field %s is not translated; nobody is let out by this element.", field))
	}
	if from.GetIdentityMatch() == securityv2.AuthorizationSettings_SOURCE_IDENTITY {
		sayPeer(p, field+".identityMatch", out)
	}
	switch {
	case from == nil:
		rule.Anybody = true
	case from.GetHttp() != nil:
		refused(field + ".http")
		return
	case from.GetRules() != nil:
		refused(field + ".rules")
		return
	}
	switch from.GetMode() {
	case securityv2.AuthorizationSettings_NAMESPACE:
		rule.From = []callers{{Namespace: p.Namespace}}
	case securityv2.AuthorizationSettings_GROUP:
		rule.From = []callers{{Scope: scopeOf(r, p.FQN.Parent())}}
	case securityv2.AuthorizationSettings_WORKSPACE:
		rule.From = []callers{{Scope: scopeOf(r, p.Workspace)}}
	case securityv2.AuthorizationSettings_CLUSTER:
		rule.Anybody = true
	case securityv2.AuthorizationSettings_CUSTOM:
		rule.From = accounts(p, from.GetServiceAccounts())
	case securityv2.AuthorizationSettings_RULES:
		refused(field + ".mode")
		return
	}
	e.Rules = append(e.Rules, rule)
}

// sayPeer says that the caller is always the one whose certificate is shown.
func sayPeer(p *plan, field string, out *output) {
	out.say(p.FQN, no(reasonNotTranslated, field, "Identities are not passed on by gateways: the caller is the one whose certificate the gateway sees."))
}

// accounts reads "<namespace>/<account>", where the namespace may be "." and the account "*".
func accounts(p *plan, names []string) []callers {
	all := make([]callers, 0, len(names))
	for _, name := range names {
		c := callers{}
		c.Namespace, c.Account, _ = strings.Cut(name, "/")
		if c.Namespace == "." {
			c.Namespace = p.Namespace
		}
		if c.Account == "*" {
			c.Account = ""
		}
		all = append(all, c)
	}
	return all
}

// outsideHosts reads hosts and "<namespace>/<host>"; hosts may be "*" or begin with "*.".
func outsideHosts(names []string) []intent.Outside {
	all := make([]intent.Outside, 0, len(names))
	for _, name := range names {
		host := name[strings.LastIndexByte(name, '/')+1:]
		m := intent.HostMatch{Exact: host}
		if suffix, ok := strings.CutPrefix(host, "*"); ok {
			m = intent.HostMatch{Suffix: suffix, Any: suffix == ""}
		}
		all = append(all, intent.Outside{Host: m})
	}
	return all
}

func (e *egress) addUnified(r *Reads, p *plan, a *gatewayv2.GatewayEgressAuthorization, field string, out *output) {
	rule := egressRule{}
	for _, to := range a.GetTo() {
		rule.To = append(rule.To, intent.Outside{Host: hostMatch(to.GetHost()), Operation: intent.Operation{Methods: to.GetMethods(), Paths: to.GetPaths()}})
	}
	if a.GetIdentityMatch() == gatewayv2.GatewayEgressAuthorization_SOURCE_IDENTITY {
		sayPeer(p, field+".identityMatch", out)
	}
	from := a.GetFrom()
	rule.From = accounts(p, from.GetServiceAccounts())
	for i, name := range from.GetResources() {
		scope := scopeOf(r, resource.FQN(name))
		if scope == nil {
			out.say(p.FQN, no(reasonUnknownCaller, field+".from.resources["+itoa(i)+"]", "%q does not exist; it lets nobody out.", name))
			continue
		}
		rule.From = append(rule.From, callers{Scope: scope})
	}
	switch mode := from.GetMode(); { //nolint:staticcheck // old input
	case from == nil || mode == gatewayv2.GatewayEgressAuthorization_From_CLUSTER:
		rule.Anybody = true
	case mode == gatewayv2.GatewayEgressAuthorization_From_NAMESPACE:
		rule.From = append(rule.From, callers{Namespace: p.Namespace})
	case mode == gatewayv2.GatewayEgressAuthorization_From_GROUP:
		rule.From = append(rule.From, callers{Scope: scopeOf(r, p.FQN.Parent())})
	case mode == gatewayv2.GatewayEgressAuthorization_From_WORKSPACE:
		rule.From = append(rule.From, callers{Scope: scopeOf(r, p.Workspace)})
	}
	e.Rules = append(e.Rules, rule)
}

func hostMatch(m *typesv2.StringMatch) intent.HostMatch {
	return intent.HostMatch{Exact: m.GetExact(), Prefix: m.GetPrefix(), Regex: m.GetRegex()}
}

// egress is what the gateway lets out in the cluster.
func (s *scene) egress() *intent.Egress {
	e := s.plan.Egress
	if e == nil {
		return nil
	}
	out := &intent.Egress{Name: e.Name, Identities: s.identities()}
	if s.main != nil {
		out.Service = s.main.GetName() + "." + s.main.GetNamespace() + ".svc.cluster.local"
		for _, svc := range s.services {
			s.out.put(wayPrefix(s.cluster.Name, svc.GetNamespace(), svc.GetName())+string(s.plan.FQN), s.plan.FQN)
		}
		if portOf(s.main, wellknown.MTLSPort) == nil {
			s.say(no(reasonNoMTLSPort, "workloadSelector", "Service %q in namespace %q has no port %d: nobody can call the outside through it.", s.main.GetName(), s.plan.Namespace, wellknown.MTLSPort))
		}
	}
	for _, rule := range e.Rules {
		made := intent.EgressRule{Anybody: rule.Anybody, To: rule.To}
		for _, c := range rule.From {
			made.Callers = append(made.Callers, s.identitiesOf(c)...)
		}
		if made.Anybody {
			made.Callers = nil
		}
		if made.Anybody || len(made.Callers) > 0 {
			out.Rules = append(out.Rules, made)
		}
	}
	return out
}

// identitiesOf are those that callers have in the cluster.
func (s *scene) identitiesOf(c callers) []intent.Identity {
	of := func(namespace string) string {
		return "spiffe://" + s.cluster.TrustDomain + "/ns/" + namespace + "/sa/"
	}
	switch {
	case c.Scope != nil:
		var all []intent.Identity
		for _, ns := range c.Scope.namespaces(s.r, s.cluster.Name) {
			all = append(all, intent.Identity{Name: of(ns), Prefix: true})
		}
		return all
	case c.Account == "":
		return []intent.Identity{{Name: of(c.Namespace), Prefix: true}}
	}
	return []intent.Identity{{Name: of(c.Namespace) + c.Account}}
}

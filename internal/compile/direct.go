package compile

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
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

const intentDirects = "u/intent/direct/"

// istioScope is that of the istiointernal groups of a workspace.
func istioScope(workspace resource.FQN) string { return "u/istiointernalgroups/" + string(workspace) }

// isDirect says whether a name is that of an object of Istio's.
func isDirect(fqn resource.FQN) bool {
	switch fqn.Plural() {
	case "gateways", "virtualservices", "destinationrules", "sidecars", "envoyfilters", "serviceentries", "wasmplugins",
		"peerauthentications", "authorizationpolicies", "requestauthentications":
		return true
	}
	return false
}

// direct is an object of Istio's before any cluster was looked at.
type direct struct {
	FQN      resource.FQN
	Resource *resource.Resource
	Metadata intent.Metadata
	// Called are the hosts of a Gateway, as they stand there, that get a server for callers within the mesh.
	Called []string
}

// directPrefix is where the objects of one kind and name in a namespace of a cluster are: groups of several types may have one each.
func directPrefix(cluster, kind, namespace, name string) string {
	return "u/direct/" + cluster + "/" + kind + "/" + namespace + "/" + name + "/"
}

// directLayer decides in which clusters an object of Istio's may be.
func directLayer() *layer {
	return &layer{
		name: "direct",
		unitOf: func(key string) string {
			if fqn := store.Key(key).FQN(); isDirect(fqn) {
				return string(fqn)
			}
			return ""
		},
		root:   func(unit string) string { return string(store.ResourceKey(resource.FQN(unit))) },
		derive: deriveDirect,
	}
}

func deriveDirect(r *Reads, unit string, out *output) {
	fqn := resource.FQN(unit)
	res, _ := r.get(string(store.ResourceKey(fqn))).(*resource.Resource)
	workspace, _ := specOf(r, fqn.Ancestor("workspaces")).(*tsbv2.Workspace)
	group, mode := specOf(r, fqn.Parent()), typesv2.ConfigMode_DIRECT
	at := land{FQN: fqn, Namespace: res.Object.GetNamespace(), Field: "metadata.namespace"}
	var selector *typesv2.NamespaceSelector
	switch g := group.(type) {
	case *gatewayv2.Group:
		mode, selector, at.Scope = g.GetConfigMode(), g.GetNamespaceSelector(), groupScope(fqn.Ancestor("workspaces"))
	case *trafficv2.Group:
		mode, selector, at.Scope = g.GetConfigMode(), g.GetNamespaceSelector(), trafficScope(fqn.Ancestor("workspaces"))
	case *securityv2.Group:
		mode, selector, at.Scope = g.GetConfigMode(), g.GetNamespaceSelector(), securityScope(fqn.Ancestor("workspaces"))
	case *istiointernalv2.Group:
		selector, at.Scope = g.GetNamespaceSelector(), istioScope(fqn.Ancestor("workspaces"))
	default:
		return // the resource layer says that the group is missing
	}
	switch {
	case workspace == nil:
		return
	case mode != typesv2.ConfigMode_DIRECT:
		out.say(fqn, no(reasonBridgedGroup, "", "Group %q is in BRIDGED mode.", fqn.Parent()))
		return
	}
	at.Group = selectorPatterns(selector.GetNames())
	d := &direct{
		FQN: fqn, Resource: res,
		Metadata: mergeMetadata(specOf(r, fqn.Ancestor("organizations")), specOf(r, fqn.Ancestor("tenants")), workspace, group, ownMetadata(res.Object)),
	}
	p := directPlan(r, d)
	if p != nil && !hasClaims(r, p, out) {
		return
	}
	for _, cluster := range at.clusters(r, out) {
		key := directPrefix(cluster, res.Kind.Name, at.Namespace, fqn.Name()) + unit
		out.put(key, d)
		if p != nil {
			out.put(directPlacePrefix(cluster)+unit, p)
		}
	}
	if p != nil {
		for _, e := range p.Exposed {
			out.put(exposePrefix(e.Host)+unit, e)
		}
	}
}

// directObjectLayer gives each name of an object in a cluster to one who asks for it.
func directObjectLayer() *layer {
	return &layer{
		name: "directobject",
		unitOf: func(key string) string {
			rest, ok := strings.CutPrefix(key, "u/direct/")
			if !ok {
				return ""
			}
			return strings.Join(strings.SplitN(rest, "/", 5)[:4], "/")
		},
		root:   func(unit string) string { return "u/direct/" + unit + "/" },
		derive: deriveDirectObject,
	}
}

func deriveDirectObject(r *Reads, unit string, out *output) {
	part := strings.Split(unit, "/")
	cluster, kind, namespace, name := part[0], part[1], part[2], part[3]
	taken := madeBy(r, cluster, kind, namespace, name)
	for _, v := range r.prefix("u/direct/" + unit + "/") {
		d := v.(*direct)
		if taken != "" {
			out.say(d.FQN, in(cluster, no(reasonNameTaken, "metadata.name", "%s %q in namespace %q is left out: %q has an object of that name.", kind, name, namespace, taken)))
			continue
		}
		taken = d.FQN
		if c, other := takesOver(r, d, cluster); other {
			out.say(d.FQN, c)
			continue
		}
		out.put(intentDirects+cluster+"/"+string(d.FQN), &intent.DirectObject{
			Key:       intent.GatewayKey{Cluster: cluster, FQN: d.FQN},
			Workspace: d.FQN.Ancestor("workspaces").Name(), Group: groupLabel(d.FQN),
			APIVersion: d.Resource.Kind.APIVersion, Kind: kind, Namespace: namespace, Name: name,
			Metadata: d.Metadata, Spec: d.Resource.Spec, Called: d.Called,
		})
	}
}

// takesOver says whether the selector of a Gateway matches gateway pods in a namespace that the workspace does not own. Istio matches
// selectors in all namespaces.
func takesOver(r *Reads, d *direct, cluster string) (resource.Condition, bool) {
	g, ok := d.Resource.Spec.(*networking.Gateway)
	if !ok {
		return resource.Condition{}, false
	}
	for _, v := range r.prefix(string(store.FactKey(cluster, "workload/"))) {
		f, _ := v.(*isthmusv1.Fact)
		w := f.GetWorkload()
		if w.GetNamespace() == d.Resource.Object.GetNamespace() || !subset(g.GetSelector(), w.GetLabels()) || owns(r, d.FQN.Ancestor("workspaces"), cluster, w.GetNamespace()) {
			continue
		}
		return in(cluster, no(reasonSelectorShared, "selector", "The labels also match the gateway pods of %q in namespace %q, which the workspace does not own; nothing is configured.", w.GetName(), w.GetNamespace())), true
	}
	return resource.Condition{}, false
}

// groupLabel is the gateway group that an object says it is of.
func groupLabel(fqn resource.FQN) string { return fqn.Ancestor("gatewaygroups").Name() }

// madePrefix is where the layers put what they make in a namespace of users.
func madePrefix(cluster, namespace string) string { return "u/made/" + cluster + "/" + namespace + "/" }

// madeBy is the resource from which an object of a name is made, empty when there is none.
func madeBy(r *Reads, cluster, kind, namespace, name string) resource.FQN {
	if service, ok := strings.CutPrefix(name, wellknown.RoutePrefix); ok && kind == "VirtualService" {
		if v, _ := r.get(intentRoutes + cluster + "/" + namespace + "/" + service).(*intent.Route); v != nil && len(v.HTTP)+len(v.TLS)+len(v.TCP) > 0 {
			return v.FQN
		}
	}
	for _, v := range r.prefix(madePrefix(cluster, namespace)) {
		switch m := v.(type) {
		case *intent.Gateway:
			if gatewayMakes(m, kind, name) {
				return m.Key.FQN
			}
		case *intent.EastWest:
			if doorMakes(m, kind, namespace, name) {
				return m.Key.FQN
			}
		case *intent.Shared:
			if kind == "ServiceEntry" && name == wellknown.SharedEntryPrefix+m.Name || kind == "DestinationRule" && name == wellknown.SharedRulePrefix+m.Name {
				return m.Key.FQN
			}
		case *intent.Security:
			if securityMakes(m, kind, namespace, name) {
				return m.Key.FQN
			}
		case *intent.Front:
			for i := range m.Hosts {
				host := m.Hosts[i].Name
				if kind == "DestinationRule" && (name == wellknown.Tier1Prefix+host || name == wellknown.GlobalPrefix+host && !m.Hosts[i].Ruled) {
					return m.Key.FQN
				}
			}
		}
	}
	return ""
}

// gatewayMakes says whether an object of a name is made for a gateway. Objects of Istio's kind Gateway are those of its group.
func gatewayMakes(g *intent.Gateway, kind, name string) bool {
	switch kind {
	case "WasmPlugin":
		for i := range g.Extensions {
			if name == g.Name+"."+g.Extensions[i].Name {
				return true
			}
		}
	case "ServiceEntry", "DestinationRule":
		for i := range g.Origins {
			if name == g.Origins[i].Name {
				return true
			}
		}
	}
	if g.Egress != nil && name == wellknown.EgressPrefix+g.Egress.Name {
		return true
	}
	for i := range g.Hosts {
		host := g.Hosts[i].Name
		if kind == "VirtualService" && name == wellknown.RoutesPrefix+host || kind == "EnvoyFilter" && name == wellknown.GuardPrefix+host && guarded(g, g.Hosts[i].Host) {
			return true
		}
	}
	return false
}

// doorMakes says whether an object of a name is made for a gateway between clusters.
func doorMakes(w *intent.EastWest, kind, namespace, name string) bool {
	return slices.ContainsFunc(w.Doors, func(d intent.Door) bool {
		switch {
		case d.Namespace != namespace:
			return false
		case kind == "Gateway":
			return name == d.Name
		}
		return (kind == "VirtualService" || kind == "EnvoyFilter") && slices.ContainsFunc(d.Services, func(p intent.Passed) bool { return name == wellknown.DoorPrefix+p.Name })
	})
}

// securityMakes says whether an object of a name protects pods of a namespace. Objects of Istio's kind PeerAuthentication are those of its
// group.
func securityMakes(s *intent.Security, kind, namespace, name string) bool {
	return slices.ContainsFunc(s.Pods, func(p intent.SecuredPods) bool {
		suffix := ""
		if p.Service != "" {
			suffix = wellknown.ServiceInfix + p.Service
		}
		switch {
		case p.Namespace != namespace:
			return false
		case kind == "EnvoyFilter":
			return name == wellknown.SidecarGuard+suffix
		case kind == "WasmPlugin":
			return slices.ContainsFunc(p.Extensions, func(e intent.Extension) bool { return name == wellknown.SidecarPrefix+e.Name })
		case kind != "AuthorizationPolicy" || p.Access == nil:
			return false
		}
		return name == wellknown.AllowName+suffix || name == wellknown.DenyName+suffix ||
			slices.ContainsFunc(p.Gateways, func(g intent.GatewayPods) bool { return name == wellknown.OpenPrefix+g.Name })
	})
}

func guarded(g *intent.Gateway, host string) bool {
	return slices.ContainsFunc(g.Servers, func(s intent.Server) bool { return s.Host == host && s.Guard != nil })
}

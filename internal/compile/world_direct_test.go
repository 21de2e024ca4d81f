package compile

import (
	networking "istio.io/api/networking/v1alpha3"
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	istiointernalv2 "isthmus.dev/isthmus/api/tsb/istiointernal/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

const internalKind = "istiointernal.tsb.tetrate.io/v2/Group"

func internalFQN(t *rapid.T) resource.FQN {
	return workspaceFQN(t).Child("istiointernalgroups", one(t, "internal", "n1", "n1", "n2"))
}

// testDirect is an object of a kind of Istio's, by its plural, with as little in it as one likes.
func testDirect(group resource.FQN, plural, namespace, name, label string) edit {
	fqn := group.Child(plural, name)
	_, kind, err := resource.ParseFQN(string(fqn))
	if err != nil {
		panic(err)
	}
	r := resource.New(kind, fqn, kind.Spec())
	switch spec := r.Spec.(type) {
	case *networking.VirtualService:
		spec.Hosts = []string{label}
	case *networking.Gateway:
		spec.Selector = map[string]string{"app": label}
		spec.Servers = []*networking.Server{{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{map[string]string{"x": "h.test", "y": "./a-b.c", "q": "q.test"}[label]}}}
	}
	r.Object = &isthmusv1.ObjectMeta{Namespace: namespace, Labels: map[string]string{"mine": label}}
	r.Etag = resource.Etag(r)
	return edit{store.ResourceKey(fqn), r}
}

func drawDirect(t *rapid.T) edit {
	ns, label := one(t, "ns", "a", "b"), one(t, "label", "x", "y")
	switch one(t, "direct", "group", "internal", "internal", "traffic", "gateway", "security") {
	case "group":
		return testResource(internalKind, internalFQN(t), &istiointernalv2.Group{NamespaceSelector: drawPatterns(t), ConfigGenerationMetadata: drawMetadata(t)})
	case "gateway":
		return testDirect(groupFQN(t), one(t, "kind", "gateways", "virtualservices"), ns, one(t, "name", "o", "vs-h-test", "route-svc"), label)
	case "security":
		return testDirect(workspaceFQN(t).Child("securitygroups", one(t, "security", "s1", "s2")), one(t, "kind", "peerauthentications", "authorizationpolicies"), ns, one(t, "name", "default", "allow"), label)
	case "internal":
		return testDirect(internalFQN(t), one(t, "kind", "envoyfilters", "serviceentries", "wasmplugins"), ns, one(t, "name", "o", "guard-h-test", "i1.e"), label)
	}
	return testDirect(trafficFQN(t), one(t, "kind", "virtualservices", "destinationrules", "sidecars"), ns, one(t, "name", "o", "vs-h-test", "tier1-h-test"), label)
}

// goodDirect has objects of Istio's beside those that are made for the gateways of the good world.
func goodDirect(workspace resource.FQN) []edit {
	internal, traffic := workspace.Child("istiointernalgroups", "n1"), workspace.Child("trafficgroups", "t3")
	return []edit{
		testResource(internalKind, internal, &istiointernalv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/a", "c1/*"}}}),
		testResource(trafficKind, traffic, &trafficv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"c2/b"}}, ConfigMode: typesv2.ConfigMode_DIRECT}),
		testResource(internalKind, workspace.Child("istiointernalgroups", "n4"), &istiointernalv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"c2/b"}}}),
		testDirect(internal, "envoyfilters", "a", "o", "x"),
		testDirect(internal, "serviceentries", "b", "o", "x"),
		testDirect(internal, "envoyfilters", "a", "guard-h-test", "x"),
		testDirect(traffic, "virtualservices", "b", "vs-h-test", "x"),
		testDirect(traffic, "destinationrules", "b", "tier1-h-test", "x"),
		{store.ResourceKey(workspace.Child("istiointernalgroups", "n2")), nil},
		{store.ResourceKey(workspace.Child("istiointernalgroups", "n0")), nil},
		{store.ResourceKey(workspace.Child("trafficgroups", "t0")), nil},
		{store.ResourceKey(workspace.Child("gatewaygroups", "d0")), nil},
		{store.ResourceKey(workspace.Child("gatewaygroups", "d1")), nil},
		{store.FactKey("c2", "workload/z/gw"), nil},
		{store.ResourceKey(workspace.Child("securitygroups", "d0")), nil},
		{store.ResourceKey(workspace.Child("securitygroups", "d1")), nil},
	}
}

// directProbes are steps that the random walk rarely takes.
func directProbes() [][][]edit {
	workspace := testOrg.Child("tenants", "t").Child("workspaces", "w1")
	traffic := workspace.Child("trafficgroups", "t3")
	in := func(mode typesv2.ConfigMode) []edit {
		return []edit{testResource(trafficKind, traffic, &trafficv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"c2/b"}}, ConfigMode: mode})}
	}
	internal := func(name string, patterns ...string) []edit {
		return []edit{testResource(internalKind, workspace.Child("istiointernalgroups", name), &istiointernalv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: patterns}})}
	}
	other := func(pattern string) []edit {
		return []edit{testResource(trafficKind, workspace.Child("trafficgroups", "t0"), &trafficv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{pattern}}})}
	}
	gateways := func(name string, mode typesv2.ConfigMode, patterns ...string) []edit {
		return []edit{testResource(groupKind, workspace.Child("gatewaygroups", name), &gatewayv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: patterns}, ConfigMode: mode})}
	}
	protected := func(name string, mode typesv2.ConfigMode, patterns ...string) []edit {
		return []edit{testResource("security.tsb.tetrate.io/v2/Group", workspace.Child("securitygroups", name), &securityv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: patterns}, ConfigMode: mode})}
	}
	gateway := []edit{testDirect(workspace.Child("gatewaygroups", "d1"), "gateways", "b", "o", "x")}
	owned := func(names ...string) []edit {
		return []edit{testResource("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{NamespaceSelector: &typesv2.NamespaceSelector{Names: names}})}
	}
	// Whose pods a Gateway selects is told apart from all else that a workspace has.
	alone := []edit{testDirect(workspace.Child("gatewaygroups", "d1"), "gateways", "b", "o", "q")}
	pods := []edit{{store.FactKey("c2", "workload/z/gw"), &isthmusv1.Fact{Id: "workload/z/gw", Fact: &isthmusv1.Fact_Workload{Workload: &isthmusv1.Workload{
		Namespace: "z", Name: "gw", Labels: map[string]string{"app": "q"}, ServiceAccount: "sa", Ready: 1, Total: 1,
	}}}}}
	peer := []edit{testDirect(workspace.Child("securitygroups", "d1"), "peerauthentications", "b", "o", "x")}
	routes := []edit{testDirect(workspace.Child("gatewaygroups", "d1"), "virtualservices", "b", "route-svc", "x")}
	second := workspace.Parent().Child("workspaces", "w2")
	taken := second.Child("gatewaygroups", "d2")
	late := []edit{
		testResource("api.tsb.tetrate.io/v2/Workspace", second, &tsbv2.Workspace{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/z"}}}),
		testResource(groupKind, taken, &gatewayv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/z"}}, ConfigMode: typesv2.ConfigMode_DIRECT}),
		testDirect(taken, "gateways", "z", "o", "y"),
	}
	node := func(cluster, name, region string) []edit {
		return []edit{{store.FactKey(cluster, "node//"+name), &isthmusv1.Fact{Id: "node//" + name, Fact: &isthmusv1.Fact_Node{Node: &isthmusv1.Node{Name: name, Addresses: []string{"192.0.2.77"}, Region: region, Ready: true}}}}}
	}
	network := func(cluster, name string) []edit {
		return []edit{testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", cluster), &tsbv2.Cluster{Network: name})}
	}
	reaches := func(from, to string) []edit {
		return []edit{testResource("api.tsb.tetrate.io/v2/OrganizationSetting", testOrg.Child("settings", "s1"), &tsbv2.OrganizationSetting{NetworkSettings: reachableFrom(from, to)})}
	}
	return [][][]edit{
		// Hosts of a Gateway: whose they are, and how they are called.
		{late, {{store.ResourceKey(workspace.Child("gatewaygroups", "g1").Child("ingressgateways", "i1")), nil}}, {
			{store.ResourceKey(taken.Child("gateways", "o")), nil}, {store.ResourceKey(taken), nil},
		}},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c1/b"), gateway, node("c1", "n3", "r1"), {{store.FactKey("c1", "node//n3"), nil}}},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), gateway, node("c2", "n1", "r3")},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), gateway, {{store.FactKey("c2", "service/b/gw"), nil}}},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), gateway, {testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", "c2"), &tsbv2.Cluster{Labels: map[string]string{resource.DrainedLabel: "true"}})}},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), gateway, network("c2", "n8"), network("c1", "n7"), reaches("n8", "n6"), {
			{store.ResourceKey(testOrg.Child("settings", "s1")), nil},
		}},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c1/b"), routes, {{store.ResourceKey(workspace.Child("trafficgroups", "t1").Child("serviceroutes", "r2")), nil}}},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), gateway, owned("*/b"), {{store.FactKey("c2", "workload/a/gw"), nil}}},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), gateway, gateways("d1", typesv2.ConfigMode_BRIDGED, "c2/b")},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), gateway, gateways("d0", typesv2.ConfigMode_BRIDGED, "*/b")},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), gateway, gateways("d0", typesv2.ConfigMode_BRIDGED, "*/b*")},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), alone, pods, owned("*/a", "*/b", "*/z"), owned("*/a", "*/b")},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), alone, pods, owned("*/a", "*/b", "*/z*"), owned("*/a", "*/b")},
		{gateways("d1", typesv2.ConfigMode_DIRECT, "c2/b"), alone, pods, owned("*/a", "*/b", "*/z"), {testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{SystemNamespaces: []string{"z"}})}},
		{protected("d1", typesv2.ConfigMode_DIRECT, "c2/b"), peer, protected("d1", typesv2.ConfigMode_BRIDGED, "c2/b")},
		{protected("d1", typesv2.ConfigMode_DIRECT, "c2/b"), peer, protected("d0", typesv2.ConfigMode_BRIDGED, "*/b")},
		{protected("d1", typesv2.ConfigMode_DIRECT, "c2/b"), peer, protected("d0", typesv2.ConfigMode_BRIDGED, "*/b*")},
		{in(typesv2.ConfigMode_BRIDGED), in(typesv2.ConfigMode_DIRECT)},
		{internal("n0", "*/b*")},
		{other("*/b")}, {other("*/b*")},
		{internal("n0", "*/a"), internal("n0", "*/a*"), {{store.ResourceKey(workspace.Child("istiointernalgroups", "n0")), nil}}},
		{{{store.ResourceKey(workspace.Child("istiointernalgroups", "n1")), nil}}},
		{{{store.ResourceKey(traffic), nil}}},
		{{drawnTenant("z")}},
	}
}

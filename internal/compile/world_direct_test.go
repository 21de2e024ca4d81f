package compile

import (
	networking "istio.io/api/networking/v1alpha3"
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	istiointernalv2 "isthmus.dev/isthmus/api/tsb/istiointernal/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
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
	if vs, ok := r.Spec.(*networking.VirtualService); ok {
		vs.Hosts = []string{label}
	}
	r.Object = &isthmusv1.ObjectMeta{Namespace: namespace, Labels: map[string]string{"mine": label}}
	r.Etag = resource.Etag(r)
	return edit{store.ResourceKey(fqn), r}
}

func drawDirect(t *rapid.T) edit {
	ns, label := one(t, "ns", "a", "b"), one(t, "label", "x", "y")
	switch one(t, "direct", "group", "internal", "internal", "traffic") {
	case "group":
		return testResource(internalKind, internalFQN(t), &istiointernalv2.Group{NamespaceSelector: drawPatterns(t), ConfigGenerationMetadata: drawMetadata(t)})
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
	return [][][]edit{
		{in(typesv2.ConfigMode_BRIDGED), in(typesv2.ConfigMode_DIRECT)},
		{internal("n0", "*/b*")},
		{other("*/b")}, {other("*/b*")},
		{internal("n0", "*/a"), internal("n0", "*/a*"), {{store.ResourceKey(workspace.Child("istiointernalgroups", "n0")), nil}}},
		{{{store.ResourceKey(workspace.Child("istiointernalgroups", "n1")), nil}}},
		{{{store.ResourceKey(traffic), nil}}},
		{{drawnTenant("z")}},
	}
}

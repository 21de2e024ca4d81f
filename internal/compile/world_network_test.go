package compile

import (
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/store"
)

func drawNetworks(t *rapid.T) *tsbv2.NetworkSettings {
	if one(t, "networks", true, true, false) {
		return reachableFrom(one(t, "from", "n1", "n2", "n9"), one(t, "to", "", "n1", "n1, n2"))
	}
	return nil
}

func reachableFrom(from, to string) *tsbv2.NetworkSettings {
	return &tsbv2.NetworkSettings{NetworkReachability: map[string]string{from: to}}
}

// networkProbes put the clusters into networks that cannot call each other, or one of them.
func networkProbes() [][][]edit {
	cluster := func(name, network string) edit {
		return testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", name), &tsbv2.Cluster{Network: network})
	}
	says := func(from, to string) edit {
		return testResource("api.tsb.tetrate.io/v2/OrganizationSetting", testOrg.Child("settings", "s1"), &tsbv2.OrganizationSetting{NetworkSettings: reachableFrom(from, to)})
	}
	mesh := func(cluster, network string) edit {
		f := &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{DnsCapture: true, Network: network}}}
		return edit{store.FactKey(cluster, f.GetId()), f}
	}
	// Others have no gateways, and call those of the two clusters.
	apart := []edit{cluster("c1", "n1"), cluster("c2", "n2"), mesh("c3", ""), mesh("c4", "")}
	through := testResource("api.tsb.tetrate.io/v2/OrganizationSetting", testOrg.Child("settings", "s1"), &tsbv2.OrganizationSetting{
		NetworkSettings: &tsbv2.NetworkSettings{NetworkReachability: map[string]string{"n2": "n1", "n3": "n2"}},
	})
	front := testOrg.Child("tenants", "t").Child("workspaces", "w1").Child("gatewaygroups", "g1").Child("tier1gateways", "t1")
	external := goodFront()
	external.InternalServers = nil
	gone := []edit{{cluster("c3", "").key, nil}, {cluster("c4", "").key, nil}, {mesh("c3", "").key, nil}, {mesh("c4", "").key, nil}}
	return [][][]edit{
		{apart, {says("n1", "n2")}, {says("n2", "n1")}, {says("n9", "")}, {{says("n1", "").key, nil}}},
		{apart, {says("n9", "")}, {cluster("c2", "n1")}, {cluster("c2", "")}},
		{append(apart, cluster("c3", "n3"), mesh("c1", "n1")), {mesh("c3", "n3")}, gone},
		{
			append(apart, through, cluster("c3", "n3"), edit{store.FactKey("c2", "namespace//a"), nil}),
			{{store.FactKey("c2", "workload/b/gw"), nil}}, goodFacts("c2")[3:], {{store.FactKey("c2", "namespace//a"), nil}},
			{testResource("gateway.tsb.tetrate.io/v2/Tier1Gateway", front, external)}, {testResource("gateway.tsb.tetrate.io/v2/Tier1Gateway", front, goodFront())},
			gone,
		},
		{append(apart, says("n9", "")), {cluster("c3", "n3")}, {cluster("c4", "n3")}, {cluster("c4", "n1")}, gone},
	}
}

// hiddenProbes keep a workspace from hosts.
func hiddenProbes() [][][]edit {
	tenant := testOrg.Child("tenants", "t")
	workspace := tenant.Child("workspaces", "w1")
	says := func(name string, hostnames ...*typesv2.StringMatch) edit {
		return testResource("api.tsb.tetrate.io/v2/WorkspaceSetting", workspace.Child("settings", name), &tsbv2.WorkspaceSetting{
			HostsReachability: &tsbv2.HostsReachability{Hostnames: hostnames},
		})
	}
	exact := &typesv2.StringMatch{MatchType: &typesv2.StringMatch_Exact{Exact: "h.test"}}
	prefix := &typesv2.StringMatch{MatchType: &typesv2.StringMatch_Prefix{Prefix: "a"}}
	gateway := edit{store.ResourceKey(workspace.Child("gatewaygroups", "g1").Child("ingressgateways", "i3")), nil}
	selects := func(patterns ...string) edit {
		return testResource("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{NamespaceSelector: &typesv2.NamespaceSelector{Names: patterns}})
	}
	third := testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", "c3"), &tsbv2.Cluster{})
	earlier := tenant.Child("workspaces", "w0")
	return [][][]edit{
		{{says("s1", exact)}, {gateway}, {says("s0", prefix)}, {{says("s0").key, nil}}, {third}, {{third.key, nil}}, {selects("*/b")}, {selects("*/b", "*/a")}},
		{{says("s1", exact), selects("*/*")}, {{store.FactKey("c1", "namespace//b"), nil}}},
		{
			{says("s1", exact)},
			{testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{SystemNamespaces: []string{"a"}})},
			{testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{})},
			{testResource("api.tsb.tetrate.io/v2/Workspace", earlier, &tsbv2.Workspace{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/a"}}})},
			{testResource("api.tsb.tetrate.io/v2/Workspace", earlier, &tsbv2.Workspace{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/*"}}})},
			{{store.ResourceKey(earlier), nil}},
		},
	}
}

package compile

import (
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/store"
)

// drawEastWest is a list of gateways between clusters, most times of one.
func drawEastWest(t *rapid.T) []*tsbv2.EastWestGatewaySetting {
	var out []*tsbv2.EastWestGatewaySetting
	for range rapid.IntRange(0, 2).Draw(t, "doors") {
		s := eastWestThrough(one(t, "door", "a", "b", "b"))
		s.ConfigGenerationMetadata = drawMetadata(t)
		s.ExposedServices[0].ServiceLabels["tier"] = one(t, "tier", "x", "y")
		out = append(out, s)
	}
	return out
}

func eastWestThrough(ns string) *tsbv2.EastWestGatewaySetting {
	return &tsbv2.EastWestGatewaySetting{
		WorkloadSelector: &typesv2.WorkloadSelector{Namespace: ns, Labels: map[string]string{"app": "x"}},
		ExposedServices:  []*tsbv2.EastWestGatewaySetting_ExposedService{{ServiceLabels: map[string]string{"tier": "x"}}},
	}
}

func drawnApp(tier, selector, ip string, ports ...*isthmusv1.Service_Port) *isthmusv1.Fact {
	return &isthmusv1.Fact{Id: "service/a/app", Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{
		Namespace: "a", Name: "app", ClusterIp: ip, Selector: map[string]string{selector: "1"}, Labels: map[string]string{"tier": tier}, Ports: ports,
	}}}
}

func drawnBacking(plain bool, accounts ...string) *isthmusv1.Fact {
	return &isthmusv1.Fact{Id: "backing/a/app", Fact: &isthmusv1.Fact_Backing{Backing: &isthmusv1.Backing{
		Namespace: "a", Name: "app", Mesh: len(accounts) > 0, Plain: plain, ServiceAccounts: accounts,
	}}}
}

// drawApp is what there is of a service that clusters may share.
func drawApp(t *rapid.T) *isthmusv1.Fact {
	if one(t, "backing", true, false) {
		return drawnBacking(one(t, "plain", true, false, false), one(t, "accounts", []string{"app"}, []string{"app", "other"}, nil)...)
	}
	ports := []*isthmusv1.Service_Port{{Name: one(t, "port", "http", "grpc", ""), Number: one(t, "n", uint32(80), 81)}}
	if one(t, "second", true, false) {
		ports = append(ports, &isthmusv1.Service_Port{Name: "tcp", Number: 90, Protocol: one(t, "protocol", "TCP", "UDP")})
	}
	return drawnApp(one(t, "tier", "x", "y"), one(t, "selector", "s", "s", "g"), one(t, "ip", "10.0.2.1", "10.0.2.2", "None"), ports...)
}

// goodEastWest is what makes the service of two clusters one, which only c2 exposes.
func goodEastWest(cluster string) []edit {
	var edits []edit
	for _, f := range []*isthmusv1.Fact{drawnApp(map[string]string{"c1": "y", "c2": "x"}[cluster], "s", "10.0.2.1", &isthmusv1.Service_Port{Name: "http", Number: 80}), drawnBacking(false, "app")} {
		edits = append(edits, edit{store.FactKey(cluster, f.GetId()), f})
	}
	return edits
}

func goodEastWestSetting() edit {
	return testResource("api.tsb.tetrate.io/v2/WorkspaceSetting", testOrg.Child("tenants", "t").Child("workspaces", "w1").Child("settings", "s2"), &tsbv2.WorkspaceSetting{
		FailoverSettings:               &typesv2.FailoverSettings{FailoverPriority: []string{"p1"}},
		DefaultEastWestGatewaySettings: []*tsbv2.EastWestGatewaySetting{eastWestThrough("b")},
	})
}

// eastWestProbes are steps away from the good world that are about services which clusters share.
func eastWestProbes() [][][]edit {
	workspace := testOrg.Child("tenants", "t").Child("workspaces", "w1")
	fact := func(cluster string, f *isthmusv1.Fact) [][]edit {
		return [][]edit{{{store.FactKey(cluster, f.GetId()), f}}}
	}
	named := goodGateway("a", "app.a.svc.cluster.local", 80)
	first := &tsbv2.WorkspaceSetting{DefaultEastWestGatewaySettings: []*tsbv2.EastWestGatewaySetting{eastWestThrough("a")}}
	workload := func(ns string, installed bool) *isthmusv1.Fact {
		labels := map[string]string{"app": "x", "g": "1"}
		if installed {
			labels["isthmus.dev/gateway"] = ns + ".gw"
		}
		return &isthmusv1.Fact{Id: "workload/" + ns + "/gw", Fact: &isthmusv1.Fact_Workload{Workload: &isthmusv1.Workload{
			Namespace: ns, Name: "gw", Labels: labels, ServiceAccount: "sa", Ready: 1, Total: 1, Nodes: []string{"n1"},
		}}}
	}
	second := workspace.Parent().Child("workspaces", "w2")
	claimed := func(pattern string) [][]edit {
		return [][]edit{
			{testResource("api.tsb.tetrate.io/v2/Workspace", second, &tsbv2.Workspace{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{pattern}}})},
			{{store.NamespaceClaimKey(pattern), &store.Claim{Claimants: []store.Claimant{{Workspace: second, Since: 1}}}}},
			{{store.NamespaceClaimKey(pattern), nil}},
		}
	}
	setting := func(name string, s *tsbv2.WorkspaceSetting) []edit {
		return []edit{testResource("api.tsb.tetrate.io/v2/WorkspaceSetting", workspace.Child("settings", name), s)}
	}
	http := &isthmusv1.Service_Port{Name: "http", Number: 80}
	return [][][]edit{
		claimed("c1/a"), claimed("c1/*"), claimed("c2/b"), claimed("c2/a"), claimed("c2/a*"),
		fact("c1", drawnApp("y", "s", "10.0.2.1", http, &isthmusv1.Service_Port{Name: "more", Number: 81})),
		fact("c1", drawnApp("y", "s", "None", http)),
		fact("c2", drawnBacking(true, "app")),
		fact("c2", drawnApp("x", "s", "None", http)),
		fact("c2", drawnApp("x", "g", "10.0.2.1", http)),
		{{{store.ResourceKey(testOrg.Child("clusters", "c1")), nil}}, {{store.ResourceKey(testOrg.Child("clusters", "c2")), nil}, {store.ResourceKey(testOrg.Child("clusters", "c9")), nil}}},
		{{{store.FactKey("c1", "service/a/app"), nil}}},
		{{{store.FactKey("c2", "service/a/app"), nil}}},
		{{{store.FactKey("c2", "backing/a/app"), nil}}},
		{{{store.FactKey("c1", "namespace//a"), nil}}},
		{{{store.FactKey("c2", "namespace//b"), nil}}},
		{{{store.FactKey("c2", "namespace//b"), nil}, {store.FactKey("c2", "mesh//"), nil}}, {{store.FactKey("c2", "mesh//"), &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{DnsCapture: true}}}}}},
		{{{store.FactKey("c2", "service/b/gw"), nil}}},
		{
			fact("c2", &isthmusv1.Fact{Id: "service/b/gw", Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{
				Namespace: "b", Name: "gw", Type: "NodePort", Selector: map[string]string{"g": "1"}, Ports: []*isthmusv1.Service_Port{{Number: 15443, NodePort: 31443}},
			}}})[0],
			fact("c2", &isthmusv1.Fact{Id: "node//n2", Fact: &isthmusv1.Fact_Node{Node: &isthmusv1.Node{Name: "n2", Addresses: []string{"192.0.2.10"}, Ready: true}}})[0],
		},
		{{{store.FactKey("c2", "workload/b/gw"), nil}}},
		{fact("c2", workload("b", false))[0], fact("c2", workload("a", false))[0], {{store.FactKey("c2", "workload/a/gw"), nil}}},
		{fact("c2", drawnApp("x", "g", "10.0.2.1", http))[0], {{store.FactKey("c2", "workload/a/gw"), nil}}},
		{setting("s1", &tsbv2.WorkspaceSetting{FailoverSettings: &typesv2.FailoverSettings{FailoverPriority: []string{"p2"}}})},
		{setting("s1", first), {{store.ResourceKey(workspace.Child("settings", "s1")), nil}}},
		{{testResource("gateway.tsb.tetrate.io/v2/IngressGateway", workspace.Child("gatewaygroups", "g1").Child("ingressgateways", "i1"), named)}},
		{
			{testResource("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/*"}}})},
			{{store.FactKey("c2", "namespace//a"), nil}},
		},
		{{testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{SystemNamespaces: []string{"b"}})}},
		{{testResource("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{
			NamespaceSelector:        &typesv2.NamespaceSelector{Names: []string{"*/a", "*/b"}},
			ConfigGenerationMetadata: &typesv2.ConfigGenerationMetadata{Labels: map[string]string{"team": "z"}},
		})}},
	}
}

package compile

import (
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

const (
	egressKind  = "gateway.tsb.tetrate.io/v2/EgressGateway"
	groupKind   = "gateway.tsb.tetrate.io/v2/Group"
	unifiedKind = "gateway.tsb.tetrate.io/v2/Gateway"
	trafficKind = "traffic.tsb.tetrate.io/v2/Group"
	settingKind = "traffic.tsb.tetrate.io/v2/TrafficSetting"
)

func drawEgress(t *rapid.T) edit {
	selector := &typesv2.WorkloadSelector{Namespace: one(t, "ns", "a", "b"), Labels: map[string]string{"app": one(t, "app", "x", "y")}}
	name := one(t, "egress", "e1", "e2")
	if one(t, "unified", true, false) {
		from := &gatewayv2.GatewayEgressAuthorization_From{Resources: []string{string(one(t, "resource", workspaceFQN(t), groupFQN(t), trafficFQN(t)))}}
		return testResource(unifiedKind, groupFQN(t).Child("unifiedgateways", name), &gatewayv2.Gateway{WorkloadSelector: selector, EgressAuthorization: []*gatewayv2.GatewayEgressAuthorization{{
			From: from, To: []*gatewayv2.GatewayEgressAuthorization_To{{Host: &typesv2.StringMatch{MatchType: &typesv2.StringMatch_Exact{Exact: "out.test"}}}},
		}}})
	}
	mode := one(t, "mode", securityv2.AuthorizationSettings_WORKSPACE, securityv2.AuthorizationSettings_GROUP, securityv2.AuthorizationSettings_NAMESPACE)
	return testResource(egressKind, groupFQN(t).Child("egressgateways", name), &gatewayv2.EgressGateway{WorkloadSelector: selector, Authorization: []*gatewayv2.EgressAuthorization{
		{From: &securityv2.AuthorizationSettings{Mode: mode}, To: []string{"out.test"}},
	}})
}

func trafficFQN(t *rapid.T) resource.FQN {
	return workspaceFQN(t).Child("trafficgroups", one(t, "traffic", "t1", "t1", "t2"))
}

func drawTraffic(t *rapid.T) edit {
	if one(t, "grouping", true, false) {
		return testResource(trafficKind, trafficFQN(t), &trafficv2.Group{
			NamespaceSelector: drawPatterns(t), ConfigGenerationMetadata: drawMetadata(t), Profiles: drawProfiles(t),
			ConfigMode: one(t, "mode", typesv2.ConfigMode_BRIDGED, typesv2.ConfigMode_BRIDGED, typesv2.ConfigMode_BRIDGED, typesv2.ConfigMode_DIRECT),
		})
	}
	to := one(t, "way", "a/gw.a.svc.cluster.local", "a/gw.a.svc.cluster.local", "b/gw", "a/svc.a.svc.cluster.local")
	s := &trafficv2.TrafficSetting{Egress: &trafficv2.Egress{Host: to}}
	if one(t, "no way", false, true) {
		s.Egress = nil
	}
	if mode := trafficv2.Reachability_Mode(one(t, "reach", 0, 0, 1, 2, 3, 4, 5)); mode != trafficv2.Reachability_UNSET {
		s.Reachability = &trafficv2.Reachability{Mode: mode}
		if mode == trafficv2.Reachability_CUSTOM {
			s.Reachability.Hosts = []string{one(t, "known", "./*", "*/*", "b/svc.b.svc.cluster.local")}
		}
	}
	s.UpstreamTrafficSettings = drawCalls(t)
	s.Inbound = read[trafficv2.Inbound](one(t, "received", "", "", `{"resilience": {"meshTimeout": {"maxStreamDuration": "1s"}}}`))
	if one(t, "elsewhere", true, false) {
		return drawTrafficElsewhere(t, s)
	}
	return testResource(settingKind, trafficFQN(t).Child("settings", one(t, "setting", "s1", "s2")), s)
}

// goodEgress lets two gateways of the good world call the outside, and sends the calls of a group there.
func goodEgress(workspace resource.FQN) []edit {
	group, traffic := workspace.Child("gatewaygroups", "g1"), workspace.Child("trafficgroups", "t1")
	from := func(names ...resource.FQN) *gatewayv2.GatewayEgressAuthorization_From {
		out := &gatewayv2.GatewayEgressAuthorization_From{}
		for _, n := range names {
			out.Resources = append(out.Resources, string(n))
		}
		return out
	}
	any := []*gatewayv2.GatewayEgressAuthorization_To{{Host: &typesv2.StringMatch{MatchType: &typesv2.StringMatch_Exact{Exact: "out.test"}}}}
	return []edit{
		testResource(egressKind, group.Child("egressgateways", "e1"), &gatewayv2.EgressGateway{
			WorkloadSelector: &typesv2.WorkloadSelector{Namespace: "a", Labels: map[string]string{"app": "x"}},
			Authorization:    []*gatewayv2.EgressAuthorization{{From: &securityv2.AuthorizationSettings{Mode: securityv2.AuthorizationSettings_GROUP}, To: []string{"out.test"}}},
		}),
		testResource(unifiedKind, group.Child("unifiedgateways", "e1"), &gatewayv2.Gateway{
			WorkloadSelector:    &typesv2.WorkloadSelector{Namespace: "b", Labels: map[string]string{"app": "x"}},
			EgressAuthorization: []*gatewayv2.GatewayEgressAuthorization{{From: from(workspace, traffic), To: any}},
		}),
		testResource(trafficKind, traffic, &trafficv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/a", "c1/*"}}}),
		testResource(settingKind, traffic.Child("settings", "s1"), &trafficv2.TrafficSetting{
			Egress: &trafficv2.Egress{Host: "a/gw.a.svc.cluster.local"}, UpstreamTrafficSettings: callsTo("*", "svc.b.svc.cluster.local"),
		}),
		{store.ResourceKey(group.Child("egressgateways", "e2")), nil},
		{store.ResourceKey(traffic.Child("settings", "s2")), nil},
		{store.ResourceKey(traffic.Parent().Child("trafficgroups", "t2")), nil},
	}
}

// egressProbes are steps that the random walk rarely takes.
func egressProbes() [][][]edit {
	workspace := testOrg.Child("tenants", "t").Child("workspaces", "w1")
	group, traffic := workspace.Child("gatewaygroups", "g1"), workspace.Child("trafficgroups", "t1")
	ns := func(name string) []edit {
		return []edit{{store.FactKey("c1", "namespace//"+name), &isthmusv1.Fact{Id: "namespace//" + name, Fact: &isthmusv1.Fact_Namespace{Namespace: &isthmusv1.Namespace{Name: name}}}}}
	}
	takes := func(kind string, fqn resource.FQN, pattern string) [][]edit {
		selector := &typesv2.NamespaceSelector{Names: []string{pattern}}
		if kind == groupKind {
			return [][]edit{{testResource(kind, fqn, &gatewayv2.Group{NamespaceSelector: selector})}, {{store.ResourceKey(fqn), nil}}}
		}
		return [][]edit{{testResource(kind, fqn, &trafficv2.Group{NamespaceSelector: selector})}, {{store.ResourceKey(fqn), nil}}}
	}
	reach := func(mode trafficv2.Reachability_Mode) []edit {
		return []edit{testResource(settingKind, traffic.Child("settings", "s1"), &trafficv2.TrafficSetting{Outbound: &trafficv2.Outbound{Reachability: &trafficv2.Reachability{Mode: mode}}})}
	}
	owned := func(names ...string) []edit {
		return []edit{testResource("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{NamespaceSelector: &typesv2.NamespaceSelector{Names: names}})}
	}
	return [][][]edit{
		{ns("c"), owned("*/a", "*/b", "c1/*"), ns("d")},
		{reach(trafficv2.Reachability_WORKSPACE), owned("*/a", "*/b", "c1/*", "*/zz"), ns("c"), owned("*/a", "c1/*"), reach(trafficv2.Reachability_GROUP), reach(0)},
		{{testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", "c9"), &tsbv2.Cluster{})}},
		{{testResource(settingKind, traffic.Child("settings", "s0"), &trafficv2.TrafficSetting{Egress: &trafficv2.Egress{Host: "b/gw"}})}, {{store.ResourceKey(traffic.Child("settings", "s0")), nil}}},
		takes(trafficKind, workspace.Child("trafficgroups", "t0"), "*/a*"), takes(trafficKind, workspace.Child("trafficgroups", "t0"), "*/a"),
		takes(groupKind, workspace.Child("gatewaygroups", "g0"), "*/b*"), takes(groupKind, workspace.Child("gatewaygroups", "g0"), "*/b"),
		{{{store.ResourceKey(group.Child("egressgateways", "e1")), nil}}},
		{{{store.ResourceKey(traffic), nil}}},
		{{{store.FactKey("c1", "service/a/gw"), nil}}},
		{{{store.FactKey("c1", "mesh//"), nil}}, {{store.FactKey("c1", "namespace//a"), nil}}},
		{
			{testResource(trafficKind, traffic, &trafficv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/a"}}})}, reach(trafficv2.Reachability_GROUP),
			{{store.FactKey("c1", "namespace//a"), nil}}, {{store.FactKey("c1", "mesh//"), nil}},
		},
		{{testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{SystemNamespaces: []string{"a"}})}},
		{{{store.ResourceKey(workspace), nil}}},
		{{{store.ResourceKey(testOrg.Child("clusters", "c1")), nil}}},
	}
}

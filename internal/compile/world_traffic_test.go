package compile

import (
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/store"
)

// callSettings are ways to call a host.
var callSettings = []string{
	`{"loadBalancer": {"simple": "RANDOM"}}`,
	`{"loadBalancer": {"simple": "PASSTHROUGH"}}`,
	`{"resilience": {"circuitBreakerSensitivity": "LOW"}}`,
	`{"resilience": {"outlierDetection": {"consecutive5Xx": 1}, "connectionPool": {"http": {"requestTimeout": "1s"}}}}`,
}

func drawCalls(t *rapid.T) []*trafficv2.UpstreamTrafficSetting {
	if one(t, "quiet", true, false) {
		return nil
	}
	return []*trafficv2.UpstreamTrafficSetting{{
		Hosts:    []string{one(t, "called", "*", "h.test", "h.test", "a-b.c", "svc.a.svc.cluster.local", "*.test")},
		Settings: read[trafficv2.UpstreamTrafficSetting_Settings](one(t, "how", callSettings...)),
	}}
}

// callsTo wants a way of its own for each host.
func callsTo(hosts ...string) []*trafficv2.UpstreamTrafficSetting {
	return []*trafficv2.UpstreamTrafficSetting{{Hosts: hosts, Settings: read[trafficv2.UpstreamTrafficSetting_Settings](callSettings[0])}}
}

// callProbes are steps that matter to how hosts are called.
func callProbes() [][][]edit {
	setting := testOrg.Child("tenants", "t").Child("workspaces", "w1").Child("trafficgroups", "t1").Child("settings", "s1")
	calls := func(hosts ...string) []edit {
		return []edit{testResource(settingKind, setting, &trafficv2.TrafficSetting{UpstreamTrafficSettings: callsTo(hosts...)})}
	}
	gone := func(cluster, fact string) []edit { return []edit{{store.FactKey(cluster, fact), nil}} }
	service := func(name string) []edit {
		f := &isthmusv1.Fact{Id: "service/b/" + name, Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{Namespace: "b", Name: name}}}
		return []edit{{store.FactKey("c1", f.GetId()), f}}
	}
	front := testOrg.Child("tenants", "t").Child("workspaces", "w1").Child("trafficgroups", "t2")
	infront := testResource(settingKind, front.Child("settings", "s1"), &trafficv2.TrafficSetting{UpstreamTrafficSettings: callsTo("h.test")})
	return [][][]edit{
		{{testResource(trafficKind, front, &trafficv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/b"}}}), infront}, {{infront.key, nil}}},
		{gone("c1", "service/b/svc"), gone("c2", "service/b/svc")},
		{calls("none.b.svc.cluster.local"), service("none"), gone("c1", "service/b/none"), gone("c1", "mesh//")},
		{calls("h.test"), gone("c1", "workload/a/gw")},
		{calls("h.test"), {testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", "c1"), &tsbv2.Cluster{Network: "n1"})}, {{
			store.FactKey("c1", "mesh//"), &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{Network: "n1"}}},
		}}},
	}
}

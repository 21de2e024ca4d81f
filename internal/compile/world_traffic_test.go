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
	`{"resilience": {"circuitBreakerSensitivity": "CUSTOM", "outlierDetection": {"consecutive5Xx": 1}, "connectionPool": {"http": {"requestTimeout": "1s"}}}}`,
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

const serviceTrafficKind = "traffic.tsb.tetrate.io/v2/ServiceTrafficSetting"

// drawTrafficElsewhere is a setting of traffic of one service, or one that holds for all below an organization, a tenant or a workspace.
func drawTrafficElsewhere(t *rapid.T, s *trafficv2.TrafficSetting) edit {
	name := one(t, "setting", "s1", "s2")
	switch one(t, "level", "service", "service", "organization", "tenant", "workspace") {
	case "organization":
		return testResource("api.tsb.tetrate.io/v2/OrganizationSetting", testOrg.Child("settings", name), &tsbv2.OrganizationSetting{DefaultTrafficSetting: s})
	case "tenant":
		return testResource("api.tsb.tetrate.io/v2/TenantSetting", testOrg.Child("tenants", "t").Child("settings", name), &tsbv2.TenantSetting{DefaultTrafficSetting: s})
	case "workspace":
		return testResource("api.tsb.tetrate.io/v2/WorkspaceSetting", workspaceFQN(t).Child("settings", name), &tsbv2.WorkspaceSetting{DefaultTrafficSetting: s})
	}
	ns := one(t, "of", "a", "b")
	return testResource(serviceTrafficKind, trafficFQN(t).Child("servicesettings", name), &trafficv2.ServiceTrafficSetting{
		Service: ns + "/svc." + ns + ".svc.cluster.local", Settings: s,
	})
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
	served := func(name string) []edit {
		return []edit{testResource(serviceTrafficKind, setting.Parent().Child("servicesettings", name), &trafficv2.ServiceTrafficSetting{
			Service: "a/svc.a.svc.cluster.local", Settings: &trafficv2.TrafficSetting{UpstreamTrafficSettings: callsTo("h.test")},
		})}
	}
	labelled := &tsbv2.Organization{ConfigGenerationMetadata: &typesv2.ConfigGenerationMetadata{Labels: map[string]string{"part": "z"}}}
	return [][][]edit{
		{served("s1"), served("s0"), {{served("s0")[0].key, nil}}},
		{{testResource("api.tsb.tetrate.io/v2/Organization", testOrg, labelled)}},
		{{testResource(trafficKind, front, &trafficv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/b"}}}), infront}, {{infront.key, nil}}},
		{gone("c1", "service/b/svc"), gone("c2", "service/b/svc")},
		{calls("none.b.svc.cluster.local"), service("none"), gone("c1", "service/b/none"), gone("c1", "mesh//")},
		{calls("h.test"), gone("c1", "workload/a/gw")},
		{calls("h.test"), {testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", "c1"), &tsbv2.Cluster{Network: "n1"})}, {{
			store.FactKey("c1", "mesh//"), &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{Network: "n1"}}},
		}}},
	}
}

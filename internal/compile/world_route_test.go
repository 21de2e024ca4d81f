package compile

import (
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

const serviceRouteKind = "traffic.tsb.tetrate.io/v2/ServiceRoute"

// serviceRoutes are what routes of services say, beside the service.
var serviceRoutes = []string{
	`{"subsets": [{"name": "v1", "weight": 90}, {"name": "v2", "weight": 10}]}`,
	`{"subsets": [{"name": "v1", "labels": {"version": "v1"}}], "portLevelSettings": [{"port": 80, "trafficType": "HTTP"}, {"port": 81, "trafficType": "TCP"}]}`,
	`{"stickySession": {"header": "x"}}`,
	`{"subsets": [{"name": "v1"}, {"name": "v2"}], "httpRoutes": [
		{"name": "m", "match": [{"name": "m", "headers": {"x": {"exact": "y"}}, "port": 80}], "destination": [{"port": 80, "subset": "v2"}], "fault": {"abort": {"httpStatus": 503, "percentage": 1}}},
		{"name": "n", "match": [{"name": "n", "uri": {"prefix": "/n"}}], "destination": [{"port": 80, "destinationHost": "b/svc", "subset": "v1"}, {"port": 81, "destinationHost": "a/svc"}]}],
	  "tcpRoutes": [{"name": "t", "match": [{"name": "t", "port": 81}], "destination": [{"port": 81, "subset": "v1", "destinationHost": "b/svc"}]}]}`,
	`{"httpRoutes": [{"name": "m", "destination": [{"port": 80}], "mirrors": [{"port": 80, "host": "svc.b", "subset": "v2"}]}], "argoRollout": {}}`,
}

func serviceRoute(service, text string) *trafficv2.ServiceRoute {
	s := read[trafficv2.ServiceRoute](text)
	s.Service = service
	return s
}

func drawServiceRoute(t *rapid.T) edit {
	s := serviceRoute(one(t, "service", "a/svc", "b/svc"), one(t, "says", serviceRoutes...))
	s.ConfigGenerationMetadata = drawMetadata(t)
	return testResource(serviceRouteKind, trafficFQN(t).Child("serviceroutes", one(t, "route", "r1", "r2")), s)
}

// routed is what a cluster has for a service with routes.
func routed(namespace string, r *isthmusv1.Routed) *isthmusv1.Fact {
	r.Namespace, r.Name = namespace, "svc"
	return &isthmusv1.Fact{Id: "routed/" + namespace + "/svc", Fact: &isthmusv1.Fact_Routed{Routed: r}}
}

func drawRouted(t *rapid.T, namespace string) *isthmusv1.Fact {
	r := &isthmusv1.Routed{Pods: []*isthmusv1.Routed_Labels{{Labels: map[string]string{"version": one(t, "runs", "v1", "v2")}}}}
	if one(t, "ruled", true, false, false) {
		r.Rules = []*isthmusv1.Routed_Rule{{Kind: one(t, "rule", "DestinationRule", "VirtualService"), Namespace: one(t, "ruler", "a", "b"), Name: "x"}}
	}
	return routed(namespace, r)
}

// goodRoutes send a part of one service's requests to versions of another.
func goodRoutes(workspace resource.FQN) []edit {
	group := workspace.Child("trafficgroups", "t1")
	return []edit{
		testResource(serviceRouteKind, group.Child("serviceroutes", "r1"), serviceRoute("a/svc", serviceRoutes[3])),
		testResource(serviceRouteKind, group.Child("serviceroutes", "r2"), serviceRoute("b/svc", serviceRoutes[0])),
	}
}

// routeProbes are steps that matter to routes of services alone.
func routeProbes() [][][]edit {
	workspace := testOrg.Child("tenants", "t").Child("workspaces", "w1")
	group := workspace.Child("trafficgroups", "t1")
	route := func(name, service, says string) []edit {
		return []edit{testResource(serviceRouteKind, group.Child("serviceroutes", name), serviceRoute(service, says))}
	}
	gone := func(key store.Key) []edit { return []edit{{key, nil}} }
	at := func(fqn resource.FQN) []edit { return gone(store.ResourceKey(fqn)) }
	only := func(names ...string) *typesv2.NamespaceSelector { return &typesv2.NamespaceSelector{Names: names} }
	ports := func(number uint32, name string) []edit {
		return []edit{{store.FactKey("c1", "service/a/svc"), &isthmusv1.Fact{Id: "service/a/svc", Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{
			Namespace: "a", Name: "svc", Ports: []*isthmusv1.Service_Port{{Number: number, Name: name}},
		}}}}}
	}
	called := []edit{testResource(settingKind, group.Child("settings", "s1"), &trafficv2.TrafficSetting{UpstreamTrafficSettings: []*trafficv2.UpstreamTrafficSetting{{
		Hosts: []string{"svc.a.svc.cluster.local"}, Settings: read[trafficv2.UpstreamTrafficSetting_Settings](callSettings[0]),
	}}})}
	// With no way out, a setting depends on the namespaces alone.
	reach := []edit{testResource(settingKind, group.Child("settings", "s1"), &trafficv2.TrafficSetting{Reachability: &trafficv2.Reachability{Mode: trafficv2.Reachability_GROUP}})}
	second := workspace.Parent().Child("workspaces", "w2")
	first := &store.Claim{Claimants: []store.Claimant{{Workspace: second, Since: 1}}}
	takes := func(pattern string) []edit {
		return []edit{testResource("api.tsb.tetrate.io/v2/Workspace", second, &tsbv2.Workspace{NamespaceSelector: only(pattern)})}
	}
	return [][][]edit{
		{at(group.Child("serviceroutes", "r2")), route("r2", "b/svc", serviceRoutes[2])},
		{called, route("r1", "a/svc", serviceRoutes[2])},
		{route("r0", "a/svc", serviceRoutes[1]), at(group.Child("serviceroutes", "r0"))},
		{ports(80, "http"), ports(80, "tcp"), ports(82, ""), gone(store.FactKey("c1", "service/a/svc"))},
		{gone(store.FactKey("c1", "service/b/svc"))},
		{{{store.FactKey("c1", "routed/a/svc"), routed("a", &isthmusv1.Routed{Rules: []*isthmusv1.Routed_Rule{{Kind: "VirtualService", Namespace: "b", Name: "x"}}})}}, gone(store.FactKey("c1", "routed/a/svc"))},
		{reach, gone(store.FactKey("c2", "namespace//a")), gone(store.FactKey("c2", "mesh//"))},
		{reach, {{store.FactKey("c2", "namespace//a"), &isthmusv1.Fact{Id: "namespace//a", Fact: &isthmusv1.Fact_Namespace{Namespace: &isthmusv1.Namespace{Name: "a", Terminating: true}}}}}},
		{at(group)},
		{at(workspace)},
		{at(testOrg.Child("clusters", "c1"))},
		{{testResource(trafficKind, group, &trafficv2.Group{NamespaceSelector: only("*/a")})}},
		{{testResource(trafficKind, workspace.Child("trafficgroups", "t0"), &trafficv2.Group{NamespaceSelector: only("*/a*")})}, at(workspace.Child("trafficgroups", "t0"))},
		{{testResource("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{NamespaceSelector: only("*/a")})}},
		{{testResource("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{NamespaceSelector: only("*/a"), Privileged: true})}},
		{at(group.Child("serviceroutes", "r2")), {testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{SystemNamespaces: []string{"b"}})}},
		{at(group.Child("serviceroutes", "r2")), takes("*/b"), {{store.NamespaceClaimKey("*/b"), first}}, gone(store.NamespaceClaimKey("*/b"))},
		{at(group.Child("serviceroutes", "r2")), takes("*/b*"), {{store.NamespaceClaimKey("*/b*"), first}}, gone(store.NamespaceClaimKey("*/b*"))},
		{{testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{ConfigGenerationMetadata: &typesv2.ConfigGenerationMetadata{Labels: map[string]string{"o": "x"}}})}},
		{{drawnTenant("q")}},
	}
}

package compile

import (
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

func drawClusters(t *rapid.T) []*gatewayv2.ClusterDestination {
	byName := &gatewayv2.ClusterDestination{Name: one(t, "to", "c1", "c2", "c9")}
	byLabel := &gatewayv2.ClusterDestination{Labels: map[string]string{"zone": one(t, "zone", "x", "y")}, Network: one(t, "within", "", "n1")}
	switch one(t, "clusters", "all", "name", "labels", "split", "both") {
	case "name":
		return []*gatewayv2.ClusterDestination{byName}
	case "labels":
		return []*gatewayv2.ClusterDestination{byLabel}
	case "both":
		return []*gatewayv2.ClusterDestination{byName, byLabel}
	case "split":
		byName.Weight, byLabel.Weight = proto.Uint32(90), proto.Uint32(10)
		return []*gatewayv2.ClusterDestination{byName, byLabel}
	}
	return nil
}

// drawFront is a gateway in front of clusters, or a unified one that is either that or exposes its hosts.
func drawFront(t *rapid.T) edit {
	selector := drawSelector(t)
	name, port := one(t, "gateway", "t1", "t2"), one(t, "at", uint32(80), 443)
	if one(t, "unified", true, false) {
		route := &gatewayv2.GatewayRoute{Destination: &gatewayv2.GatewayRoute_ClusterDestination{ClusterDestination: &gatewayv2.ClusterDestinations{Clusters: drawClusters(t)}}}
		if one(t, "exposes", true, false) {
			r := drawRoute(t)
			route = &gatewayv2.GatewayRoute{Destination: &gatewayv2.GatewayRoute_ServiceDestination{ServiceDestination: &gatewayv2.ServiceDestination{
				Host: r.GetHost(), Port: r.GetPort(), Tls: read[typesv2.ClientTLS](one(t, "tls to", "", "", `{"mode": "SIMPLE", "secretName": "ca"}`)),
			}}}
		}
		g := &gatewayv2.Gateway{WorkloadSelector: selector, WasmPlugins: drawAttachments(t)}
		var failover *typesv2.FailoverSettings
		if one(t, "failover", true, false) {
			failover = &typesv2.FailoverSettings{FailoverPriority: []string{one(t, "first", "p1", "p2")}}
		}
		if one(t, "http", true, false) {
			g.Http = []*gatewayv2.GatewayHttpServer{{
				Name: "u", Port: port, Hostname: drawHost(t), Tls: drawTLS(t, port), FailoverSettings: failover,
				Authentication: drawAuthentication(t), Authorization: drawAuthorization(t), RateLimiting: drawLimits(t),
				Routing: &gatewayv2.GatewayHttpRouting{Rules: []*gatewayv2.GatewayHttpRule{{
					DisableExternalAuthorization: one(t, "open", true, false), CorsPolicy: one(t, "cors", nil, &gatewayv2.CorsPolicy{AllowOrigin: []string{"*"}}),
					Action: &gatewayv2.GatewayHttpRule_Route{Route: route},
				}}},
			}}
			if one(t, "transit", true, false) {
				g.Http[0].Port, g.Http[0].Tls, g.Http[0].TrafficMode = 0, nil, gatewayv2.TrafficMode_TRANSIT
			}
		} else {
			g.Tls = []*gatewayv2.GatewayTLSServer{{Name: "u", Port: port, Hostname: drawHost(t), FailoverSettings: failover, Route: route}}
		}
		return testResource("gateway.tsb.tetrate.io/v2/Gateway", groupFQN(t).Child("unifiedgateways", name), g)
	}
	g := &gatewayv2.Tier1Gateway{WorkloadSelector: selector, Extension: drawAttachments(t)}
	host, clusters := drawHost(t), drawClusters(t)
	switch one(t, "list", "external", "external", "internal", "pass", "tcp", "tcpinternal") {
	case "external":
		g.ExternalServers = []*gatewayv2.Tier1ExternalServer{{
			Name: "e", Port: port, Hostname: host, Clusters: clusters, Tls: drawTLS(t, port),
			Authentication: drawAuthentication(t), Authorization: drawAuthorization(t), RateLimiting: drawLimits(t),
		}}
		if one(t, "redirect", true, false, false, false) {
			g.ExternalServers[0].Clusters, g.ExternalServers[0].Redirect = nil, &gatewayv2.Redirect{Scheme: "https"}
		}
	case "internal":
		g.InternalServers = []*gatewayv2.Tier1InternalServer{{
			Name: "n", Hostname: host, Clusters: clusters, Authentication: drawAuthentication(t), Authorization: drawAuthorization(t),
		}}
	case "pass":
		g.PassthroughServers = []*gatewayv2.Tier1PassthroughServer{{Name: "p", Port: port, Hostname: host, Clusters: clusters}}
	case "tcp":
		g.TcpExternalServers = []*gatewayv2.Tier1TCPExternalServer{{Name: "t", Port: port, Hostname: host, Clusters: clusters, Tls: drawTLS(t, port)}}
	case "tcpinternal":
		g.TcpInternalServers = []*gatewayv2.Tier1TCPInternalServer{{Name: "i", Hostname: host, Clusters: clusters}}
	}
	return testResource("gateway.tsb.tetrate.io/v2/Tier1Gateway", groupFQN(t).Child("tier1gateways", name), g)
}

// goodFront is in front of what the good gateways expose.
func goodFront() *gatewayv2.Tier1Gateway {
	return &gatewayv2.Tier1Gateway{
		WorkloadSelector: &typesv2.WorkloadSelector{Namespace: "b", Labels: map[string]string{"app": "x"}},
		ExternalServers: []*gatewayv2.Tier1ExternalServer{{Name: "e", Port: 80, Hostname: "h.test", Clusters: []*gatewayv2.ClusterDestination{
			{Labels: map[string]string{"zone": "x"}, Weight: proto.Uint32(50)}, {Name: "c1", Weight: proto.Uint32(50)},
		}}},
		InternalServers: []*gatewayv2.Tier1InternalServer{{Name: "n", Hostname: "a-b.c"}},
	}
}

// frontProbes are steps that matter to the good front alone.
func frontProbes() [][][]edit {
	group := testOrg.Child("tenants", "t").Child("workspaces", "w1").Child("gatewaygroups", "g1")
	front := testResource("gateway.tsb.tetrate.io/v2/Tier1Gateway", group.Child("tier1gateways", "t1"), goodFront())
	marked := func(zone, drained string) []edit {
		return []edit{testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", "c2"), &tsbv2.Cluster{Labels: map[string]string{"zone": zone, resource.DrainedLabel: drained}})}
	}
	labels := func(zone string) []edit { return marked(zone, "") }
	second := testOrg.Child("tenants", "t").Child("workspaces", "w2").Child("gatewaygroups", "g1")
	rival := testResource("gateway.tsb.tetrate.io/v2/Tier1Gateway", second.Child("tier1gateways", "t2"), goodFront())
	earlier := edit{store.FrontClaimKey("h.test"), &store.Claim{Claimants: []store.Claimant{{Workspace: second.Parent(), Since: 1}}}}
	exposed := func(app string) edit {
		return testResource("gateway.tsb.tetrate.io/v2/Gateway", group.Child("unifiedgateways", "t1"), &gatewayv2.Gateway{
			WorkloadSelector: &typesv2.WorkloadSelector{Namespace: "b", Labels: map[string]string{"app": app}},
			Tls: []*gatewayv2.GatewayTLSServer{{Name: "s", Port: 8443, Hostname: "a-b.c", Route: &gatewayv2.GatewayRoute{
				Destination: &gatewayv2.GatewayRoute_ServiceDestination{ServiceDestination: &gatewayv2.ServiceDestination{Host: "b/svc.b.svc.cluster.local", Port: 80}},
			}}},
		})
	}
	elsewhere := goodFront()
	elsewhere.ExternalServers[0].Clusters[0].Labels["zone"] = "y"
	gone := []edit{{store.ResourceKey(testOrg.Child("clusters", "c1")), nil}}
	return [][][]edit{
		{{front}, labels("x"), labels("y"), {{front.key, nil}}},
		{{front}, gone},
		{{front}, marked("x", "true"), labels("x")},
		{{front, rival}, {earlier}, {{earlier.key, nil}}, {{rival.key, nil}}},
		{{front}, {{store.ResourceKey(group.Child("ingressgateways", "i2")), nil}, {store.ResourceKey(group.Child("ingressgateways", "i4")), nil}}},
		{labels("x"), {front}, {testResource("gateway.tsb.tetrate.io/v2/Tier1Gateway", group.Child("tier1gateways", "t1"), elsewhere)}},
		{{front}, {exposed("x")}, {exposed("y")}, {{front.key, nil}}, {front}, {{exposed("y").key, nil}}},
	}
}

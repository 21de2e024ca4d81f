package compile

import (
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	extensionv2 "isthmus.dev/isthmus/api/tsb/extension/v2"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// edit changes one key of a small world in which everything is in everybody's way.
type edit struct {
	key   store.Key
	value any // nil removes
}

const testOrg = resource.FQN("organizations/o")

func testResource(kind string, fqn resource.FQN, spec proto.Message) edit {
	return edit{store.ResourceKey(fqn), resource.New(resource.ByID(kind), fqn, spec)}
}

// editGen draws edits. The names are few, so that edits meet.
func editGen() *rapid.Generator[edit] {
	return rapid.Custom(func(t *rapid.T) edit {
		var e edit
		remove := 5 // one in so many
		switch rapid.IntRange(0, 31).Draw(t, "what") {
		case 0:
			e = drawOrganization(t)
		case 1:
			e = drawCluster(t)
			remove = 20
		case 2, 3:
			e = drawWorkspace(t)
			remove = 20
		case 4, 5:
			e = drawGroup(t)
			remove = 20
		case 6, 7, 8:
			e = drawGateway(t)
		case 9:
			e = drawSetting(t)
		case 10:
			e = drawClaim(t)
		case 11:
			e = drawExtension(t)
		case 12:
			e = drawEgress(t)
		case 13, 14:
			e = drawTraffic(t)
		case 15, 16:
			e = drawFront(t)
		case 23, 24, 25:
			e = drawSecurity(t)
		case 26, 27:
			e = drawServiceRoute(t)
		case 28, 29:
			e = drawDirect(t)
		case 30, 31:
			e = drawProfile(t)
		default:
			e = drawFact(t)
		}
		if rapid.IntRange(1, remove).Draw(t, "remove") == 1 {
			e.value = nil
		}
		return e
	})
}

func one[T any](t *rapid.T, label string, from ...T) T {
	return rapid.SampledFrom(from).Draw(t, label)
}

func drawOrganization(t *rapid.T) edit {
	if one(t, "tenant", true, false) {
		return drawnTenant(one(t, "part", "x", "y"), drawProfiles(t)...)
	}
	o := &tsbv2.Organization{Profiles: drawProfiles(t)}
	if one(t, "system", true, false, false) {
		o.SystemNamespaces = []string{one(t, "ns", "a", "b")}
	}
	return testResource("api.tsb.tetrate.io/v2/Organization", testOrg, o)
}

func drawnTenant(part string, profiles ...string) edit {
	return testResource("api.tsb.tetrate.io/v2/Tenant", testOrg.Child("tenants", "t"), &tsbv2.Tenant{
		ConfigGenerationMetadata: &typesv2.ConfigGenerationMetadata{Labels: map[string]string{"part": part}}, Profiles: profiles,
	})
}

func drawCluster(t *rapid.T) edit {
	return testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", one(t, "cluster", "c1", "c2")),
		&tsbv2.Cluster{Network: one(t, "network", "", "n1", "n2"), Labels: map[string]string{"zone": one(t, "zone", "x", "y"), resource.DrainedLabel: one(t, "drained", "", "true")}, TrustDomain: one(t, "domain", "", "td")})
}

func drawPatterns(t *rapid.T) *typesv2.NamespaceSelector {
	return &typesv2.NamespaceSelector{Names: rapid.SliceOfN(rapid.SampledFrom([]string{"*/a", "*/a", "*/b", "*/b", "c1/a", "c1/*", "*/a*"}), 1, 2).Draw(t, "patterns")}
}

func workspaceFQN(t *rapid.T) resource.FQN {
	return testOrg.Child("tenants", "t").Child("workspaces", one(t, "workspace", "w1", "w1", "w1", "w2"))
}

func groupFQN(t *rapid.T) resource.FQN {
	return workspaceFQN(t).Child("gatewaygroups", one(t, "group", "g1", "g1", "g2"))
}

func drawWorkspace(t *rapid.T) edit {
	return testResource("api.tsb.tetrate.io/v2/Workspace", workspaceFQN(t), &tsbv2.Workspace{
		NamespaceSelector: drawPatterns(t), Privileged: one(t, "privileged", true, false), ConfigGenerationMetadata: drawMetadata(t), Profiles: drawProfiles(t),
	})
}

func drawMetadata(t *rapid.T) *typesv2.ConfigGenerationMetadata {
	return &typesv2.ConfigGenerationMetadata{Labels: map[string]string{"team": one(t, "team", "x", "y")}}
}

func drawGroup(t *rapid.T) edit {
	return testResource("gateway.tsb.tetrate.io/v2/Group", groupFQN(t), &gatewayv2.Group{
		NamespaceSelector: drawPatterns(t), ConfigGenerationMetadata: drawMetadata(t), Profiles: drawProfiles(t),
		ConfigMode: one(t, "mode", typesv2.ConfigMode_BRIDGED, typesv2.ConfigMode_BRIDGED, typesv2.ConfigMode_BRIDGED, typesv2.ConfigMode_BRIDGED, typesv2.ConfigMode_DIRECT),
	})
}

func drawSetting(t *rapid.T) edit {
	settings := &typesv2.FailoverSettings{FailoverPriority: []string{one(t, "priority", "p1", "p2")}}
	if one(t, "organization", true, false, false) {
		return testResource("api.tsb.tetrate.io/v2/OrganizationSetting", testOrg.Child("settings", one(t, "setting", "s1", "s2")), &tsbv2.OrganizationSetting{
			FailoverSettings: one(t, "order", settings, nil), NetworkSettings: drawNetworks(t),
		})
	}
	fqn := workspaceFQN(t).Child("settings", one(t, "setting", "s1", "s2"))
	return testResource("api.tsb.tetrate.io/v2/WorkspaceSetting", fqn, &tsbv2.WorkspaceSetting{FailoverSettings: settings, DefaultEastWestGatewaySettings: drawEastWest(t)})
}

func drawHost(t *rapid.T) string { return one(t, "host", "a-b.c", "a.b.c", "h.test") }

func drawRoute(t *rapid.T) *gatewayv2.Route {
	ns := one(t, "to", "a", "b")
	return &gatewayv2.Route{Host: ns + "/svc." + ns + ".svc.cluster.local", Port: one(t, "port", uint32(80), 81)}
}

func drawGateway(t *rapid.T) edit {
	g := &gatewayv2.IngressGateway{WorkloadSelector: drawSelector(t), Extension: drawAttachments(t)}
	for i := range rapid.IntRange(1, 2).Draw(t, "servers") {
		name, port := "s"+strconv.Itoa(i), one(t, "at", uint32(80), 443)
		switch one(t, "kind", "http", "http", "https", "pass", "tcp") {
		case "http", "https":
			h := &gatewayv2.HttpServer{Name: name, Port: port, Hostname: drawHost(t), Routing: &gatewayv2.HttpRouting{
				Rules: []*gatewayv2.HttpRule{{Action: &gatewayv2.HttpRule_Route{Route: drawRoute(t)}}},
			}}
			h.Tls = drawTLS(t, port)
			if one(t, "guarded", true, true, false, false) {
				h.Authentication, h.Authorization, h.RateLimiting = drawAuthentication(t), drawAuthorization(t), drawLimits(t)
			}
			g.Http = append(g.Http, h)
		case "pass":
			g.TlsPassthrough = append(g.TlsPassthrough, &gatewayv2.TLSPassthroughServer{Name: name, Port: port, Hostname: drawHost(t), Route: drawRoute(t)})
		case "tcp":
			g.Tcp = append(g.Tcp, &gatewayv2.TCPServer{Name: name, Port: port, Hostname: drawHost(t), Route: drawRoute(t)})
		}
	}
	return testResource("gateway.tsb.tetrate.io/v2/IngressGateway", groupFQN(t).Child("ingressgateways", one(t, "gateway", "i1", "i2", "i3", "i4")), g)
}

const testExtension = testOrg + "/extensions/e"

func drawExtension(t *rapid.T) edit {
	e := &extensionv2.WasmExtension{Url: one(t, "url", "file:///a", "file:///b"), ImagePullSecret: one(t, "pull", "", "cert")}
	e.Phase = one(t, "phase", extensionv2.WasmExtension_STATS, extensionv2.WasmExtension_AUTHZ)
	if one(t, "allowed", true, false) {
		e.AllowedIn = []string{string(workspaceFQN(t))}
	}
	return testResource("extension.tsb.tetrate.io/v2/WasmExtension", testExtension, e)
}

func drawClaim(t *rapid.T) edit {
	key := one(t, "claim", store.HostClaimKey("h.test"), store.HostClaimKey("a-b.c"), store.HostClaimKey("a.b.c"), store.FrontClaimKey("h.test"), store.NamespaceClaimKey("*/a"), store.NamespaceClaimKey("c1/*"))
	return edit{key, &store.Claim{Claimants: []store.Claimant{{Workspace: workspaceFQN(t), Since: int64(rapid.IntRange(1, 3).Draw(t, "since"))}}}}
}

func drawFact(t *rapid.T) edit {
	cluster, ns := one(t, "in", "c1", "c2"), one(t, "namespace", "a", "b")
	fact := func(f *isthmusv1.Fact) edit { return edit{store.FactKey(cluster, f.GetId()), f} }
	switch one(t, "fact", "routed", "mesh", "namespace", "service", "gateway", "gateway", "workload", "workload", "secret", "asked", "app", "app", "node") {
	case "mesh":
		domain := one(t, "td", "m1", "m2")
		return fact(&isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{
			TrustDomain: domain, TrustDomainAliases: map[string][]string{"m2": {"m1"}}[domain], Network: one(t, "net", "", "n1"), DnsCapture: one(t, "dns", true, false), ForwardedClients: one(t, "forwarded", true, false, false), RootsSha256: one(t, "roots", nil, []string{"x"}, []string{"x", "y"}), SignerSha256: one(t, "signer", "", "x", "y"), Region: one(t, "region", "", "r1"),
		}}})
	case "namespace":
		return fact(&isthmusv1.Fact{Id: "namespace//" + ns, Fact: &isthmusv1.Fact_Namespace{Namespace: &isthmusv1.Namespace{Name: ns, Terminating: one(t, "terminating", true, false, false)}}})
	case "service":
		return fact(&isthmusv1.Fact{Id: "service/" + ns + "/svc", Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{
			Namespace: ns, Name: "svc", ClusterIp: "10.0.0.1", Selector: one(t, "selects", nil, map[string]string{"app": "svc"}, map[string]string{"app": "svc"}, map[string]string{"app": "x"}), Ports: []*isthmusv1.Service_Port{{Number: one(t, "number", uint32(80), 81)}},
		}}})
	case "gateway":
		return fact(drawGatewayService(t, ns))
	case "workload":
		w := &isthmusv1.Workload{
			Namespace: ns, Name: "gw", Labels: map[string]string{"app": one(t, "label", "x", "y"), "g": "1"},
			ServiceAccount: one(t, "sa", "sa1", "sa2"), Ready: one(t, "ready", uint32(0), 1, 1), Total: 1, Nodes: []string{"n1"},
		}
		w.Rejected = one(t, "rejected", nil, nil, nil, []string{"not this"}, []string{"a-b.c is wrong"})
		w.Mounts = one(t, "mounts", nil, []string{"/certs"}, []string{"/other"})
		w.ForwardedClients = one(t, "told", nil, nil, new(true), new(false))
		w.Ports = one(t, "ports", nil, map[string]uint32{"web": 8080}, map[string]uint32{"web": 8081})
		if one(t, "installed", true, false) {
			w.Labels["isthmus.dev/gateway"] = ns + ".gw"
		}
		return fact(&isthmusv1.Fact{Id: "workload/" + ns + "/gw", Fact: &isthmusv1.Fact_Workload{Workload: w}})
	case "routed":
		return fact(drawRouted(t, ns))
	case "secret":
		return fact(drawSecret(t, ns))
	case "asked":
		return fact(drawAsked(t, ns))
	case "app":
		return fact(drawApp(t))
	default:
		node := one(t, "node", "n1", "n2")
		return fact(&isthmusv1.Fact{Id: "node//" + node, Fact: &isthmusv1.Fact_Node{Node: &isthmusv1.Node{
			Name: node, Addresses: []string{"192.0.2.9"}, Region: one(t, "r", "r1", "r2"), Ready: one(t, "up", true, false),
		}}})
	}
}

func drawGatewayService(t *rapid.T, ns string) *isthmusv1.Fact {
	s := &isthmusv1.Service{
		Namespace: ns, Name: "gw", Type: one(t, "type", "LoadBalancer", "NodePort"), ClusterIp: fmt.Sprintf("10.0.1.%d", rapid.IntRange(1, 2).Draw(t, "ip")),
		Selector: map[string]string{"g": "1"}, ExternalAddresses: one(t, "ext", nil, []string{"192.0.2.1"}, []string{"lb.test"}),
		Ports: []*isthmusv1.Service_Port{{Name: "http", Number: 80, TargetPort: one(t, "target", "8080", "8081", "web"), NodePort: 30080}, {Name: "tls", Number: 443, TargetPort: "8443", NodePort: 30443}},
	}
	s.ExternalTrafficPolicy = one(t, "policy", "", "Cluster", "Local")
	if one(t, "mtls", true, true, false) {
		s.Ports = append(s.Ports, &isthmusv1.Service_Port{Name: "mtls", Number: 15443, TargetPort: "15443", NodePort: 31443})
	}
	return &isthmusv1.Fact{Id: "service/" + ns + "/gw", Fact: &isthmusv1.Fact_Service{Service: s}}
}

// goodWorld sets everything that the edits change to values that go together.
func goodWorld() []edit {
	both := &typesv2.NamespaceSelector{Names: []string{"*/a", "*/b"}}
	workspace := testOrg.Child("tenants", "t").Child("workspaces", "w1")
	group := workspace.Child("gatewaygroups", "g1")
	other := goodGateway("a", "h.test", 80)
	other.WorkloadSelector.Labels["app"] = "y"
	guarded := goodGateway("a", "a-b.c", 443)
	guardAll(guarded.GetHttp()[0])
	counted := goodGateway("a", "h.test", 80)
	counted.GetHttp()[0].RateLimiting = read[typesv2.RateLimiting](`{"externalService": {"domain": "d", "rateLimitServerUri": "counter.b:81", "rules": [{"dimensions": [{"remoteAddress": {}}]}]}}`)
	other.Extension = []*typesv2.WasmAttachment{{Fqn: string(testExtension)}}
	edits := []edit{
		testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{}),
		testResource("api.tsb.tetrate.io/v2/Tenant", workspace.Parent(), &tsbv2.Tenant{}),
		testResource("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{NamespaceSelector: both}),
		testResource("gateway.tsb.tetrate.io/v2/Group", group, &gatewayv2.Group{NamespaceSelector: both}),
		testResource("gateway.tsb.tetrate.io/v2/IngressGateway", group.Child("ingressgateways", "i1"), guarded),
		testResource("gateway.tsb.tetrate.io/v2/IngressGateway", group.Child("ingressgateways", "i2"), counted),
		testResource("gateway.tsb.tetrate.io/v2/IngressGateway", group.Child("ingressgateways", "i3"), &gatewayv2.IngressGateway{
			WorkloadSelector: &typesv2.WorkloadSelector{Namespace: "b", Labels: map[string]string{"app": "x"}},
			Tcp:              []*gatewayv2.TCPServer{{Name: "t", Port: 443, Hostname: "a.b.c", Route: &gatewayv2.Route{Host: "b/svc", Port: 80}}},
		}),
		testResource("gateway.tsb.tetrate.io/v2/IngressGateway", group.Child("ingressgateways", "i4"), other),
		testResource("extension.tsb.tetrate.io/v2/WasmExtension", testExtension, &extensionv2.WasmExtension{Url: "file:///a", ImagePullSecret: "cert"}),
		{store.ResourceKey(workspace.Child("gatewaygroups", "g0")), nil},
		{store.ResourceKey(testOrg.Child("clusters", "c9")), nil},
		testResource("gateway.tsb.tetrate.io/v2/Tier1Gateway", group.Child("tier1gateways", "t1"), goodFront()),
		{store.ResourceKey(group.Child("unifiedgateways", "t1")), nil},
		{store.ResourceKey(group.Child("unifiedgateways", "t2")), nil},
		{store.ResourceKey(workspace.Child("gatewaygroups", "g2")), nil},
		{store.ResourceKey(workspace.Parent().Child("workspaces", "w2")), nil},
	}
	edits = append(edits, slices.Concat(goodEgress(workspace), goodSecurity(workspace), goodRoutes(workspace), goodDirect(workspace), goodProfiles(workspace))...)
	edits = append(edits, goodEastWestSetting())
	for _, c := range []string{"c1", "c2"} {
		edits = append(edits, testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", c), &tsbv2.Cluster{}))
		edits = append(append(append(edits, goodFacts(c)...), goodAsked(c)...), goodEastWest(c)...)
	}
	return edits
}

func goodGateway(ns, host string, port uint32) *gatewayv2.IngressGateway {
	h := &gatewayv2.HttpServer{Name: "s", Port: port, Hostname: host, Routing: &gatewayv2.HttpRouting{Rules: []*gatewayv2.HttpRule{{
		Action: &gatewayv2.HttpRule_Route{Route: &gatewayv2.Route{Host: "b/svc.b.svc.cluster.local", Port: 80}},
	}}}}
	if port == 443 {
		h.Tls = &typesv2.ServerTLS{Mode: typesv2.ServerTLS_SIMPLE, Source: &typesv2.ServerTLS_SecretName{SecretName: "cert"}}
	}
	return &gatewayv2.IngressGateway{
		WorkloadSelector: &typesv2.WorkloadSelector{Namespace: ns, Labels: map[string]string{"app": "x"}},
		Http:             []*gatewayv2.HttpServer{h},
	}
}

func goodFacts(cluster string) []edit {
	var edits []edit
	add := func(f *isthmusv1.Fact) { edits = append(edits, edit{store.FactKey(cluster, f.GetId()), f}) }
	add(&isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{DnsCapture: true}}})
	add(&isthmusv1.Fact{Id: "node//n1", Fact: &isthmusv1.Fact_Node{Node: &isthmusv1.Node{Name: "n1", Addresses: []string{"192.0.2.9"}, Region: "r1", Ready: true}}})
	for _, ns := range []string{"a", "b"} {
		add(&isthmusv1.Fact{Id: "namespace//" + ns, Fact: &isthmusv1.Fact_Namespace{Namespace: &isthmusv1.Namespace{Name: ns}}})
		add(&isthmusv1.Fact{Id: "secret/" + ns + "/cert", Fact: &isthmusv1.Fact_Secret{Secret: &isthmusv1.Secret{Namespace: ns, Name: "cert"}}})
		add(&isthmusv1.Fact{Id: "service/" + ns + "/svc", Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{
			Namespace: ns, Name: "svc", Selector: map[string]string{"app": "svc"}, Ports: []*isthmusv1.Service_Port{{Number: 80}},
		}}})
		add(&isthmusv1.Fact{Id: "service/" + ns + "/gw", Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{
			Namespace: ns, Name: "gw", Type: map[string]string{"c1": "NodePort", "c2": "LoadBalancer"}[cluster], ExternalAddresses: map[string][]string{"c2": {"192.0.2.1"}}[cluster], ClusterIp: "10.0.1.1", Selector: map[string]string{"g": "1"},
			Ports: []*isthmusv1.Service_Port{{Number: 80, TargetPort: "8080", NodePort: 30080}, {Number: 443, TargetPort: "8443", NodePort: 30443}, {Number: 15443, NodePort: 31443}},
		}}})
		add(&isthmusv1.Fact{Id: "workload/" + ns + "/gw", Fact: &isthmusv1.Fact_Workload{Workload: &isthmusv1.Workload{
			Namespace: ns, Name: "gw", Labels: map[string]string{"app": "x", "g": "1", "isthmus.dev/gateway": ns + ".gw"},
			ServiceAccount: "sa", Ready: 1, Total: 1, Nodes: []string{"n1"},
		}}})
	}
	return edits
}

// probes are steps away from the good world that the random walk rarely takes.
func probes() [][][]edit {
	tenant := testOrg.Child("tenants", "t")
	group := tenant.Child("workspaces", "w1").Child("gatewaygroups", "g1")
	second := tenant.Child("workspaces", "w2")
	only := func(pattern string) *typesv2.NamespaceSelector {
		return &typesv2.NamespaceSelector{Names: []string{pattern}}
	}
	gateway := func(name string, g *gatewayv2.IngressGateway) []edit {
		return []edit{testResource("gateway.tsb.tetrate.io/v2/IngressGateway", group.Child("ingressgateways", name), g)}
	}
	root := func(cluster, sum string) []edit {
		return []edit{{store.FactKey(cluster, "mesh//"), &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{RootsSha256: []string{sum}}}}}}
	}
	return append(slices.Concat(egressProbes(), frontProbes(), networkProbes(), hiddenProbes(), securityProbes(), callProbes(), routeProbes(), eastWestProbes(), directProbes(), profileProbes()), [][][]edit{
		{root("c1", "x"), root("c2", "y"), root("c1", "y")},
		{{{store.FactKey("c1", "namespace//a"), nil}}, {{store.FactKey("c1", "mesh//"), nil}}},
		{{{store.FactKey("c1", "node//n2"), &isthmusv1.Fact{Id: "node//n2", Fact: &isthmusv1.Fact_Node{Node: &isthmusv1.Node{
			Name: "n2", Addresses: []string{"192.0.2.10"}, Ready: true,
		}}}}}},
		{{testResource("gateway.tsb.tetrate.io/v2/Group", group.Parent().Child("gatewaygroups", "g0"), &gatewayv2.Group{NamespaceSelector: only("*/a*")})}},
		{{{store.FactKey("c1", "secret/a/cert"), nil}}},
		{{drawnTenant("z")}},
		{{{store.FactKey("c1", "secret/a/ca"), nil}}},
		{{{store.FactKey("c1", "service/b/svc"), nil}}},
		{{{store.FactKey("c1", "service/b/keys"), nil}}},
		{{{store.FactKey("c1", "service/b/counter"), nil}}},
		{{{store.FactKey("c1", "service/test/login"), &isthmusv1.Fact{Id: "service/test/login", Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{Namespace: "test", Name: "login"}}}}}},
		{{{store.FactKey("c1", "service/test/login"), nil}}},
		{
			{{store.FactKey("c1", "workload/a/gw"), &isthmusv1.Fact{Id: "workload/a/gw", Fact: &isthmusv1.Fact_Workload{Workload: &isthmusv1.Workload{
				Namespace: "a", Name: "gw", Labels: map[string]string{"app": "x", "g": "1"}, ServiceAccount: "sa", Ready: 1, Total: 1, Rejected: []string{"h.test is wrong"},
			}}}}},
			{{store.ResourceKey(group.Child("ingressgateways", "i2")), nil}},
		},
		{{{store.FactKey("c2", "node//n1"), &isthmusv1.Fact{Id: "node//n1", Fact: &isthmusv1.Fact_Node{Node: &isthmusv1.Node{Name: "n1", Region: "r2", Ready: true}}}}}},
		{{{store.FactKey("c1", "service/b/grants"), nil}}},
		{{{store.FactKey("c1", "service/"+limiterNamespace+"/"+limiterName), nil}}},
		{{{store.ResourceKey(testExtension), nil}}},
		{gateway("i1", goodGateway("a", "h.test", 443)), gateway("i1", goodGateway("a", "h.test", 80))},
		{
			{testResource("api.tsb.tetrate.io/v2/Workspace", second, &tsbv2.Workspace{NamespaceSelector: only("*/a")})},
			{{store.NamespaceClaimKey("*/a"), &store.Claim{Claimants: []store.Claimant{{Workspace: second, Since: 1}}}}},
			{{store.NamespaceClaimKey("*/a"), nil}},
		},
		{
			{testResource("api.tsb.tetrate.io/v2/Workspace", second, &tsbv2.Workspace{NamespaceSelector: only("*/b*")})},
			{{store.NamespaceClaimKey("*/b*"), &store.Claim{Claimants: []store.Claimant{{Workspace: second, Since: 1}}}}},
			{{store.NamespaceClaimKey("*/b*"), nil}},
		},
		{
			{testResource("api.tsb.tetrate.io/v2/Workspace", second, &tsbv2.Workspace{NamespaceSelector: only("*/*")})},
			{{store.NamespaceClaimKey("*/*"), &store.Claim{Claimants: []store.Claimant{{Workspace: second, Since: 1}}}}},
			{{store.NamespaceClaimKey("*/*"), nil}},
		},
		{{testResource("gateway.tsb.tetrate.io/v2/Group", group.Parent().Child("gatewaygroups", "g0"), &gatewayv2.Group{NamespaceSelector: only("*/a")})}},
		{{testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{SystemNamespaces: []string{"a"}})}},
		{{testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{SystemNamespaces: []string{"b"}})}},
		{
			{
				testResource("gateway.tsb.tetrate.io/v2/Group", second.Child("gatewaygroups", "g1"), &gatewayv2.Group{NamespaceSelector: only("*/c")}),
				testResource("gateway.tsb.tetrate.io/v2/IngressGateway", second.Child("gatewaygroups", "g1").Child("ingressgateways", "i1"), goodGateway("c", "h.test", 80)),
			},
			{{store.HostClaimKey("h.test"), &store.Claim{Claimants: []store.Claimant{{Workspace: second, Since: 1}}}}},
			{{store.HostClaimKey("h.test"), nil}},
		},
		{gateway("i0", &gatewayv2.IngressGateway{
			WorkloadSelector: &typesv2.WorkloadSelector{Namespace: "a", Labels: map[string]string{"app": "x"}},
			Tcp:              []*gatewayv2.TCPServer{{Name: "t", Port: 80, Hostname: "a.b.c", Route: &gatewayv2.Route{Host: "b/svc", Port: 80}}},
		}), {{store.ResourceKey(group.Child("ingressgateways", "i0")), nil}}},
		{
			{testResource("api.tsb.tetrate.io/v2/Workspace", second, &tsbv2.Workspace{NamespaceSelector: only("*/b")})},
			{{store.NamespaceClaimKey("*/b"), &store.Claim{Claimants: []store.Claimant{{Workspace: second, Since: 1}}}}},
			{{store.NamespaceClaimKey("*/b"), nil}},
		},
	}...)
}

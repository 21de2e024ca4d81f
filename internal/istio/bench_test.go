package istio_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/compile"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// state has many hosts, each at a gateway of its own in one of the clusters, with a specification made from the namespace.
func state(hosts, clusters int, spec func(ns string) *gatewayv2.IngressGateway) *store.Snapshot {
	values := map[store.Key]any{}
	put := func(kind string, fqn resource.FQN, spec proto.Message) {
		values[store.ResourceKey(fqn)] = resource.New(resource.ByID(kind), fqn, spec)
	}
	org := resource.FQN("organizations/o")
	workspace := org.Child("tenants", "t").Child("workspaces", "w")
	group := workspace.Child("gatewaygroups", "g")
	selector := &typesv2.NamespaceSelector{Names: []string{"*/shop*"}}
	put("api.tsb.tetrate.io/v2/Organization", org, &tsbv2.Organization{})
	put("api.tsb.tetrate.io/v2/Tenant", workspace.Parent(), &tsbv2.Tenant{})
	put("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{NamespaceSelector: selector})
	put("gateway.tsb.tetrate.io/v2/Group", group, &gatewayv2.Group{NamespaceSelector: selector})
	for c := range clusters {
		name := fmt.Sprintf("c%d", c)
		put("api.tsb.tetrate.io/v2/Cluster", org.Child("clusters", name), &tsbv2.Cluster{})
		values[store.FactKey(name, "mesh//")] = &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{TrustDomain: "cluster.local", DnsCapture: true}}}
	}
	for h := range hosts {
		ns := fmt.Sprintf("shop%d", h)
		put("gateway.tsb.tetrate.io/v2/IngressGateway", group.Child("ingressgateways", ns), spec(ns))
		for _, f := range gatewayFacts(ns, "192.0.2.1") {
			values[store.FactKey(fmt.Sprintf("c%d", h%clusters), f.GetId())] = f
		}
	}
	return store.NewSnapshot(1, values)
}

func gatewaySpec(ns string) *gatewayv2.IngressGateway {
	return &gatewayv2.IngressGateway{
		WorkloadSelector: &typesv2.WorkloadSelector{Namespace: ns, Labels: map[string]string{"app": "gw"}},
		Http: []*gatewayv2.HttpServer{{Name: "web", Port: 443, Hostname: ns + ".example.com",
			Tls: &typesv2.ServerTLS{Mode: typesv2.ServerTLS_SIMPLE, Source: &typesv2.ServerTLS_SecretName{SecretName: "cert"}},
			Routing: &gatewayv2.HttpRouting{Rules: []*gatewayv2.HttpRule{{
				Match:  []*gatewayv2.HttpMatch{{Uri: &typesv2.StringMatch{MatchType: &typesv2.StringMatch_Prefix{Prefix: "/api"}}}},
				Action: &gatewayv2.HttpRule_Route{Route: &gatewayv2.Route{Host: ns + "/api." + ns + ".svc.cluster.local", Port: 8080}},
			}, {
				Action: &gatewayv2.HttpRule_Route{Route: &gatewayv2.Route{Host: ns + "/web." + ns + ".svc.cluster.local", Port: 8080}},
			}}},
		}},
	}
}

// guardedSpec has what a host of an API has: tokens, access from other origins, and three routes, of which one can be edited.
func guardedSpec(ns string) *gatewayv2.IngressGateway { return guardedSpecTo(ns, "/v1") }

func guardedSpecTo(ns, edited string) *gatewayv2.IngressGateway {
	g := gatewaySpec(ns)
	h := g.GetHttp()[0]
	h.Authentication = &typesv2.Authentication{RequireJwt: true, Config: &typesv2.Authentication_Rules_{Rules: &typesv2.Authentication_Rules{Jwt: []*typesv2.JWT{{
		Issuer: "https://login.example.com", Audiences: []string{ns + ".example.com"},
		Keys:                 &typesv2.JWT_Jwks{Jwks: `{"keys":[{"kty":"oct","kid":"k","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}`},
		FromHeaders:          []*typesv2.JWT_Header{{Name: "x-token", Prefix: "Bearer "}},
		OutputClaimToHeaders: []*typesv2.JWT_ClaimToHeader{{Header: "x-user", Claim: "sub"}},
	}}}}}
	h.Routing.CorsPolicy = &gatewayv2.CorsPolicy{
		AllowOrigin: []string{"https://" + ns + ".example.com", "https://www.example.com"}, AllowMethods: []string{"GET", "POST"},
		AllowHeaders: []string{"authorization"}, MaxAge: durationpb.New(time.Hour), AllowCredentials: new(true),
	}
	h.Routing.Rules = append([]*gatewayv2.HttpRule{{
		Match:  []*gatewayv2.HttpMatch{{Uri: &typesv2.StringMatch{MatchType: &typesv2.StringMatch_Prefix{Prefix: edited}}}},
		Modify: &gatewayv2.Modify{Rewrite: &gatewayv2.Modify_Rewrite{Uri: "/"}},
		Action: &gatewayv2.HttpRule_Route{Route: &gatewayv2.Route{Host: ns + "/api." + ns + ".svc.cluster.local", Port: 8080}},
	}}, h.Routing.Rules...)
	return g
}

func gatewayFacts(ns, address string) []*isthmusv1.Fact {
	service := func(name string, s *isthmusv1.Service) *isthmusv1.Fact {
		s.Namespace, s.Name = ns, name
		return &isthmusv1.Fact{Id: "service/" + ns + "/" + name, Fact: &isthmusv1.Fact_Service{Service: s}}
	}
	app := func() *isthmusv1.Service {
		return &isthmusv1.Service{ClusterIp: "10.0.0.9", Ports: []*isthmusv1.Service_Port{{Number: 8080}}}
	}
	return []*isthmusv1.Fact{
		{Id: "namespace//" + ns, Fact: &isthmusv1.Fact_Namespace{Namespace: &isthmusv1.Namespace{Name: ns}}},
		{Id: "secret/" + ns + "/cert", Fact: &isthmusv1.Fact_Secret{Secret: &isthmusv1.Secret{Namespace: ns, Name: "cert"}}},
		service("api", app()), service("web", app()),
		service("gw", &isthmusv1.Service{
			Type: "LoadBalancer", ClusterIp: "10.0.0.1", ExternalAddresses: []string{address}, Selector: map[string]string{"app": "gw"},
			Ports: []*isthmusv1.Service_Port{{Number: 443, TargetPort: "8443"}, {Number: 15443, TargetPort: "15443"}},
		}),
		{Id: "workload/" + ns + "/gw", Fact: &isthmusv1.Fact_Workload{Workload: &isthmusv1.Workload{
			Namespace: ns, Name: "gw", Labels: map[string]string{"app": "gw", "isthmus.dev/gateway": ns + ".gw"}, ServiceAccount: "gw", Ready: 1, Total: 1,
		}}},
	}
}

// BenchmarkFull compiles 1,000 hosts of one cluster and makes typed objects of them, or those with their JSON and digests.
func BenchmarkFull(b *testing.B) {
	s := state(1000, 1, gatewaySpec)
	b.Run("Typed", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n = istio.CountTyped(compile.New().RunAll(s).Delta)
		}
		want(b, n, 4000)
	})
	b.Run("Encoded", func(b *testing.B) {
		n, size := 0, 0
		for b.Loop() {
			r := istio.New()
			r.Apply(compile.New().RunAll(s).Delta)
			n, size = 0, 0
			for _, o := range r.Bundle("c0").Objects {
				n++
				size += len(o.JSON)
			}
		}
		want(b, n, 4001)
		b.ReportMetric(float64(size), "B-out")
	})
}

// BenchmarkOneChange changes the address of one gateway among 1,000 hosts and 50 clusters, up to the changes of all bundles.
func BenchmarkOneChange(b *testing.B) {
	s := state(1000, 50, gatewaySpec)
	compiler, renderer := compile.New(), istio.New()
	renderer.Apply(compiler.RunAll(s).Delta)
	key := store.FactKey("c7", "service/shop7/gw")
	var worlds []*store.Snapshot
	for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
		worlds = append(worlds, s.With(2, map[store.Key]any{key: gatewayFacts("shop7", address)[4]}))
	}
	renderer.Apply(compiler.Run(worlds[0], []store.Key{key}).Delta) // the first change gathers who read what
	i, touched, objects := 0, 0, 0
	for b.Loop() {
		i++
		changes := renderer.Apply(compiler.Run(worlds[i%2], []store.Key{key}).Delta)
		touched, objects = len(changes), 0
		for _, ch := range changes {
			objects += len(ch.Put)
		}
	}
	want(b, touched, 49) // the own cluster calls the gateway by its ClusterIP
	b.ReportMetric(float64(objects), "objects")
}

// BenchmarkJoin adds a cluster to 50 with 1,000 hosts: one that only calls them, and one that exposes some of them, too, of which all
// others hear.
func BenchmarkJoin(b *testing.B) {
	const name = "c50"
	before := state(1000, 50, gatewaySpec)
	for _, exposed := range []int{0, 20} {
		what := map[bool]string{false: "Calls", true: "Exposes"}[exposed > 0]
		b.Run(what, func(b *testing.B) {
			fqn := resource.FQN("organizations/o").Child("clusters", name)
			values := map[store.Key]any{
				store.ResourceKey(fqn):        resource.New(resource.ByID("api.tsb.tetrate.io/v2/Cluster"), fqn, &tsbv2.Cluster{}),
				store.FactKey(name, "mesh//"): &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{TrustDomain: "cluster.local", DnsCapture: true}}},
			}
			for h := range exposed {
				for _, f := range gatewayFacts(fmt.Sprintf("shop%d", h), "192.0.2.50") {
					values[store.FactKey(name, f.GetId())] = f
				}
			}
			var keys []store.Key
			gone := map[store.Key]any{}
			for k := range values {
				keys, gone[k] = append(keys, k), nil
			}
			after := before.With(2, values)
			left := after.With(3, gone)
			compiler, renderer := compile.New(), istio.New()
			renderer.Apply(compiler.RunAll(before).Delta)
			changed, objects := 0, 0
			for b.Loop() {
				changes := renderer.Apply(compiler.Run(after, keys).Delta)
				b.StopTimer()
				changed, objects = len(changes), 0
				for _, ch := range changes {
					objects += len(ch.Put)
				}
				renderer.Apply(compiler.Run(left, keys).Delta)
				b.StartTimer()
			}
			b.ReportMetric(float64(changed), "clusters")
			b.ReportMetric(float64(objects), "objects")
		})
	}
}

// BenchmarkGuarded compiles 1,000 hosts of one cluster, each with tokens, access from other origins and three routes, to typed
// objects; and edits one route of one of them, up to the change of the bundle.
func BenchmarkGuarded(b *testing.B) {
	s := state(1000, 1, guardedSpec)
	b.Run("Typed", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n = istio.CountTyped(compile.New().RunAll(s).Delta)
		}
		want(b, n, 5000)
	})
	b.Run("OneRoute", func(b *testing.B) {
		compiler, renderer := compile.New(), istio.New()
		renderer.Apply(compiler.RunAll(s).Delta)
		fqn := resource.FQN("organizations/o/tenants/t/workspaces/w/gatewaygroups/g/ingressgateways/shop7")
		key := store.ResourceKey(fqn)
		var worlds []*store.Snapshot
		for _, prefix := range []string{"/v2", "/v3"} {
			edited := resource.New(resource.ByID("gateway.tsb.tetrate.io/v2/IngressGateway"), fqn, guardedSpecTo("shop7", prefix))
			worlds = append(worlds, s.With(2, map[store.Key]any{key: edited}))
		}
		renderer.Apply(compiler.Run(worlds[0], []store.Key{key}).Delta) // the first change gathers who read what
		i, objects := 0, 0
		for b.Loop() {
			i++
			objects = 0
			for _, ch := range renderer.Apply(compiler.Run(worlds[i%2], []store.Key{key}).Delta) {
				objects += len(ch.Put)
			}
		}
		want(b, objects, 1) // the routes of the host, and nothing else
	})
}

// TestCoresDoNotMatter compiles a world that is large enough to be shared out between cores, with one and with four.
func TestCoresDoNotMatter(t *testing.T) {
	s := state(300, 3, guardedSpec)
	bundles := func(cores int) map[string]string {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
		res, r, out := compile.New().RunAll(s), istio.New(), map[string]string{}
		for fqn, cs := range res.Conditions {
			out[string(fqn)] = fmt.Sprint(cs)
		}
		r.Apply(res.Delta)
		for _, cluster := range r.Clusters() {
			for id, o := range r.Bundle(cluster).Objects {
				out[cluster+" "+id] = o.Digest
			}
		}
		return out
	}
	if diff := cmp.Diff(bundles(1), bundles(4)); diff != "" {
		t.Errorf("one core and four (-one +four):\n%s", diff)
	}
}

func want(b *testing.B, got, want int) {
	b.Helper()
	if got != want {
		b.Fatalf("the output has %d parts, want %d", got, want)
	}
	b.ReportMetric(float64(got), "parts")
}

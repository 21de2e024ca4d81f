package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/api/isthmus/v1/isthmusv1connect"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/fleet"
	"isthmus.dev/isthmus/internal/pipeline"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/store/sqlite"
)

// A world as large as that of the other figures: 1,000 hosts in 50 clusters, of which each has 300 services.
const (
	worldEdges    = 50
	worldGateways = 20 // in each cluster, each with one host and 14 services behind it
	worldServices = 300
	// worldBundle is what each cluster gets: a namespace, two objects for each own gateway, two for each host.
	worldBundle = 1 + 2*worldGateways + 2*worldGateways*worldEdges
)

// BenchmarkMemoryPerEdge measures by how much the heap of a server grows when edges connect, report, and take their
// bundles. Store, pipeline, fleet and statuses are those of a server; the edges' own ends of the streams are counted too.
func BenchmarkMemoryPerEdge(b *testing.B) {
	for b.Loop() {
		w := newWorld(b)
		before := heap()
		for i := range worldEdges {
			w.connect(b, i)
		}
		w.settle(b)
		after := heap()
		b.ReportMetric(float64(after-before)/worldEdges, "B/edge")
		b.ReportMetric(float64(w.taken.Load())/worldEdges, "objects/edge")
		w.close(b)
	}
}

// heap is what is reachable.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one left to finalizers and pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// world is a server, but for its API.
type world struct {
	db    *store.DB
	fleet *fleet.Fleet
	state *state
	http  *httptest.Server
	taken atomic.Int64    // objects that edges have
	ctx   context.Context // ends with the world
	stop  context.CancelFunc
	loops *errgroup.Group
}

func worldCluster(i int) resource.FQN {
	return resource.FQN("organizations/o").Child("clusters", fmt.Sprintf("c%02d", i))
}

func newWorld(b *testing.B) *world {
	b.Helper()
	log, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "isthmus.db"))
	if err != nil {
		b.Fatal(err)
	}
	w := &world{}
	if w.db, err = store.Open(b.Context(), log, store.Config{}); err != nil {
		b.Fatal(err)
	}
	if _, err := w.db.Update(b.Context(), store.Meta{}, declareWorld); err != nil {
		b.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	w.state = newState(w.db, func(c string) fleet.State { return w.fleet.State(c) }, quiet)
	w.fleet = fleet.New(fleet.Config{
		Authenticate: func(_ context.Context, h http.Header, _ time.Time) (resource.FQN, error) {
			return resource.FQN(strings.TrimPrefix(h.Get("Authorization"), "Bearer ")), nil
		},
		StartSession: w.db.StartSession, Observe: observe(w.db), Changed: func(string) { w.state.wake() }, Log: quiet,
		Heartbeat: time.Minute, // these edges speak only when there is something to say
	})
	loop := pipeline.New(pipeline.Config{
		Store: w.db, Publish: publisher{&parts{fleet: w.fleet, state: w.state}}, Compiled: w.state.compiledTo, Log: quiet,
	})
	mux := http.NewServeMux()
	mux.Handle(w.fleet.Handler())
	w.http = httptest.NewUnstartedServer(mux)
	w.http.EnableHTTP2 = true
	w.http.StartTLS()
	ctx, stop := context.WithCancel(b.Context())
	w.stop = stop
	w.loops, w.ctx = errgroup.WithContext(ctx) // who fails ends the others
	ctx = w.ctx
	w.loops.Go(func() error { return ended(ctx, loop.Run(ctx)) })
	w.loops.Go(func() error { return ended(ctx, w.state.run(ctx)) })
	return w
}

// declareWorld is what users wrote.
func declareWorld(tx *store.Tx) error {
	org := resource.FQN("organizations/o")
	workspace := org.Child("tenants", "t").Child("workspaces", "w")
	group := workspace.Child("gatewaygroups", "g")
	selector := &typesv2.NamespaceSelector{}
	for c := range worldEdges {
		selector.Names = append(selector.Names, fmt.Sprintf("%s/shop-%d-*", worldCluster(c).Name(), c))
	}
	errs := []error{
		createMissing(tx, org, &tsbv2.Organization{}),
		createMissing(tx, workspace.Parent(), &tsbv2.Tenant{}),
		createMissing(tx, workspace, &tsbv2.Workspace{NamespaceSelector: selector}),
		createMissing(tx, group, &gatewayv2.Group{NamespaceSelector: selector}),
	}
	for c := range worldEdges {
		errs = append(errs, createMissing(tx, worldCluster(c), &tsbv2.Cluster{}))
		for g := range worldGateways {
			ns := fmt.Sprintf("shop-%d-%d", c, g)
			errs = append(errs, createMissing(tx, group.Child("ingressgateways", ns), worldGateway(ns)))
		}
	}
	return errors.Join(errs...)
}

func worldGateway(ns string) *gatewayv2.IngressGateway {
	return &gatewayv2.IngressGateway{
		WorkloadSelector: &typesv2.WorkloadSelector{Namespace: ns, Labels: map[string]string{"app": "gw"}},
		Http: []*gatewayv2.HttpServer{{
			Name: "web", Port: 443, Hostname: ns + ".example.com",
			Tls: &typesv2.ServerTLS{Mode: typesv2.ServerTLS_SIMPLE, Source: &typesv2.ServerTLS_SecretName{SecretName: "cert"}},
			Routing: &gatewayv2.HttpRouting{Rules: []*gatewayv2.HttpRule{{
				Action: &gatewayv2.HttpRule_Route{Route: &gatewayv2.Route{Host: ns + "/app0." + ns + ".svc.cluster.local", Port: 8080}},
			}}},
		}},
	}
}

// worldFacts are what the edge of a cluster reports.
func worldFacts(cluster int) []*isthmusv1.Fact {
	facts := []*isthmusv1.Fact{{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{TrustDomain: "cluster.local", Region: "r", DnsCapture: true}}}}
	add := func(f *isthmusv1.Fact) { facts = append(facts, f) }
	service := func(s *isthmusv1.Service) {
		add(&isthmusv1.Fact{Id: "service/" + s.GetNamespace() + "/" + s.GetName(), Fact: &isthmusv1.Fact_Service{Service: s}})
	}
	for g := range worldGateways {
		ns := fmt.Sprintf("shop-%d-%d", cluster, g)
		add(&isthmusv1.Fact{Id: "namespace//" + ns, Fact: &isthmusv1.Fact_Namespace{Namespace: &isthmusv1.Namespace{Name: ns}}})
		add(&isthmusv1.Fact{Id: "secret/" + ns + "/cert", Fact: &isthmusv1.Fact_Secret{Secret: &isthmusv1.Secret{Namespace: ns, Name: "cert"}}})
		add(&isthmusv1.Fact{Id: "workload/" + ns + "/gw", Fact: &isthmusv1.Fact_Workload{Workload: &isthmusv1.Workload{
			Namespace: ns, Name: "gw", Labels: map[string]string{"app": "gw", "isthmus.dev/gateway": ns + ".gw"}, ServiceAccount: "gw", Ready: 1, Total: 1,
		}}})
		service(&isthmusv1.Service{
			Namespace: ns, Name: "gw", Type: "LoadBalancer", ClusterIp: fmt.Sprintf("10.0.0.%d", g+1), Selector: map[string]string{"app": "gw"},
			ExternalAddresses: []string{fmt.Sprintf("203.0.%d.%d", cluster, g+1)},
			Ports:             []*isthmusv1.Service_Port{{Number: 443, TargetPort: "8443"}, {Number: 15443, TargetPort: "15443"}},
		})
		for a := range worldServices/worldGateways - 1 {
			service(&isthmusv1.Service{
				Namespace: ns, Name: fmt.Sprintf("app%d", a), ClusterIp: fmt.Sprintf("10.1.%d.%d", g, a+1),
				Labels: map[string]string{"app": fmt.Sprintf("app%d", a)}, Selector: map[string]string{"app": fmt.Sprintf("app%d", a)},
				Ports: []*isthmusv1.Service_Port{{Name: "http", Number: 8080, TargetPort: "8080"}},
			})
		}
	}
	return facts
}

// connect is an edge that says hello, reports, and answers whatever it is told. It keeps nothing but a count.
func (w *world) connect(b *testing.B, i int) {
	b.Helper()
	tr := w.http.Client().Transport.(*http.Transport).Clone() // each edge has a connection of its own, as in life
	b.Cleanup(tr.CloseIdleConnections)
	ctx, call := connect.NewClientContext(b.Context())
	call.RequestHeader().Set("Authorization", "Bearer "+string(worldCluster(i)))
	stream, err := isthmusv1connect.NewFleetClient(&http.Client{Transport: tr}, w.http.URL, connect.WithGRPC()).Connect(ctx)
	if err != nil {
		b.Fatal(err)
	}
	hello := &isthmusv1.Hello{Protocol: fleet.Protocol, Version: "test", Session: fmt.Sprint("session ", i)}
	report := &isthmusv1.Observed{Seq: 1, Full: true, Last: true, Put: worldFacts(i)}
	for _, m := range []*isthmusv1.EdgeMessage{
		{Message: &isthmusv1.EdgeMessage_Hello{Hello: hello}}, {Message: &isthmusv1.EdgeMessage_Observed{Observed: report}},
	} {
		if err := stream.Send(m); err != nil {
			b.Fatal(err)
		}
	}
	w.loops.Go(func() error {
		have := int64(0)
		for {
			m, err := stream.Receive()
			if err != nil {
				return ended(w.ctx, errors.Join(err, context.Cause(w.ctx)))
			}
			d := m.GetDelta()
			if d == nil || !d.GetLast() {
				continue
			}
			w.taken.Add(int64(d.GetTotal()) - have)
			have = int64(d.GetTotal())
			a := &isthmusv1.Applied{At: d.GetTo(), OkCount: d.GetTotal()}
			if err := stream.Send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Applied{Applied: a}}); err != nil {
				return err
			}
		}
	})
}

// settle waits until every edge has reported, taken its whole bundle, and answered.
func (w *world) settle(b *testing.B) {
	b.Helper()
	done := func() bool {
		for i := range worldEdges {
			s := w.fleet.State(worldCluster(i).Name())
			if !s.Connected || !s.Reported || len(s.Unsent)+len(s.Unanswered) > 0 {
				return false
			}
		}
		return w.taken.Load() == worldBundle*worldEdges
	}
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) || w.ctx.Err() != nil {
			w.close(b)
			b.Fatalf("edges have %d objects and get no more, want %d", w.taken.Load(), worldBundle*worldEdges)
		}
	}
}

func (w *world) close(b *testing.B) {
	b.Helper()
	w.stop()
	w.http.CloseClientConnections()
	w.http.Close()
	if err := errors.Join(w.loops.Wait(), w.db.Close()); err != nil {
		b.Error(err)
	}
}

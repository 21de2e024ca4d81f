package edge_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/apply/applytest"
	"isthmus.dev/isthmus/internal/edge"
	"isthmus.dev/isthmus/internal/fleet"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
)

const clusterName = "organizations/tetrate/clusters/east"

// world is one cluster and one server, of which any part can go away.
type world struct {
	t       *testing.T
	cluster *applytest.Cluster
	key     *ecdsa.PrivateKey
	server  atomic.Pointer[httptest.Server]
	fleet   *fleet.Fleet
	addr    string

	mu      sync.Mutex
	facts   map[string]*isthmusv1.Fact
	reports int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, cluster: applytest.NewFake(t, "istio-system"), key: key, facts: map[string]*isthmusv1.Fact{}}
	w.serve()
	return w
}

// serve starts a server that knows nothing yet, at the address of the one before it.
func (w *world) serve() {
	w.t.Helper()
	w.fleet = fleet.New(fleet.Config{
		Authenticate: w.authenticate,
		StartSession: func(context.Context, string, string) error { return nil },
		Observe:      w.observe,
	})
	mux := http.NewServeMux()
	mux.Handle(w.fleet.Handler())
	s := httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = true
	if w.addr != "" {
		_ = s.Listener.Close()
		l, err := listenAgain(w.addr)
		if err != nil {
			w.t.Fatal(err)
		}
		s.Listener = l
	}
	s.StartTLS()
	w.addr = s.Listener.Addr().String()
	w.server.Store(s)
	w.t.Cleanup(func() { w.kill(s) })
}

// kill ends a server as a crash would.
func (w *world) kill(s *httptest.Server) {
	s.CloseClientConnections()
	_ = s.Listener.Close()
}

func (w *world) authenticate(_ context.Context, h http.Header, opened time.Time) (resource.FQN, error) {
	raw, _ := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", err
	}
	var claims jwt.Claims
	if err := token.Claims(&w.key.PublicKey, &claims); err != nil {
		return "", err
	}
	expected := jwt.Expected{Issuer: clusterName, Subject: clusterName, AnyAudience: jwt.Audience{"isthmus"}, Time: opened}
	if token.Headers[0].KeyID != "key 1" || claims.Expiry.Time().Sub(opened) > 10*time.Minute {
		return "", errors.New("not a token of this key, or one that lives too long")
	}
	return clusterName, claims.ValidateWithLeeway(expected, time.Second)
}

func (w *world) observe(_ context.Context, o fleet.Observation) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports++
	if o.Full {
		w.facts = map[string]*isthmusv1.Fact{}
	}
	for _, f := range o.Put {
		w.facts[f.GetId()] = f
	}
	for _, id := range o.Drop {
		delete(w.facts, id)
	}
	return nil
}

func (w *world) fact(id string) *isthmusv1.Fact {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.facts[id]
}

// edge starts one, and returns how to end it and wait.
func (w *world) edge(identity string) (stop func()) {
	w.t.Helper()
	enc := jose.JSONWebKey{Key: w.key, KeyID: "key 1", Algorithm: "ES256"}
	text, err := json.Marshal(enc)
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := edge.ParseKey(text)
	if err != nil {
		w.t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Load().Certificate().Raw})
	e, err := edge.New(edge.Config{
		Server: w.addr, Cluster: clusterName, Key: key, CA: ca, Dynamic: w.cluster.Dynamic, Resources: w.cluster.Resources,
		Get:     func(context.Context, string) ([]byte, error) { return []byte(`{"gitVersion":"v1.37.2"}`), nil },
		Version: "test", Identity: identity, Lease: 3 * time.Second, Reconnect: 20 * time.Millisecond,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.t.Errorf("Run() = %v, want %v", err, context.Canceled)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

func (w *world) load(file string) {
	w.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		u := new(unstructured.Unstructured)
		if err := yaml.Unmarshal(doc, &u.Object); err != nil {
			w.t.Fatal(err)
		}
		w.create(u)
	}
}

func (w *world) client(u *unstructured.Unstructured) dynamic.ResourceInterface {
	w.t.Helper()
	r, err := w.cluster.Resources.Resource(w.t.Context(), u.GroupVersionKind())
	if err != nil {
		w.t.Fatal(err)
	}
	return w.cluster.Dynamic.Resource(r.GroupVersionResource).Namespace(u.GetNamespace())
}

func (w *world) create(u *unstructured.Unstructured) {
	w.t.Helper()
	if _, err := w.client(u).Create(w.t.Context(), u, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		w.t.Fatal(err)
	}
}

func (w *world) update(u *unstructured.Unstructured) {
	w.t.Helper()
	if _, err := w.client(u).Update(w.t.Context(), u, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	w.t.Helper()
	u := new(unstructured.Unstructured)
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	u.SetNamespace(namespace)
	got, err := w.client(u).Get(w.t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// object is what a server would send.
func object(t *testing.T, text string, wave uint32) *istio.Object {
	t.Helper()
	var u unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	js, err := json.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(js)
	gvk := u.GroupVersionKind()
	id := strings.Join([]string{gvk.Group, gvk.Version, gvk.Kind, u.GetNamespace(), u.GetName()}, "/")
	return &istio.Object{ID: id, Wave: wave, JSON: js, Digest: hex.EncodeToString(sum[:])}
}

func bundle(t *testing.T, address string) istio.Change {
	t.Helper()
	return istio.Change{Cluster: "east", Full: true, Put: []*istio.Object{
		object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: xcp-multicluster, labels: {app.kubernetes.io/managed-by: isthmus}}}", 0),
		object(t, "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: se, namespace: xcp-multicluster, labels: {app.kubernetes.io/managed-by: isthmus}}, "+
			"spec: {hosts: [x.example], endpoints: [{address: '"+address+"'}]}}", 1),
		object(t, "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: gw, namespace: later, labels: {app.kubernetes.io/managed-by: isthmus}}, spec: {selector: {app: x}}}", 3),
	}}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10s", what)
		}
	}
}

// settled says whether the edge has answered everything.
func (w *world) settled() bool {
	s := w.fleet.State("east")
	return s.Connected && s.Reported && s.Answered && len(s.Unsent)+len(s.Unanswered) == 0
}

func TestEdgeAppliesAndReports(t *testing.T) {
	w := newWorld(t)
	w.load("testdata/cluster.yaml")
	w.fleet.Publish("e", 1, []istio.Change{bundle(t, "10.0.0.1")})
	w.edge("pod-1")
	until(t, "an answer", w.settled)
	s := w.fleet.State("east")
	if len(s.NotOK) != 1 {
		t.Fatalf("NotOK = %v, want the one object whose namespace does not exist", s.NotOK)
	}
	for id, o := range s.NotOK {
		if o.GetOutcome() != isthmusv1.ObjectOutcome_OUTCOME_WAITING {
			t.Errorf("%s is %v, want waiting", id, o.GetOutcome())
		}
	}
	if w.get("networking.istio.io/v1", "ServiceEntry", "xcp-multicluster", "se") == nil {
		t.Error("the ServiceEntry was not made")
	}
	w.create(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "later"}}})
	until(t, "the object of the later namespace", func() bool { return len(w.fleet.State("east").NotOK) == 0 })
	if w.fact("namespace//later") == nil {
		until(t, "the namespace's fact", func() bool { return w.fact("namespace//later") != nil })
	}
	w.wantFacts("testdata/facts.yaml")
}

// wantFacts compares what was reported with a file.
func (w *world) wantFacts(file string) {
	w.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
		want := new(isthmusv1.Fact)
		js, err := yaml.YAMLToJSON(doc)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := unmarshal(js, want); err != nil {
			w.t.Fatal(err)
		}
		if diff := cmp.Diff(want, w.fact(want.GetId()), protocmp.Transform()); diff != "" {
			w.t.Errorf("fact %s (-want +got):\n%s", want.GetId(), diff)
		}
	}
}

func TestEdgeReportsChanges(t *testing.T) {
	w := newWorld(t)
	w.load("testdata/cluster.yaml")
	w.edge("pod-1")
	until(t, "the full report", func() bool { return w.fact("service/front/gw") != nil })
	svc := w.get("v1", "Service", "front", "gw")
	if err := unstructured.SetNestedSlice(svc.Object, []any{map[string]any{"ip": "192.0.2.99"}}, "status", "loadBalancer", "ingress"); err != nil {
		t.Fatal(err)
	}
	w.update(svc)
	until(t, "the new address", func() bool {
		return cmp.Equal([]string{"192.0.2.99"}, w.fact("service/front/gw").GetService().GetExternalAddresses())
	})
	pod := w.get("v1", "Pod", "front", "gw-5d-a")
	if err := w.client(pod).Delete(t.Context(), pod.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "no ready pod", func() bool { return w.fact("workload/front/gw").GetWorkload().GetReady() == 0 })
	if got := w.fact("workload/front/gw").GetWorkload(); got.GetTotal() != 1 || got.GetServiceAccount() != "gw-service-account" {
		t.Errorf("the workload with one pod left is %v", got)
	}
	if err := w.client(svc).Delete(t.Context(), svc.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "no service", func() bool { return w.fact("service/front/gw") == nil })
}

// A Secret's fact follows what is in it, and what is in the one with its CA.
func TestEdgeReportsSecrets(t *testing.T) {
	w := newWorld(t)
	w.edge("pod-1")
	until(t, "the full report", func() bool { return w.fleet.State("east").Reported })
	secret := func(name string, data map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": map[string]any{"namespace": "front", "name": name}, "data": data,
		}}
	}
	says := func(part string) func() bool {
		return func() bool { return strings.Contains(w.fact("secret/front/x").GetSecret().GetCaProblem(), part) }
	}
	w.create(secret("x", map[string]any{"tls.crt": "bGF0ZXI=", "tls.key": "bGF0ZXI="}))
	until(t, "the secret", says("neither ca.crt nor cacert"))
	if got, want := w.fact("secret/front/x").GetSecret().GetProblem(), "tls.crt is not a certificate"; got != want {
		t.Errorf("problem %q, want %q", got, want)
	}
	ca := secret("x-cacert", map[string]any{"cacert": "bGF0ZXI="})
	w.create(ca)
	until(t, "its CA", says("in Secret x-cacert: cacert is not a certificate"))
	if err := w.client(ca).Delete(t.Context(), "x-cacert", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "its CA gone", says("it has neither"))
	if w.fact("secret/istio-system/isthmus-bundle") != nil {
		t.Error("the edge's own state was reported")
	}
}

// leases counts the writes that do not count.
func (w *world) writes() int { return w.cluster.Writes() - w.cluster.LeaseWrites() }

func TestEdgeWithoutServer(t *testing.T) {
	w := newWorld(t)
	w.load("testdata/cluster.yaml")
	w.create(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "later"}}})
	w.fleet.Publish("e", 5, []istio.Change{bundle(t, "10.0.0.1")})
	stop := w.edge("pod-1")
	until(t, "an answer", w.settled)
	before := w.writes()

	w.kill(w.server.Load())
	stop()
	w.edge("pod-2") // a new pod, and no server
	time.Sleep(300 * time.Millisecond)
	if n := w.writes() - before; n != 0 {
		t.Errorf("a new edge without a server made %d writes, want none", n)
	}
	se := w.get("networking.istio.io/v1", "ServiceEntry", "xcp-multicluster", "se")
	if err := unstructured.SetNestedField(se.Object, "nowhere", "spec", "exportTo"); err != nil {
		t.Fatal(err)
	}
	w.update(se)
	until(t, "repair without a server", func() bool {
		_, found, _ := unstructured.NestedString(w.get("networking.istio.io/v1", "ServiceEntry", "xcp-multicluster", "se").Object, "spec", "exportTo")
		return !found
	})

	before = w.writes()
	w.serve()
	w.fleet.Publish("e", 5, []istio.Change{bundle(t, "10.0.0.1")})
	until(t, "an answer to the server that is back", w.settled)
	time.Sleep(100 * time.Millisecond)
	if n := w.writes() - before; n != 0 {
		t.Errorf("the server's return made %d writes, want none", n)
	}
	w.fleet.Publish("e", 6, []istio.Change{bundle(t, "10.0.0.2")})
	until(t, "the new address", func() bool {
		se := w.get("networking.istio.io/v1", "ServiceEntry", "xcp-multicluster", "se")
		text, _ := json.Marshal(se.Object["spec"])
		return strings.Contains(string(text), "10.0.0.2")
	})
}

func TestOneEdgeActs(t *testing.T) {
	w := newWorld(t)
	w.fleet.Publish("e", 1, []istio.Change{bundle(t, "10.0.0.1")})
	stop := w.edge("pod-1")
	until(t, "an answer", w.settled)
	w.edge("pod-2")
	time.Sleep(200 * time.Millisecond)
	stop()
	start := time.Now()
	until(t, "the second edge", w.settled)
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("the second edge took over after %v, although the first one gave the lease back", d)
	}
}

func TestEdgeComesBackAfterGoaway(t *testing.T) {
	w := newWorld(t)
	w.edge("pod-1")
	until(t, "a report", func() bool { return w.fleet.State("east").Reported })
	old := w.server.Load()
	if err := w.fleet.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.kill(old)
	w.serve()
	until(t, "a report to the next server", func() bool { return w.fleet.State("east").Reported })
}

func TestConfigIsChecked(t *testing.T) {
	for name, tc := range map[string]edge.Config{
		"ShortClusterName": {Cluster: "east", CA: []byte("x")},
		"NoCertificate":    {Cluster: clusterName, CA: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := edge.New(tc); err == nil {
				t.Error("New() = nil, want an error")
			}
		})
	}
}

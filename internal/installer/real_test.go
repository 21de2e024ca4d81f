package installer

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

// TestReal does on a real API server, which the end-to-end tests name, what a fake one cannot show: defaults,
// managedFields, and values that are kept in another form. No edge may run there: it would do the same work.
func TestReal(t *testing.T) {
	file := os.Getenv("ISTHMUS_TEST_KUBECONFIG")
	if file == "" {
		t.Skip("ISTHMUS_TEST_KUBECONFIG names no cluster: the end-to-end tests run this")
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &real{T: t, Interface: client}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next, &r.writes} })
	if r.counted, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	r.makeKinds()
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"generateName": "installer-test-"}}}
	if ns, err = client.Resource(namespaces).Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.namespace = ns.GetName()
	t.Cleanup(func() {
		if err := client.Resource(namespaces).Delete(context.WithoutCancel(t.Context()), r.namespace, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	r.create("everything", func(gw *unstructured.Unstructured) {
		// The node port of the golden may be taken.
		unstructured.RemoveNestedField(gw.Object, "spec", "kubeSpec", "service", "ports")
		unstructured.RemoveNestedField(gw.Object, "spec", "kubeSpec", "overlays")
	})
	for _, golden := range []string{"tier1", "egress", "unified"} {
		r.create(golden, func(gw *unstructured.Unstructured) {
			unstructured.RemoveNestedField(gw.Object, "spec", "targetNamespace")
			unstructured.RemoveNestedField(gw.Object, "spec", "targetCluster")
		})
	}

	stop := r.run()
	r.settle()
	if n := r.writes.Swap(0); n < int64(4*len(made())) {
		t.Errorf("%d writes, want at least one for each object", n)
	}
	for _, k := range kinds() {
		r.accepted(k)
	}
	stop()
	stop = r.run()
	r.settle()
	if n := r.writes.Load(); n != 0 {
		t.Errorf("a new installer wrote %d times", n)
	}
	for name, tc := range map[string]struct {
		gvr   schema.GroupVersionResource
		patch string
	}{
		"Changed":        {services, `[{"op":"replace","path":"/spec/type","value":"ClusterIP"}]`},
		"Default":        {services, `[{"op":"replace","path":"/spec/sessionAffinity","value":"ClientIP"}]`},
		"AddedItem":      {services, `[{"op":"add","path":"/spec/ports/-","value":{"name":"x","port":99}}]`},
		"AddedField":     {deployments, `[{"op":"add","path":"/spec/paused","value":true}]`},
		"AddedContainer": {deployments, `[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"x","image":"y"}}]`},
		"Removed":        {autoscalers, `[{"op":"remove","path":"/spec/metrics"}]`},
	} {
		want := r.spec(tc.gvr)
		if _, err := client.Resource(tc.gvr).Namespace(r.namespace).Patch(t.Context(), "full", types.JSONPatchType, []byte(tc.patch), metav1.PatchOptions{FieldManager: "somebody"}); err != nil {
			t.Fatal(err)
		}
		r.within("repair of "+name, func() bool { return r.spec(tc.gvr) == want })
	}
	stop()
}

// counter counts requests that are not reads.
type counter struct {
	next   http.RoundTripper
	writes *atomic.Int64
}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		c.writes.Add(1)
	}
	return c.next.RoundTrip(r)
}

type real struct {
	*testing.T
	dynamic.Interface                   // the test's own client
	counted           dynamic.Interface // the installer's
	writes            atomic.Int64
	namespace         string
}

// create the resource of a golden.
func (r *real) create(golden string, change func(*unstructured.Unstructured)) {
	r.Helper()
	text, err := os.ReadFile("testdata/golden/" + golden + ".txtar")
	if err != nil {
		r.Fatal(err)
	}
	gw := &unstructured.Unstructured{Object: parseYAML(r.T, string(txtar.Parse(text).Files[0].Data)).(map[string]any)}
	gw.SetNamespace(r.namespace)
	change(gw)
	if _, err := r.Resource(gvrOf(r.T, gw.GetKind())).Namespace(r.namespace).Create(r.Context(), gw, metav1.CreateOptions{}); err != nil {
		r.Fatal(err)
	}
}

// accepted says whether everything that the resources of a kind ask for was made.
func (r *real) accepted(k kind) {
	r.Helper()
	list, err := r.Resource(k.gvr()).Namespace(r.namespace).List(r.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		r.Fatalf("%s: %d, %v", k.name, len(list.Items), err)
	}
	for _, u := range list.Items {
		gw, _, err := decode(&u)
		if err != nil {
			r.Fatal(err)
		}
		for _, c := range gw.Status.Conditions {
			if c.Status != "True" && c.Reason != reasonRollingOut && c.Reason != "NoAddress" {
				r.Errorf("%s %s: %s is %s: %s", k.name, gw.Name, c.Type, c.Reason, c.Message)
			}
		}
	}
}

// makeKinds makes the kinds of install resources known for the time of the test, unless they are.
func (r *real) makeKinds() {
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	for _, k := range kinds() {
		text, err := os.ReadFile("../../deploy/crds/install.tetrate.io_" + k.resource + ".yaml")
		if err != nil {
			r.Fatal(err)
		}
		crd := &unstructured.Unstructured{Object: parseYAML(r.T, string(text)).(map[string]any)}
		_, err = r.Resource(crds).Create(r.Context(), crd, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			continue
		}
		if err != nil {
			r.Fatal(err)
		}
		r.Cleanup(func() {
			if err := r.Resource(crds).Delete(context.WithoutCancel(r.Context()), crd.GetName(), metav1.DeleteOptions{}); err != nil {
				r.Error(err)
			}
		})
	}
	for _, k := range kinds() {
		r.within("the kind is known", func() bool {
			_, err := r.Resource(k.gvr()).List(r.Context(), metav1.ListOptions{})
			return err == nil
		})
	}
}

// run runs an installer until the returned function is called.
func (r *real) run() func() {
	in, err := New(Config{Client: r.counted, Log: slog.New(slog.NewTextHandler(r.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), Hold: -1})
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = in.Run(ctx) }()
	return func() { cancel(); <-done }
}

// settle waits until nothing was written for two seconds.
func (r *real) settle() {
	last, since := int64(-1), time.Now()
	r.within("the end of writes", func() bool {
		if n := r.writes.Load(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
}

// spec without the node ports, which a Service gets new ones of after it had none.
func (r *real) spec(gvr schema.GroupVersionResource) string {
	u, err := r.Resource(gvr).Namespace(r.namespace).Get(r.Context(), "full", metav1.GetOptions{})
	if err != nil {
		r.Fatal(err)
	}
	ports, _, _ := unstructured.NestedSlice(u.Object, "spec", "ports")
	for _, p := range ports {
		delete(p.(map[string]any), "nodePort")
	}
	if ports != nil {
		_ = unstructured.SetNestedSlice(u.Object, ports, "spec", "ports")
	}
	unstructured.RemoveNestedField(u.Object, "spec", "replicas")
	text, err := (&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Spec", "spec": u.Object["spec"]}}).MarshalJSON()
	if err != nil {
		r.Fatal(err)
	}
	return string(text)
}

func (r *real) within(what string, f func() bool) {
	r.Helper()
	for end := time.Now().Add(15 * time.Second); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("%s: not within 15 s", what)
		}
	}
}

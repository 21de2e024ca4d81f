package apply_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/apply/applytest"
)

// counter counts requests that are not reads.
type counter struct {
	inner  http.RoundTripper
	writes *atomic.Int64
}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		c.writes.Add(1)
	}
	return c.inner.RoundTrip(r)
}

// TestReal runs the suite on a real API server: the cluster of ISTHMUS_TEST_KUBECONFIG.
func TestReal(t *testing.T) {
	path := os.Getenv("ISTHMUS_TEST_KUBECONFIG")
	if path == "" {
		t.Skip("ISTHMUS_TEST_KUBECONFIG names no cluster")
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	writes := new(atomic.Int64)
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { return counter{rt, writes} })
	applytest.Run(t, func(t *testing.T) *applytest.Cluster { return realCluster(t, cfg, writes) })
}

func realCluster(t *testing.T, cfg *rest.Config, writes *atomic.Int64) *applytest.Cluster {
	t.Helper()
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	plain := rest.CopyConfig(cfg)
	plain.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()
	plain.GroupVersion = &schema.GroupVersion{}
	raw, err := rest.UnversionedRESTClientFor(plain)
	if err != nil {
		t.Fatal(err)
	}
	name := "isthmus-test-" + strings.ToLower(t.Name()[strings.LastIndexByte(t.Name(), '/')+1:])
	namespaces := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"generateName": name[:min(len(name), 40)] + "-"}}}
	u, err = namespaces.Create(t.Context(), u, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = namespaces.Delete(context.WithoutCancel(t.Context()), u.GetName(), metav1.DeleteOptions{}) })
	return &applytest.Cluster{
		Dynamic: client, Resources: apply.NewResources(raw), Namespace: u.GetName(),
		Writes: func() int { return int(writes.Load()) }, LeaseWrites: func() int { return 0 },
	}
}

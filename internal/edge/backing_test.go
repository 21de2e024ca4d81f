package edge

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"isthmus.dev/isthmus/internal/apply/applytest"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// TestBacking follows what stands behind a Service while its pods, and its selector, change.
func TestBacking(t *testing.T) {
	cluster := applytest.NewFake(t, "istio-system")
	o := newObserver(cluster.Dynamic, "istio-system", "test", slog.New(slog.DiscardHandler))
	go o.run(t.Context())
	if err := o.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	put := func(resource, text string) {
		t.Helper()
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		client := cluster.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: resource}).Namespace("shop")
		was, err := client.Get(t.Context(), u.GetName(), metav1.GetOptions{})
		if err != nil {
			_, err = client.Create(t.Context(), u, metav1.CreateOptions{})
		} else {
			u.SetResourceVersion(was.GetResourceVersion())
			_, err = client.Update(t.Context(), u, metav1.UpdateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	pod := func(name, labels, account, ready, more string) {
		t.Helper()
		put("pods", "{apiVersion: v1, kind: Pod, metadata: {name: "+name+", namespace: shop, labels: {"+labels+"}"+more+"}, spec: {serviceAccountName: "+account+"}, "+
			`status: {phase: Running, conditions: [{type: Ready, status: "`+ready+`"}]}}`)
	}
	service := func(selector string) {
		t.Helper()
		put("services", "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {selector: {"+selector+"}, ports: [{port: 80}]}}")
	}
	want := func(why string, b *isthmusv1.Backing) {
		t.Helper()
		if b != nil {
			b.Namespace, b.Name = "shop", "cart"
		}
		told := false
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			_, marked := o.take()["backing/shop/cart"]
			told = told || marked
			diff := cmp.Diff(b, o.fact("backing/shop/cart").GetBacking(), protocmp.Transform())
			if told && diff == "" {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: told %t, (-want +got):\n%s", why, told, diff)
			}
		}
	}
	const mesh = "security.istio.io/tlsMode: istio"

	service("app: cart")
	want("no pod", nil)
	pod("a", "app: cart, "+mesh, "one", "True", "")
	want("a pod with a sidecar", &isthmusv1.Backing{Mesh: true, ServiceAccounts: []string{"one"}})
	pod("b", "app: cart", "two", "True", "")
	want("and one without", &isthmusv1.Backing{Mesh: true, Plain: true, ServiceAccounts: []string{"one"}})
	pod("a", "app: cart, "+mesh, "one", "False", "")
	want("which is left", &isthmusv1.Backing{Plain: true})
	pod("b", "app: other", "two", "True", "")
	want("until it has other labels", nil)
	pod("gw", "app: cart, isthmus.dev/gateway: x", "gw", "True", "")
	pod("c", "app: cart, "+mesh, "two", "True", "")
	want("a gateway does not count", &isthmusv1.Backing{Mesh: true, ServiceAccounts: []string{"two"}})
	service("app: other")
	want("the selector is another one", &isthmusv1.Backing{Plain: true})
	service("")
	want("there is no selector", nil)
}

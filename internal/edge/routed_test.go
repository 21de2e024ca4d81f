package edge

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/apply/applytest"
)

// TestRouted is about what is reported of a service once the bundle has routes for it: the labels of its ready pods, and what
// others wrote about it.
func TestRouted(t *testing.T) {
	cluster := applytest.NewFake(t, "istio-system")
	create := func(resource, text string) {
		t.Helper()
		var u unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		gvr := schema.FromAPIVersionAndKind(u.GetAPIVersion(), u.GetKind()).GroupVersion().WithResource(resource)
		if _, err := cluster.Dynamic.Resource(gvr).Namespace(u.GetNamespace()).Create(t.Context(), &u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pod := func(name, labels, ready string) {
		create("pods", `{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: `+name+`, labels: `+labels+`}, status: {phase: Running, conditions: [{type: Ready, status: "`+ready+`"}]}}`)
	}
	rule := func(kind, namespace, name, spec string) {
		create(strings.ToLower(kind)+"s", `{apiVersion: networking.istio.io/v1, kind: `+kind+`, metadata: {namespace: `+namespace+`, name: `+name+`}, spec: `+spec+`}`)
	}
	for _, name := range []string{"cart", "other"} {
		create("services", `{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: `+name+`}, spec: {selector: {app: `+name+`}}}`)
	}
	pod("a", `{app: cart, version: v1, statefulset.kubernetes.io/pod-name: a}`, "True")
	pod("b", `{app: cart, version: v1, statefulset.kubernetes.io/pod-name: b}`, "True")
	pod("c", `{app: cart, version: v2}`, "False")
	pod("d", `{app: other, version: v3}`, "True")
	rule("DestinationRule", "shop", "short", `{host: cart}`)
	rule("DestinationRule", "callers", "hides", `{host: Cart.shop.svc.cluster.local}`)
	rule("DestinationRule", "callers", "otherwise", `{host: cart.callers.svc.cluster.local}`)
	rule("VirtualService", "shop", "mesh", `{hosts: [x.test, cart.shop.svc.cluster.local]}`)
	rule("VirtualService", "shop", "gateway", `{hosts: [cart.shop.svc.cluster.local], gateways: [shop/front]}`)
	create("virtualservices", `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: route-cart, labels: {app.kubernetes.io/managed-by: isthmus}}, spec: {hosts: [cart.shop.svc.cluster.local]}}`)

	o := newObserver(cluster.Dynamic, "istio-system", "test", slog.New(slog.DiscardHandler))
	go o.run(t.Context())
	if err := o.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := o.all()["routed/shop/cart"]; f != nil {
		t.Errorf("reported without a route: %v", f)
	}
	bundle := func(ids ...apply.ID) *apply.Bundle {
		b := &apply.Bundle{Objects: map[apply.ID]*apply.Object{}}
		for _, id := range ids {
			b.Objects[id] = &apply.Object{ID: id}
		}
		return b
	}
	o.route(bundle("networking.istio.io/v1/DestinationRule/shop/route-cart", "networking.istio.io/v1/ServiceEntry/shop/route-other", "networking.istio.io/v1/VirtualService/shop/vs-other"))
	fact := await(t, o, "routed/shop/cart", func(f *isthmusv1.Fact) bool { return f != nil })
	want := &isthmusv1.Routed{
		Namespace: "shop", Name: "cart",
		Pods:  []*isthmusv1.Routed_Labels{{Labels: map[string]string{"app": "cart", "version": "v1"}}},
		Rules: []*isthmusv1.Routed_Rule{{Kind: "DestinationRule", Namespace: "callers", Name: "hides"}, {Kind: "DestinationRule", Namespace: "shop", Name: "short"}, {Kind: "VirtualService", Namespace: "shop", Name: "mesh"}},
	}
	if diff := cmp.Diff(want, fact.GetRouted(), protocmp.Transform()); diff != "" {
		t.Errorf("routed (-want +got):\n%s", diff)
	}
	if o.all()["routed/shop/cart"] == nil || o.all()["routed/shop/other"] != nil {
		t.Error("a full report has other facts than those of services with routes")
	}

	pods := cluster.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace("shop")
	for _, name := range []string{"a", "b"} {
		if err := pods.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	await(t, o, "routed/shop/cart", func(f *isthmusv1.Fact) bool { return f != nil && len(f.GetRouted().GetPods()) == 0 })
	o.route(bundle())
	await(t, o, "routed/shop/cart", func(f *isthmusv1.Fact) bool { return f == nil })
}

// await a change of a fact, and what it is then.
func await(t *testing.T, o *observer, id string, is func(*isthmusv1.Fact) bool) *isthmusv1.Fact {
	t.Helper()
	var last *isthmusv1.Fact
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if f, changed := o.take()[id]; changed {
			if last = f; is(f) {
				return f
			}
		}
	}
	text, _ := json.Marshal(last)
	t.Fatalf("%s is not as wanted within 10s: %s", id, text)
	return nil
}

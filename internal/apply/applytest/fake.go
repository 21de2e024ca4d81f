package applytest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"isthmus.dev/isthmus/internal/apply"
)

// kinds that a fake cluster has, and how they are called.
func kinds() map[schema.GroupVersionKind]apply.Resource {
	out := map[schema.GroupVersionKind]apply.Resource{}
	for _, k := range []struct {
		group, version, kind, plural string
		cluster                      bool
	}{
		{"", "v1", "Namespace", "namespaces", true}, {"", "v1", "Node", "nodes", true},
		{"", "v1", "ConfigMap", "configmaps", false}, {"", "v1", "Secret", "secrets", false},
		{"", "v1", "Service", "services", false}, {"", "v1", "Pod", "pods", false},
		{"apps", "v1", "Deployment", "deployments", false},
		{"coordination.k8s.io", "v1", "Lease", "leases", false},
		{"networking.istio.io", "v1", "ServiceEntry", "serviceentries", false},
		{"networking.istio.io", "v1", "DestinationRule", "destinationrules", false},
		{"networking.istio.io", "v1", "Gateway", "gateways", false},
		{"networking.istio.io", "v1", "VirtualService", "virtualservices", false},
		{"networking.istio.io", "v1alpha3", "EnvoyFilter", "envoyfilters", false},
		{"networking.istio.io", "v1", "Sidecar", "sidecars", false},
		{"security.istio.io", "v1", "PeerAuthentication", "peerauthentications", false},
		{"security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies", false},
		{"extensions.istio.io", "v1alpha1", "WasmPlugin", "wasmplugins", false},
	} {
		gvk := schema.GroupVersionKind{Group: k.group, Version: k.version, Kind: k.kind}
		out[gvk] = apply.Resource{GroupVersionResource: gvk.GroupVersion().WithResource(k.plural), Namespaced: !k.cluster}
	}
	return out
}

type table map[schema.GroupVersionKind]apply.Resource

func (t table) Resource(_ context.Context, gvk schema.GroupVersionKind) (apply.Resource, error) {
	r, ok := t[gvk]
	if !ok {
		return r, fmt.Errorf("%s: %w", gvk.Kind, apply.ErrNoKind)
	}
	return r, nil
}

func (t table) Forget(schema.GroupVersionKind) {}

// NewFake is a cluster in memory. Unlike client-go's fake alone it gives identities and resource versions, and refuses
// an update that was made from an old one.
func NewFake(t testing.TB, namespace string) *Cluster {
	t.Helper()
	rows := kinds()
	lists := map[schema.GroupVersionResource]string{}
	for gvk, r := range rows {
		lists[r.GroupVersionResource] = gvk.Kind + "List"
	}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists)
	var writes, leases, versions atomic.Int64
	var mu sync.Mutex
	client.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		switch a.GetVerb() {
		case "get", "list", "watch":
			return false, nil, nil
		}
		writes.Add(1)
		if a.GetResource().Resource == "leases" {
			leases.Add(1)
		}
		mu.Lock()
		defer mu.Unlock()
		return stamp(client.Tracker(), a, versions.Add(1))
	})
	c := &Cluster{
		Dynamic: client, Resources: table(rows), Namespace: namespace,
		Writes: func() int { return int(writes.Load()) }, LeaseWrites: func() int { return int(leases.Load()) },
	}
	c.makeNamespace(t)
	return c
}

// stamp does what an API server does to metadata before it stores an object.
func stamp(t clienttesting.ObjectTracker, a clienttesting.Action, version int64) (bool, runtime.Object, error) {
	create, ok := a.(clienttesting.CreateActionImpl)
	if ok {
		m, err := meta.Accessor(create.GetObject())
		if err != nil {
			return true, nil, err
		}
		m.SetUID(types.UID("uid-" + strconv.FormatInt(version, 10)))
		m.SetResourceVersion(strconv.FormatInt(version, 10))
		return false, nil, nil
	}
	update, ok := a.(clienttesting.UpdateActionImpl)
	if !ok {
		return false, nil, nil
	}
	m, err := meta.Accessor(update.GetObject())
	if err != nil {
		return true, nil, err
	}
	old, err := t.Get(a.GetResource(), a.GetNamespace(), m.GetName())
	if err != nil {
		return true, nil, err
	}
	was, err := meta.Accessor(old)
	if err != nil {
		return true, nil, err
	}
	if v := m.GetResourceVersion(); v != "" && v != was.GetResourceVersion() {
		return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), m.GetName(), fmt.Errorf("the object has been modified"))
	}
	m.SetUID(was.GetUID())
	m.SetResourceVersion(strconv.FormatInt(version, 10))
	return false, nil, nil
}

func (c *Cluster) makeNamespace(t testing.TB) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": c.Namespace}}}
	gvr := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	if _, err := c.Dynamic.Resource(gvr).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

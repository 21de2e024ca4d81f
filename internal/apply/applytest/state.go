package applytest

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"isthmus.dev/isthmus/internal/apply"
)

// withoutState is about an engine whose Secrets somebody removed: it starts, leaves everything as it is, and with the
// next bundle removes what is no longer wanted all the same.
func withoutState(secrets ...string) func(*testing.T, *Cluster) {
	return func(t *testing.T, c *Cluster) {
		r := start(t, c)
		r.Engine.Set(bundle(1, owned(c, "gone"), owned(c, "kept")))
		r.until("two objects", at(1))
		r.stop()
		client := c.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(c.Namespace)
		for _, s := range secrets {
			_ = client.Delete(t.Context(), s, metav1.DeleteOptions{}) // not all of them are there
		}
		r = start(t, c)
		r.quiet("no bundle")
		r.Engine.Set(bundle(2, owned(c, "kept")))
		r.until("one object", at(2))
		if c.get(t, "gone") != nil {
			t.Error("what was made before was not removed")
		}
	}
}

// owned is an object as it is made from somebody's resource.
func owned(c *Cluster, name string) *apply.Object {
	return object(c.Namespace, name, 1, "v1", "ConfigMap", map[string]any{"metadata": map[string]any{
		"name": name, "namespace": c.Namespace, "labels": map[string]string{apply.ManagedByLabel: apply.ManagedBy},
		"annotations": map[string]string{"tsb.tetrate.io/fqn": "organizations/o/tenants/t"},
	}})
}

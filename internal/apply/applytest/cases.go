package applytest

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"isthmus.dev/isthmus/internal/apply"
)

func one(c *Cluster, name string) *apply.Object {
	return ConfigMap(c.Namespace, name, 1, map[string]string{"k": "v"})
}

func data(u *unstructured.Unstructured) map[string]string {
	if u == nil {
		return nil
	}
	m, _, _ := unstructured.NestedStringMap(u.Object, "data")
	return m
}

func createsThenQuiet(t *testing.T, c *Cluster) {
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a"), one(c, "b"), ConfigMap(c.Namespace, "late", 4, nil)))
	rep := r.until("three objects", at(1))
	if rep.Total != 3 {
		t.Errorf("Total = %d, want 3", rep.Total)
	}
	for _, name := range []string{"a", "b"} {
		if diff := cmp.Diff(map[string]string{"k": "v"}, data(c.get(t, name))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	r.quiet("nothing changes")
	r.Engine.Set(bundle(2, one(c, "a"), one(c, "b"), ConfigMap(c.Namespace, "late", 4, nil)))
	r.until("the next generation", at(2))
	r.quiet("the same objects")
}

// drift makes a case in which somebody changes an object.
func drift(name string, change func(*unstructured.Unstructured)) func(*testing.T, *Cluster) {
	return func(t *testing.T, c *Cluster) {
		r := start(t, c)
		r.Engine.Set(bundle(1, one(c, name)))
		r.until("the object", at(1))
		want := c.get(t, name)
		c.edit(t, name, change)
		within(t, "repair", func() bool {
			got := c.get(t, name)
			return cmp.Equal(data(want), data(got)) && maps.Equal(want.GetLabels(), got.GetLabels())
		})
		r.quiet("after the repair")
	}
}

func leavesLabel(t *testing.T, c *Cluster) {
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a")))
	r.until("the object", at(1))
	c.edit(t, "a", func(u *unstructured.Unstructured) { u.SetLabels(with(u.GetLabels(), "somebody.example/x", "y")) })
	r.quiet("a label of somebody else")
	r.Engine.Set(bundle(2, ConfigMap(c.Namespace, "a", 1, map[string]string{"k": "w"})))
	r.until("the change", at(2))
	if got := c.get(t, "a").GetLabels()["somebody.example/x"]; got != "y" {
		t.Errorf("the label of somebody else is %q after an update, want y", got)
	}
}

func bringsBack(t *testing.T, c *Cluster) {
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a")))
	r.until("the object", at(1))
	if err := c.maps().Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "back", func() bool { return c.get(t, "a") != nil })
	r.quiet("after it is back")
}

func (c *Cluster) foreign(t *testing.T, name string) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": name, "namespace": c.Namespace}, "data": map[string]any{"whose": "somebody's"}}}
	if _, err := c.maps().Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func hasOutcome(o apply.Outcome) func(apply.Report) bool {
	return func(r apply.Report) bool { return len(r.NotOK) == 1 && r.NotOK[0].Outcome == o }
}

func leavesForeign(t *testing.T, c *Cluster) {
	c.foreign(t, "a")
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a"), one(c, "b")))
	rep := r.until("a foreign object", hasOutcome(apply.Foreign))
	if want := one(c, "a").ID; rep.NotOK[0].ID != want {
		t.Errorf("NotOK names %q, want %q", rep.NotOK[0].ID, want)
	}
	r.Engine.Set(bundle(2))
	r.until("nothing wanted", at(2))
	if diff := cmp.Diff(map[string]string{"whose": "somebody's"}, data(c.get(t, "a"))); diff != "" {
		t.Errorf("the foreign object (-want +got):\n%s", diff)
	}
	if c.get(t, "b") != nil {
		t.Error("the object beside it is still there")
	}
}

func foreignGone(t *testing.T, c *Cluster) {
	c.foreign(t, "a")
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a")))
	r.until("a foreign object", hasOutcome(apply.Foreign))
	r.quiet("a foreign object")
	if err := c.maps().Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.until("ours", at(1))
}

func prunes(t *testing.T, c *Cluster) {
	u := one(c, "labelled") // carries our label, but no inventory knows it
	obj := new(unstructured.Unstructured)
	if err := obj.UnmarshalJSON(u.JSON); err != nil {
		t.Fatal(err)
	}
	if _, err := c.maps().Create(t.Context(), obj, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a"), one(c, "b")))
	r.until("two objects", at(1))
	r.Engine.Set(bundle(2, one(c, "b")))
	r.until("one object", at(2))
	if c.get(t, "a") != nil {
		t.Error("a is still there")
	}
	if c.get(t, "b") == nil || c.get(t, "labelled") == nil {
		t.Error("an object was pruned that is wanted, or that is not in the inventory")
	}
	r.quiet("after pruning")
}

func waitsForNamespace(t *testing.T, c *Cluster) {
	ns := c.Namespace + "-later"
	r := start(t, c)
	r.Engine.Set(bundle(1, ConfigMap(ns, "a", 1, nil)))
	r.until("waiting", hasOutcome(apply.Waiting))
	r.quiet("while it waits")
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": ns}}}
	namespaces := c.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	if _, err := namespaces.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = namespaces.Delete(context.WithoutCancel(t.Context()), ns, metav1.DeleteOptions{}) })
	r.until("created", at(1))
}

func waitsForKind(t *testing.T, c *Cluster) {
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a"), object(c.Namespace, "x", 1, "nowhere.example/v1", "Nothing", nil)))
	r.until("waiting", hasOutcome(apply.Waiting))
	if c.get(t, "a") == nil {
		t.Error("the object beside it was not made")
	}
	r.quiet("while it waits")
}

func restarts(t *testing.T, c *Cluster) {
	r := start(t, c)
	r.Engine.Set(bundle(7, one(c, "a"), one(c, "b")))
	r.until("two objects", at(7))
	r.stop()
	before := c.Writes()
	r = start(t, c)
	if b := r.Engine.Bundle(); b == nil || b.At.Revision != 7 || len(b.Objects) != 2 {
		t.Fatalf("Bundle() after a restart = %+v", b)
	}
	r.until("the stored bundle", at(7))
	if n := c.Writes() - before; n != 0 {
		t.Errorf("a restart made %d writes, want none", n)
	}
}

func restartRepairs(t *testing.T, c *Cluster) {
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a"), one(c, "b")))
	r.until("two objects", at(1))
	r.stop()
	c.edit(t, "a", func(u *unstructured.Unstructured) { set(u, "x", "data", "k") })
	if err := c.maps().Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	start(t, c).until("repaired", at(1))
	for _, name := range []string{"a", "b"} {
		if diff := cmp.Diff(map[string]string{"k": "v"}, data(c.get(t, name))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func restartPrunes(t *testing.T, c *Cluster) {
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a"), one(c, "b")))
	r.until("two objects", at(1))
	r.stop()
	r = start(t, c)
	r.Engine.Set(bundle(2, one(c, "b")))
	r.until("one object", at(2))
	if c.get(t, "a") != nil {
		t.Error("what an earlier process made was not pruned")
	}
}

func nothingBefore(t *testing.T, c *Cluster) {
	r := start(t, c)
	r.quiet("no bundle")
	if r.Engine.Bundle() != nil {
		t.Error("a bundle from nowhere")
	}
}

func sameObjects(t *testing.T, c *Cluster) {
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a")))
	r.until("the object", at(1))
	before := c.Writes()
	r.Engine.Set(bundle(9, one(c, "a")))
	r.until("answer to the generation", at(9))
	if n := c.Writes() - before; n != 0 {
		t.Errorf("a generation with the same objects made %d writes, want none", n)
	}
}

func unreadable(t *testing.T, c *Cluster) {
	bad := *one(c, "bad")
	bad.JSON = []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other"}}`)
	r := start(t, c)
	r.Engine.Set(bundle(1, one(c, "a"), &bad))
	r.until("a refusal", hasOutcome(apply.Rejected))
	if c.get(t, "a") == nil {
		t.Error("the object beside it was not made")
	}
}

func largeBundle(t *testing.T, c *Cluster) {
	var objects []*apply.Object
	for i := range 40 { // about 4 MB that gzip can do little about
		objects = append(objects, ConfigMap(c.Namespace, fmt.Sprintf("large-%d", i), 1, map[string]string{"k": noise(i, 100<<10)}))
	}
	r := start(t, c)
	r.Engine.Set(bundle(1, objects...))
	r.until("forty objects", at(1))
	r.Engine.Set(bundle(2, objects[1:]...))
	r.until("one less", at(2))
	r.stop()
	before := c.Writes()
	r = start(t, c)
	if b := r.Engine.Bundle(); b == nil || len(b.Objects) != 39 {
		t.Fatalf("Bundle() after a restart has not 39 objects")
	}
	r.until("the stored bundle", at(2))
	if n := c.Writes() - before; n != 0 {
		t.Errorf("a restart made %d writes, want none", n)
	}
}

// noise is text that looks random and is the same each time.
func noise(seed, n int) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
	var b strings.Builder
	for x := uint64(seed)*2 + 1; b.Len() < n; {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b.WriteByte(letters[x%uint64(len(letters))])
	}
	return b.String()
}

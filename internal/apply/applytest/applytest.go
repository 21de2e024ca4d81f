// Package applytest holds what an apply.Engine promises against a cluster, a fake one or a real API server.
package applytest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"isthmus.dev/isthmus/internal/apply"
)

// Cluster is one to run the suite in. The suite makes and deletes namespaces of its own.
type Cluster struct {
	Dynamic   dynamic.Interface
	Resources interface {
		Resource(context.Context, schema.GroupVersionKind) (apply.Resource, error)
		Forget(schema.GroupVersionKind)
	}
	// Writes counts the requests so far that are not reads.
	Writes func() int
	// LeaseWrites counts those of them that renew a Lease.
	LeaseWrites func() int
	// Namespace is where the suite works; it exists.
	Namespace string
}

// Run runs the suite; open gives each test a cluster of its own, or a namespace of its own in one.
func Run(t *testing.T, open func(*testing.T) *Cluster) {
	tests := map[string]func(*testing.T, *Cluster){
		"CreatesAndThenWritesNothing":    createsThenQuiet,
		"UndoesAnAddedField":             drift("added", func(u *unstructured.Unstructured) { set(u, "x", "data", "added") }),
		"UndoesAChangedField":            drift("changed", func(u *unstructured.Unstructured) { set(u, "x", "data", "k") }),
		"UndoesARemovedField":            drift("removed", func(u *unstructured.Unstructured) { delete(u.Object, "data") }),
		"UndoesARemovedLabel":            drift("label", func(u *unstructured.Unstructured) { u.SetLabels(nil) }),
		"UndoesAForeignRevision":         drift("rev", func(u *unstructured.Unstructured) { u.SetLabels(with(u.GetLabels(), "istio.io/rev", "other")) }),
		"LeavesAForeignLabel":            leavesLabel,
		"BringsADeletedObjectBack":       bringsBack,
		"LeavesAForeignObject":           leavesForeign,
		"TakesOverWhenTheForeignIsGone":  foreignGone,
		"PrunesOnlyItsInventory":         prunes,
		"WaitsForANamespace":             waitsForNamespace,
		"WaitsForAKind":                  waitsForKind,
		"RestartsWithoutAWrite":          restarts,
		"RepairsAfterARestart":           restartRepairs,
		"PrunesAfterARestart":            restartPrunes,
		"TouchesNothingBeforeABundle":    nothingBefore,
		"SameObjectsAtANewGeneration":    sameObjects,
		"AnUnreadableObjectStopsNoOther": unreadable,
		"KeepsALargeBundle":              largeBundle,
		"FindsItsObjectsAgain":           withoutState("isthmus-bundle"),
		"OutlivesALostChunk":             withoutState("isthmus-bundle-0", "isthmus-bundle-1"),
		"PartsWithAFieldLater":           parts,
		"PartsWithNothingThatIsBack":     partsNot,
		"PartsInTimeWhateverChanges":     partsInTime,
		"PartsFromRoutes":                partsFromRoutes,
		"RemovesLaterWhatLingers":        lingers,
		"WaitsAfterWhatOthersReferTo":    settles,
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) { f(t, open(t)) })
	}
}

// run is one life of an engine.
type run struct {
	t       *testing.T
	c       *Cluster
	Engine  *apply.Engine
	stop    func()
	mu      sync.Mutex
	last    *apply.Report
	changed chan struct{}
}

func start(t *testing.T, c *Cluster, options ...func(*apply.Config)) *run {
	t.Helper()
	r := &run{t: t, c: c, changed: make(chan struct{})}
	cfg := apply.Config{
		Dynamic: c.Dynamic, Resources: c.Resources, Manager: "isthmus-test", Retry: 20 * time.Millisecond, Report: r.report,
		State: &apply.Secrets{Client: c.Dynamic, Namespace: c.Namespace, Name: "isthmus-bundle", Manager: "isthmus-test"},
	}
	for _, o := range options {
		o(&cfg)
	}
	r.Engine = apply.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	if err := r.Engine.Restore(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Engine.Run(ctx) }()
	r.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(r.stop)
	return r
}

func (r *run) report(rep apply.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = &rep
	close(r.changed)
	r.changed = make(chan struct{})
}

// until waits for a report that ok accepts.
func (r *run) until(what string, ok func(apply.Report) bool) apply.Report {
	r.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		last, changed := r.last, r.changed
		r.mu.Unlock()
		if last != nil && ok(*last) {
			return *last
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("%s: not within 10s, last report %+v", what, last)
		}
	}
}

func at(rev int64) func(apply.Report) bool {
	return func(r apply.Report) bool { return r.At.Revision >= rev && len(r.NotOK) == 0 && r.Leftover == 0 }
}

// quiet fails if anything is written for a while.
func (r *run) quiet(what string) {
	r.t.Helper()
	before := r.c.Writes()
	time.Sleep(300 * time.Millisecond)
	if n := r.c.Writes() - before; n != 0 {
		r.t.Errorf("%s: %d writes, want none", what, n)
	}
}

func bundle(rev int64, objects ...*apply.Object) *apply.Bundle {
	b := &apply.Bundle{At: apply.Generation{Epoch: "e", Revision: rev}, Objects: map[apply.ID]*apply.Object{}}
	for _, o := range objects {
		b.Objects[o.ID] = o
	}
	return b
}

// ConfigMap makes an object of a kind that every cluster has.
func ConfigMap(namespace, name string, wave uint32, data map[string]string) *apply.Object {
	return object(namespace, name, wave, "v1", "ConfigMap", map[string]any{"data": data})
}

func object(namespace, name string, wave uint32, apiVersion, kind string, more map[string]any) *apply.Object {
	m := map[string]any{"name": name, "labels": map[string]string{apply.ManagedByLabel: apply.ManagedBy}}
	if namespace != "" {
		m["namespace"] = namespace
	}
	o := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": m}
	for k, v := range more {
		o[k] = v
	}
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings and maps always encode
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		panic(err) // a constant of a test
	}
	sum := sha256.Sum256(text)
	id := apply.Ref{GroupVersionKind: gv.WithKind(kind), Namespace: namespace, Name: name}.ID()
	return &apply.Object{ID: id, Digest: hex.EncodeToString(sum[:]), Wave: wave, JSON: text}
}

func (c *Cluster) maps() dynamic.ResourceInterface {
	return c.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(c.Namespace)
}

func (c *Cluster) get(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	u, err := c.maps().Get(t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// edit changes an object as somebody else would.
func (c *Cluster) edit(t *testing.T, name string, f func(*unstructured.Unstructured)) {
	t.Helper()
	u := c.get(t, name)
	f(u)
	if _, err := c.maps().Update(t.Context(), u, metav1.UpdateOptions{FieldManager: "somebody"}); err != nil {
		t.Fatal(err)
	}
}

// within waits until ok, at most a second: that is how fast drift has to be undone.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Errorf("%s: not within a second", what)
}

func set(u *unstructured.Unstructured, value string, path ...string) {
	if err := unstructured.SetNestedField(u.Object, value, path...); err != nil {
		panic(fmt.Sprint("a test's own path: ", err))
	}
}

func with(m map[string]string, k, v string) map[string]string {
	out := map[string]string{k: v}
	for k, v := range m {
		out[k] = v
	}
	return out
}

package edge

import (
	"log/slog"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"isthmus.dev/isthmus/internal/apply/applytest"
)

// TestNothingIsReportedBeforeAllWasTaken makes a cluster whose lists have arrived while the events of them are still
// under way: a full report made then would say that its gateways are gone.
func TestNothingIsReportedBeforeAllWasTaken(t *testing.T) {
	cluster := applytest.NewFake(t, "istio-system")
	pod := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"namespace": "front", "name": "gw-1", "labels": map[string]any{"isthmus.dev/gateway": "front.gw"}},
		"spec":     map[string]any{"serviceAccountName": "gw"},
	}}
	pods := cluster.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"})
	if _, err := pods.Namespace("front").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	o := newObserver(cluster.Dynamic, "istio-system", "test", slog.New(slog.DiscardHandler))
	o.mu.Lock() // no event gets through
	go o.run(t.Context())
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		filled := true
		for _, inf := range o.informers() {
			filled = filled && inf.HasSynced()
		}
		if filled {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the informers did not fill within 10s")
		}
	}
	early := o.synced()
	o.mu.Unlock()
	if early {
		t.Error("synced() = true before the events were taken in")
	}
	if err := o.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := o.all(); all["workload/front/gw-1"] == nil {
		t.Error("the full report lacks the gateway")
	}
}

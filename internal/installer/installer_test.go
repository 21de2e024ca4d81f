package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"isthmus.dev/isthmus/api/install/v1alpha1"
	"isthmus.dev/isthmus/internal/wellknown"
)

const plain = `
apiVersion: install.tetrate.io/v1alpha1
kind: IngressGateway
metadata: {name: gw, namespace: ns, uid: u1, generation: 1}
spec: {}
`

// cluster is a fake one with an installer in it. Use it within a synctest bubble.
type cluster struct {
	*fake.FakeDynamicClient
	t        *testing.T
	versions atomic.Int64
	cancel   context.CancelFunc
	done     chan error
}

func (c *cluster) version() string { return strconv.FormatInt(c.versions.Add(1), 10) }

func newCluster(t *testing.T, resource string, others ...runtime.Object) *cluster {
	t.Helper()
	c := newIdleCluster(t, others...)
	c.create(resource)
	c.ClearActions()
	c.start()
	return c
}

// newIdleCluster has no installer yet.
func newIdleCluster(t *testing.T, others ...runtime.Object) *cluster {
	t.Helper()
	lists := map[schema.GroupVersionResource]string{namespaces: "NamespaceList"}
	for _, gvr := range made() {
		lists[gvr] = "List"
	}
	for _, k := range kinds() {
		lists[k.gvr()] = k.name + "List"
	}
	lists[pods] = "PodList"
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "ns"}}}
	c := &cluster{
		FakeDynamicClient: fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, append(others, ns)...),
		t:                 t,
	}
	c.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		return stamp(c.Tracker(), a, c.version())
	})
	t.Cleanup(c.stop)
	return c
}

// create an install resource. The fake would guess a wrong plural.
func (c *cluster) create(resource string) {
	c.t.Helper()
	gw := &unstructured.Unstructured{Object: parseYAML(c.t, resource).(map[string]any)}
	if _, err := c.Resource(gvrOf(c.t, gw.GetKind())).Namespace("ns").Create(c.t.Context(), gw, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func gvrOf(t *testing.T, name string) schema.GroupVersionResource {
	t.Helper()
	return kindOf(t, &v1alpha1.Gateway{TypeMeta: metav1.TypeMeta{Kind: name}}).gvr()
}

// stamp does what an API server does about versions, and client-go's fake does not.
func stamp(t clienttesting.ObjectTracker, a clienttesting.Action, version string) (bool, runtime.Object, error) {
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		a.GetObject().(*unstructured.Unstructured).SetResourceVersion(version)
	case clienttesting.UpdateActionImpl:
		u := a.GetObject().(*unstructured.Unstructured)
		if err := conflict(t, a, u.GetName(), u.GetResourceVersion()); err != nil {
			return true, nil, err
		}
		u.SetResourceVersion(version)
	case clienttesting.PatchActionImpl:
		var patch struct {
			Metadata struct{ ResourceVersion string }
		}
		if err := json.Unmarshal(a.GetPatch(), &patch); err != nil {
			return true, nil, err
		}
		if err := conflict(t, a, a.GetName(), patch.Metadata.ResourceVersion); err != nil {
			return true, nil, err
		}
		a.Patch = bytes.ReplaceAll(a.Patch, []byte(`"resourceVersion":"`+patch.Metadata.ResourceVersion+`"`), []byte(`"resourceVersion":"`+version+`"`))
		return clienttesting.ObjectReaction(t)(a)
	}
	return false, nil, nil
}

func conflict(t clienttesting.ObjectTracker, a clienttesting.Action, name, version string) error {
	have, err := t.Get(a.GetResource(), a.GetNamespace(), name)
	if err != nil {
		return err
	}
	if got := have.(*unstructured.Unstructured).GetResourceVersion(); got != version {
		return apierrors.NewConflict(a.GetResource().GroupResource(), name, fmt.Errorf("version %q is not %q", version, got))
	}
	return nil
}

// start runs an installer until it has nothing to do.
func (c *cluster) start() {
	c.t.Helper()
	in, err := New(Config{Client: c, Log: slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		c.t.Fatal(err)
	}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(c.t.Context())
	c.done = make(chan error, 1)
	go func() { c.done <- in.Run(ctx) }()
	c.settle()
}

func (c *cluster) stop() {
	if c.cancel != nil {
		c.cancel()
		<-c.done
		c.cancel = nil
	}
}

func (c *cluster) settle() {
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

// writes are those since the last call.
func (c *cluster) writes() []string {
	var out []string
	for _, a := range c.Actions() {
		if slices.Contains([]string{"create", "update", "patch", "delete"}, a.GetVerb()) {
			out = append(out, strings.TrimSuffix(a.GetVerb()+" "+a.GetResource().Resource+"/"+a.GetSubresource(), "/"))
		}
	}
	c.ClearActions()
	return out
}

func (c *cluster) get(gvr schema.GroupVersionResource, name string) *unstructured.Unstructured {
	c.t.Helper()
	u, err := c.Resource(gvr).Namespace("ns").Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return u
}

// edit changes an object as somebody else would: it is not one of the writes.
func (c *cluster) edit(gvr schema.GroupVersionResource, name string, f func(map[string]any)) {
	c.t.Helper()
	u := c.get(gvr, name)
	f(u.Object)
	u.SetResourceVersion(c.version())
	c.ClearActions()
	if err := c.Tracker().Update(gvr, u, "ns"); err != nil {
		c.t.Fatal(err)
	}
	c.settle()
}

// remove deletes an object as somebody else would.
func (c *cluster) remove(gvr schema.GroupVersionResource, name string) {
	c.t.Helper()
	c.ClearActions()
	if err := c.Tracker().Delete(gvr, "ns", name); err != nil {
		c.t.Fatal(err)
	}
	c.settle()
}

// conditions are "type=status reason".
func (c *cluster) conditions() []string { return c.conditionsOf("IngressGateway") }

func (c *cluster) conditionsOf(kind string) []string {
	c.t.Helper()
	gw, _, err := decode(c.get(gvrOf(c.t, kind), "gw"))
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for _, s := range gw.Status.Conditions {
		out = append(out, fmt.Sprintf("%s=%s %s", s.Type, s.Status, s.Reason))
	}
	return append(out, gw.Status.Addresses...)
}

// rollOut does what the Deployment controller and the load balancer would.
func (c *cluster) rollOut() {
	c.t.Helper()
	c.edit(deployments, "gw", func(o map[string]any) {
		o["status"] = map[string]any{"observedGeneration": int64(1), "conditions": []any{
			map[string]any{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
		}}
	})
	c.edit(services, "gw", func(o map[string]any) {
		o["status"] = map[string]any{"loadBalancer": map[string]any{"ingress": []any{map[string]any{"ip": "192.0.2.1"}}}}
	})
}

var installed = []string{
	"patch ingressgateways", // the finalizer
	"create secrets", "create serviceaccounts", "create roles", "create rolebindings", "create services", "create deployments",
	"create poddisruptionbudgets", "create horizontalpodautoscalers", "patch ingressgateways/status",
}

// A resource becomes a gateway, its status follows, and from then on nothing is written: not by a resync, not by a
// new installer, not because pods come and go.
func TestInstall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, plain)
		if diff := cmp.Diff(installed, c.writes()); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"Accepted=True Accepted", "Ready=False RollingOut"}, c.conditions()); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
		c.rollOut()
		if diff := cmp.Diff([]string{"Accepted=True Accepted", "Ready=True Installed", "192.0.2.1"}, c.conditions()); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
		c.ClearActions()
		c.edit(deployments, "gw", func(o map[string]any) {
			o["status"].(map[string]any)["readyReplicas"] = int64(0)
			o["spec"].(map[string]any)["replicas"] = int64(4) // the autoscaler
			o["metadata"].(map[string]any)["generation"] = int64(2)
		})
		c.stop()
		c.start()
		time.Sleep(time.Hour)
		if got := c.writes(); got != nil {
			t.Errorf("writes although nothing changed: %q", got)
		}
	})
}

// What somebody changes or deletes is as rendered again; what is theirs stays.
func TestDrift(t *testing.T) {
	spec := func(o map[string]any) map[string]any { return o["spec"].(map[string]any) }
	cases := map[string]struct {
		gvr  schema.GroupVersionResource
		edit func(map[string]any)
		want []string
	}{
		"ChangedField": {services, func(o map[string]any) { spec(o)["type"] = "ClusterIP" }, []string{"update services"}},
		"RemovedField": {deployments, func(o map[string]any) { delete(spec(o), "strategy") }, []string{"update deployments"}},
		"AddedField": {deployments, func(o map[string]any) {
			spec(o)["paused"] = true
			owned(o, "somebody", `{"f:spec":{"f:paused":{}}}`)
		}, []string{"update deployments"}},
		"AddedListItem": {services, func(o map[string]any) {
			owned(o, "somebody", `{"f:spec":{"f:ports":{"k:{\"port\":99,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}`)
		}, []string{"update services"}},
		"SameValueByAnother": {services, func(o map[string]any) {
			owned(o, "somebody", `{"f:spec":{"f:ports":{"k:{\"port\":15443,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}`)
		}, nil},
		"Label": {services, func(o map[string]any) {
			o["metadata"].(map[string]any)["labels"].(map[string]any)["app"] = "other"
		}, []string{"update services"}},
		"ForeignLabel": {services, func(o map[string]any) {
			o["metadata"].(map[string]any)["labels"].(map[string]any)["team"] = "a"
			o["metadata"].(map[string]any)["annotations"].(map[string]any)["sandbox.isthmus.dev/address"] = "192.0.2.7"
		}, nil},
		"Replicas": {deployments, func(o map[string]any) {
			spec(o)["replicas"] = int64(7)
			owned(o, "somebody", `{"f:spec":{"f:replicas":{}}}`)
		}, nil},
		"Restart": {deployments, func(o map[string]any) {
			m := spec(o)["template"].(map[string]any)["metadata"].(map[string]any)
			m["annotations"].(map[string]any)[restartedAt] = "now"
			owned(o, "kubectl-rollout", `{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{"f:`+restartedAt+`":{}}}}}}`)
		}, nil},
		"Defaults": {deployments, func(o map[string]any) {
			spec(o)["progressDeadlineSeconds"] = int64(600)
			owned(o, fieldManager, `{"f:spec":{"f:progressDeadlineSeconds":{}}}`)
		}, nil},
		"Quantities": {autoscalers, func(o map[string]any) { spec(o)["maxReplicas"] = float64(10) }, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, plain)
				c.writes()
				before := c.get(tc.gvr, "gw")
				c.edit(tc.gvr, "gw", tc.edit)
				if diff := cmp.Diff(tc.want, c.writes()); diff != "" {
					t.Errorf("writes (-want +got):\n%s", diff)
				}
				if tc.want == nil {
					return
				}
				got := c.get(tc.gvr, "gw")
				got.SetManagedFields(nil)
				got.SetResourceVersion(before.GetResourceVersion())
				if diff := cmp.Diff(before.Object, got.Object); diff != "" {
					t.Errorf("repaired (-before +after):\n%s", diff)
				}
			})
		})
	}
}

// owned writes what the API server would into managedFields.
func owned(o map[string]any, manager, fields string) {
	u := unstructured.Unstructured{Object: o}
	u.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: manager, Operation: "Update", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	}})
}

func TestDeletedObjectsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, plain)
		c.writes()
		for _, gvr := range []schema.GroupVersionResource{services, deployments, autoscalers} {
			c.remove(gvr, "gw")
			if diff := cmp.Diff([]string{"create " + gvr.Resource}, c.writes()); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
		}
	})
}

// An object of somebody else with a name that we need is left alone, with everything else of the gateway, until it
// is gone.
func TestForeign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := &unstructured.Unstructured{Object: parseYAML(t, `{apiVersion: v1, kind: Service, metadata: {name: gw, namespace: ns}, spec: {type: ClusterIP}}`).(map[string]any)}
		c := newCluster(t, plain, svc)
		if diff := cmp.Diff([]string{"patch ingressgateways", "patch ingressgateways/status"}, c.writes()); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"Accepted=False ForeignObject", "Ready=False ForeignObject"}, c.conditions()); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
		c.remove(services, "gw")
		time.Sleep(15 * time.Minute) // nobody tells us of objects that are not ours: the resync finds it gone
		if diff := cmp.Diff([]string{"Accepted=True Accepted", "Ready=False RollingOut"}, c.conditions()); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
	})
}

// A mistake is a condition; what was installed before stays, and nothing is written again and again.
func TestMistake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, plain)
		c.rollOut()
		c.edit(kinds()[0].gvr(), "gw", func(o map[string]any) {
			o["metadata"].(map[string]any)["generation"] = int64(2)
			o["spec"] = parseYAML(t, "{kubeSpec: {overlays: [{kind: Service, name: gw, patches: [{path: 'spec.ports.[name:x].port', value: 1}]}]}}")
		})
		time.Sleep(time.Hour)
		if diff := cmp.Diff([]string{"patch ingressgateways/status"}, c.writes()); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"Accepted=False InvalidOverlay", "Ready=False InvalidOverlay", "192.0.2.1"}, c.conditions()); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
	})
}

// With the autoscaler disabled it goes, and the number of pods is ours; enabled again it finds a pod to scale.
func TestAutoscaler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, plain)
		c.writes()
		c.edit(kinds()[0].gvr(), "gw", func(o map[string]any) {
			o["spec"] = parseYAML(t, "{kubeSpec: {deployment: {replicaCount: 0, hpaSpec: {disabled: true}}}}")
		})
		if diff := cmp.Diff([]string{"update deployments", "delete horizontalpodautoscalers"}, c.writes()); diff != "" {
			t.Errorf("disabling writes (-want +got):\n%s", diff)
		}
		c.edit(deployments, "gw", func(o map[string]any) { o["spec"].(map[string]any)["replicas"] = int64(3) })
		if diff := cmp.Diff([]string{"update deployments"}, c.writes()); diff != "" {
			t.Errorf("scaling writes (-want +got):\n%s", diff)
		}
		c.edit(kinds()[0].gvr(), "gw", func(o map[string]any) { o["spec"] = map[string]any{} })
		if diff := cmp.Diff([]string{"update deployments", "create horizontalpodautoscalers"}, c.writes()); diff != "" {
			t.Errorf("enabling writes (-want +got):\n%s", diff)
		}
		if n, _, _ := unstructured.NestedInt64(c.get(deployments, "gw").Object, "spec", "replicas"); n != 1 {
			t.Errorf("replicas = %d, want 1", n)
		}
	})
}

// A deleted resource keeps its gateway for the hold, marked as draining, and then lets go.
func TestDeleteHold(t *testing.T) {
	cases := map[string]struct {
		terminating bool
		want        []string // within the hold
	}{
		"Held":                 {false, []string{"update services"}},
		"NamespaceTerminating": {true, []string{"patch ingressgateways"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, plain)
				c.rollOut()
				if tc.terminating {
					u, err := c.Resource(namespaces).Get(t.Context(), "ns", metav1.GetOptions{})
					if err != nil {
						t.Fatal(err)
					}
					u.SetDeletionTimestamp(new(metav1.Now()))
					if _, err := c.Resource(namespaces).Update(t.Context(), u, metav1.UpdateOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				c.edit(kinds()[0].gvr(), "gw", func(o map[string]any) {
					(&unstructured.Unstructured{Object: o}).SetDeletionTimestamp(new(metav1.Now()))
				})
				if diff := cmp.Diff(tc.want, c.writes()); diff != "" {
					t.Errorf("writes (-want +got):\n%s", diff)
				}
				draining := c.get(services, "gw").GetAnnotations()[wellknown.DrainingAnnotation] == "true"
				if draining == tc.terminating {
					t.Errorf("draining = %t", draining)
				}
				time.Sleep(10 * time.Second)
				if f := c.get(kinds()[0].gvr(), "gw").GetFinalizers(); slices.Contains(f, v1alpha1.DeleteHold) {
					t.Errorf("finalizers after the hold: %q", f)
				}
			})
		})
	}
}

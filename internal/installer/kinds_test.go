package installer

import (
	"fmt"
	"maps"
	"slices"
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
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"

	"isthmus.dev/isthmus/api/install/v1alpha1"
)

// What the kinds and types differ in: the Service's type and ports, and the labels by which pods are told apart.
func TestProfiles(t *testing.T) {
	const web, closed = "80→8080 443→8443 15443→15443 15021→15021", "15443→15443 15021→15021"
	for name, tc := range map[string]struct {
		kind string
		spec v1alpha1.GatewaySpec
		want string
	}{
		"Ingress":         {"IngressGateway", v1alpha1.GatewaySpec{}, "LoadBalancer " + web + " ingressgateway ingress"},
		"IngressEastWest": {"IngressGateway", v1alpha1.GatewaySpec{EastWestOnly: true}, "LoadBalancer " + closed + " ingressgateway eastwest"},
		"Tier1":           {"Tier1Gateway", v1alpha1.GatewaySpec{}, "LoadBalancer " + web + " ingressgateway ingress"},
		"Egress":          {"EgressGateway", v1alpha1.GatewaySpec{}, "ClusterIP " + closed + " egressgateway egress"},
		"Gateway":         {"Gateway", v1alpha1.GatewaySpec{}, "LoadBalancer " + web + " ingressgateway eastwest egress ingress"},
		"TypeUnified":     {"Gateway", v1alpha1.GatewaySpec{Type: "UNIFIED"}, "LoadBalancer " + web + " ingressgateway eastwest egress ingress"},
		"TypeIngress":     {"Gateway", v1alpha1.GatewaySpec{Type: "INGRESS"}, "LoadBalancer " + web + " ingressgateway ingress"},
		"TypeEgress":      {"Gateway", v1alpha1.GatewaySpec{Type: "EGRESS"}, "ClusterIP " + closed + " egressgateway egress"},
		"TypeEastWest":    {"Gateway", v1alpha1.GatewaySpec{Type: "EASTWEST"}, "LoadBalancer " + closed + " ingressgateway eastwest"},
		"TypeAndEastWest": {"Gateway", v1alpha1.GatewaySpec{Type: "INGRESS", EastWestOnly: true}, "LoadBalancer " + closed + " ingressgateway eastwest"},
		"NotTyped":        {"Tier1Gateway", v1alpha1.GatewaySpec{Type: "EGRESS"}, "LoadBalancer " + web + " ingressgateway ingress"},
	} {
		t.Run(name, func(t *testing.T) {
			gw := &v1alpha1.Gateway{TypeMeta: metav1.TypeMeta{Kind: tc.kind}, ObjectMeta: metav1.ObjectMeta{Name: "gw", Namespace: "ns", UID: "u"}, Spec: tc.spec}
			objects, _, err := render(kindOf(t, gw), gw, site{})
			if err != nil {
				t.Fatal(err)
			}
			if got := profileText(objects); got != tc.want {
				t.Errorf("render() made %q, want %q", got, tc.want)
			}
		})
	}
}

func profileText(objects []object) string {
	var out []string
	for _, o := range objects {
		switch o.gvr {
		case services:
			ports, _, _ := unstructured.NestedSlice(o.Object, "spec", "ports")
			out = append(out, o.Object["spec"].(map[string]any)["type"].(string))
			for _, p := range ports {
				out = append(out, fmt.Sprintf("%v→%v", p.(map[string]any)["port"], p.(map[string]any)["targetPort"]))
			}
		case deployments:
			labels, _, _ := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "labels")
			out = append(out, labels["istio"])
			for _, k := range slices.Sorted(maps.Keys(labels)) {
				if labels[k] == "enabled" {
					out = append(out, strings.TrimPrefix(k, "platform.tetrate.io/"))
				}
			}
		}
	}
	return strings.Join(out, " ")
}

// Every kind is installed, held while it is deleted, and let go.
func TestEveryKind(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, strings.Replace(plain, "IngressGateway", k.name, 1))
				var want []string
				for _, w := range installed {
					want = append(want, strings.Replace(w, "ingressgateways", k.resource, 1))
				}
				if diff := cmp.Diff(want, c.writes()); diff != "" {
					t.Errorf("writes (-want +got):\n%s", diff)
				}
				c.rollOut()
				if got := c.conditionsOf(k.name); len(got) < 2 || got[1] != "Ready=True Installed" {
					t.Errorf("conditions: %q", got)
				}
				c.edit(k.gvr(), "gw", func(o map[string]any) {
					(&unstructured.Unstructured{Object: o}).SetDeletionTimestamp(new(metav1.Now()))
				})
				if diff := cmp.Diff([]string{"update services"}, c.writes()); diff != "" {
					t.Errorf("writes within the hold (-want +got):\n%s", diff)
				}
				time.Sleep(10 * time.Second)
				if f := c.get(k.gvr(), "gw").GetFinalizers(); len(f) > 0 {
					t.Errorf("finalizers after the hold: %q", f)
				}
			})
		})
	}
}

const second = `
apiVersion: install.tetrate.io/v1alpha1
kind: Gateway
metadata: {name: gw, namespace: ns, uid: u2, generation: 1, creationTimestamp: "2000-01-01T00:00:00Z"}
spec: {type: EGRESS}
`

// Of two kinds of one name the one that came first has the gateway. The other one says so, touches nothing, and gets
// it when the first is gone.
func TestOneNameOfTwoKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, strings.Replace(plain, "generation", `creationTimestamp: "1999-12-31T00:00:00Z", generation`, 1))
		c.rollOut()
		c.ClearActions()
		c.create(second)
		c.ClearActions()
		time.Sleep(time.Hour)
		if diff := cmp.Diff([]string{"patch gateways/status"}, c.writes()); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"Accepted=False NameTaken", "Ready=False NameTaken"}, c.conditionsOf("Gateway")); diff != "" {
			t.Errorf("conditions of the second (-want +got):\n%s", diff)
		}
		gw, _, err := decode(c.get(gvrOf(t, "Gateway"), "gw"))
		if err != nil || !strings.HasPrefix(gw.Status.Conditions[0].Message, "IngressGateway ns/gw was here first") {
			t.Errorf("the condition says %v, %v", gw.Status.Conditions, err)
		}
		c.remove(kinds()[0].gvr(), "gw")
		for _, gvr := range made() { // the garbage collector
			list, err := c.Resource(gvr).Namespace("ns").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range list.Items {
				c.remove(gvr, u.GetName())
			}
		}
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"Accepted=True Accepted", "Ready=False RollingOut"}, c.conditionsOf("Gateway")); diff != "" {
			t.Errorf("conditions once the first is gone (-want +got):\n%s", diff)
		}
		if got := c.get(deployments, "gw").GetLabels()["istio"]; got != "egressgateway" {
			t.Errorf("the Deployment is for %q", got)
		}
	})
}

// What a deleted resource leaves behind on purpose is taken over by one of another kind, without a moment without it.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, plain)
		c.create(second)
		c.settle()
		c.edit(kinds()[0].gvr(), "gw", func(o map[string]any) { // kubectl delete --cascade=orphan
			u := &unstructured.Unstructured{Object: o}
			u.SetDeletionTimestamp(new(metav1.Now()))
			u.SetFinalizers(append(u.GetFinalizers(), "orphan"))
		})
		for _, gvr := range made() {
			list, err := c.Resource(gvr).Namespace("ns").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range list.Items {
				c.edit(gvr, u.GetName(), func(o map[string]any) { unstructured.RemoveNestedField(o, "metadata", "ownerReferences") })
			}
		}
		c.remove(kinds()[0].gvr(), "gw")
		want := []string{
			"patch gateways", "update serviceaccounts", "update roles", "update rolebindings", "update services", "update deployments",
			"update poddisruptionbudgets", "update horizontalpodautoscalers", "patch gateways/status",
		}
		if diff := cmp.Diff(want, c.writes()); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		if owner := metav1.GetControllerOf(c.get(deployments, "gw")); owner == nil || owner.Kind != "Gateway" {
			t.Errorf("the Deployment belongs to %v", owner)
		}
	})
}

// Whose the objects are already has them, whatever the times and the order of the kinds say.
func TestOneNameIsItsOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, strings.Replace(second, "2000", "2001", 1))
		c.create(plain) // of unknown age: the oldest
		c.settle()
		if got := c.conditions(); got[0] != "Accepted=False NameTaken" {
			t.Errorf("conditions of the newcomer: %q", got)
		}
		if got := c.conditionsOf("Gateway"); got[0] != "Accepted=True Accepted" {
			t.Errorf("conditions of the owner: %q", got)
		}
	})
}

// An edge that is newer than the cluster's CRDs looks after the kinds that there are, and after the others once they
// are there.
func TestKindIsMissing(t *testing.T) {
	for name, failure := range map[string]error{
		"NoCRD":        apierrors.NewNotFound(kinds()[3].gvr().GroupResource(), ""),
		"NoPermission": apierrors.NewForbidden(kinds()[3].gvr().GroupResource(), "", nil),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var there atomic.Bool
				c := newIdleCluster(t)
				refuse := func(clienttesting.Action) (bool, runtime.Object, error) { return !there.Load(), nil, failure }
				c.PrependReactor("list", "gateways", refuse)
				c.PrependWatchReactor("gateways", func(clienttesting.Action) (bool, watch.Interface, error) { return !there.Load(), nil, failure })
				c.create(plain)
				c.start()
				if got := c.conditions(); got[0] != "Accepted=True Accepted" {
					t.Errorf("conditions of a kind that is there: %q", got)
				}
				there.Store(true)
				c.create(strings.Replace(second, "name: gw", "name: other", 1))
				time.Sleep(2 * time.Minute)
				if u := c.get(deployments, "other"); u == nil {
					t.Error("the gateway of a kind that came later was not installed")
				}
			})
		})
	}
}

// Pods that do not come are explained in the status, in words that stay the same.
func TestTrouble(t *testing.T) {
	pod := func(name, created, rest string) runtime.Object {
		return &unstructured.Unstructured{Object: parseYAML(t, `
apiVersion: v1
kind: Pod
metadata: {name: `+name+`, namespace: ns, creationTimestamp: "`+created+`", labels: {isthmus.dev/gateway: ns.gw}}
`+rest).(map[string]any)}
	}
	const day = "2000-01-01T00:00:00Z"
	for name, tc := range map[string]struct {
		pods []runtime.Object
		want string
	}{
		"Nothing": {nil, "nothing is known about them yet."},
		"NotInjected": {
			[]runtime.Object{pod("a", day, `spec: {containers: [{name: istio-proxy, image: auto}]}`)},
			"Istio has not completed the pod: there is no istiod of its revision, or the namespace has injection switched off.",
		},
		"Crash": {
			[]runtime.Object{pod("a", day, `status: {containerStatuses: [{name: istio-proxy, state: {waiting: {reason: CrashLoopBackOff, message: back-off 20s}}, lastState: {terminated: {exitCode: 1, reason: Error, message: "no such file\n"}}}]}`)},
			"container istio-proxy: it ended with code 1 (Error): no such file",
		},
		"CrashWithoutCode": {
			[]runtime.Object{pod("a", day, `status: {containerStatuses: [{name: istio-proxy, state: {running: {}}, lastState: {terminated: {exitCode: 0, reason: Completed}}}]}`)},
			"container istio-proxy: it ended with code 0 (Completed)",
		},
		"InitEnded": {
			[]runtime.Object{pod("a", day, `status: {initContainerStatuses: [{name: i, ready: true, state: {terminated: {exitCode: 0, reason: Completed}}}]}`)},
			"nothing is known about them yet.",
		},
		"Image": {
			[]runtime.Object{pod("a", day, `status: {containerStatuses: [{name: istio-proxy, image: hub/x, state: {waiting: {reason: ImagePullBackOff, message: back-off}}}]}`)},
			"container istio-proxy: its image cannot be pulled: hub/x",
		},
		"Config": {
			[]runtime.Object{pod("a", day, `status: {containerStatuses: [{name: istio-proxy, state: {waiting: {reason: CreateContainerConfigError, message: 'secret "x" not found'}}}]}`)},
			`container istio-proxy: CreateContainerConfigError: secret "x" not found`,
		},
		"Unscheduled": {
			[]runtime.Object{pod("a", day, `status: {conditions: [{type: PodScheduled, status: "False", message: 0/1 nodes are available.}]}`)},
			"the pod finds no place: 0/1 nodes are available.",
		},
		"NewestFirst": {
			[]runtime.Object{
				pod("a", day, `status: {conditions: [{type: PodScheduled, status: "False", message: old}]}`),
				pod("b", "2000-01-02T00:00:00Z", `status: {conditions: [{type: PodScheduled, status: "False", message: new}]}`),
			},
			"the pod finds no place: new",
		},
		"Starting": {
			[]runtime.Object{pod("a", day, `status: {containerStatuses: [{name: istio-proxy, state: {waiting: {reason: ContainerCreating}}}]}`)},
			"nothing is known about them yet.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, plain, tc.pods...)
				gw, _, err := decode(c.get(kinds()[0].gvr(), "gw"))
				if err != nil {
					t.Fatal(err)
				}
				if got, want := gw.Status.Conditions[1].Message, "The pods are being rolled out: "+tc.want; got != want {
					t.Errorf("Ready says %q, want %q", got, want)
				}
			})
		})
	}
}

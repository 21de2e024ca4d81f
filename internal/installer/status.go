package installer

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"isthmus.dev/isthmus/api/install/v1alpha1"
	"isthmus.dev/isthmus/internal/wellknown"
)

// reasonRollingOut of Ready: the pods are not as wanted yet.
const reasonRollingOut = "RollingOut"

// verdict is one condition before it has a time.
type verdict struct {
	ok              bool
	reason, message string
}

// statusOf is the status that a gateway should have. It takes over the times of conditions that did not change, so
// that an equal status is equal in every byte and is not written.
func statusOf(gw *v1alpha1.Gateway, accepted, ready verdict, addresses []string, now time.Time) v1alpha1.GatewayStatus {
	out := v1alpha1.GatewayStatus{ObservedGeneration: gw.Generation, Addresses: addresses}
	for _, c := range []struct {
		kind string
		verdict
	}{{v1alpha1.Accepted, accepted}, {v1alpha1.Ready, ready}} {
		next := v1alpha1.Condition{Type: c.kind, Status: "False", Reason: c.reason, Message: c.message}
		if c.ok {
			next.Status = "True"
		}
		next.LastTransitionTime = now.UTC().Format(time.RFC3339)
		for _, have := range gw.Status.Conditions {
			if have.Type == next.Type && have.Status == next.Status && have.LastTransitionTime != "" {
				next.LastTransitionTime = have.LastTransitionTime
			}
		}
		out.Conditions = append(out.Conditions, next)
	}
	return out
}

// readiness says whether a gateway was rolled out as wanted and can be reached. A pod that comes and goes later does
// not change it: then nothing about the installation changed, and nothing is written.
//
// ready says that it was so before, with the same spec: then a Deployment that was merely scaled, whose controller has
// not looked yet, is not a new roll-out.
func readiness(dep, svc *unstructured.Unstructured, ready bool) (verdict, []string) {
	addresses := addressesOf(svc)
	if !rolledOut(dep, ready) {
		return verdict{false, reasonRollingOut, "The pods are being rolled out: " + progress(dep)}, addresses
	}
	if t, _, _ := unstructured.NestedString(svc.Object, "spec", "type"); t == "LoadBalancer" && len(addresses) == 0 {
		return verdict{false, "NoAddress", "The load balancer has no address yet."}, addresses
	}
	return verdict{true, "Installed", "The gateway is rolled out."}, addresses
}

// wasReady says whether the last status found this very spec rolled out.
func wasReady(gw *v1alpha1.Gateway) bool {
	return gw.Status.ObservedGeneration == gw.Generation && slices.ContainsFunc(gw.Status.Conditions, func(c v1alpha1.Condition) bool {
		return c.Type == v1alpha1.Ready && c.Status == "True"
	})
}

// rolledOut says whether the Deployment controller has finished with the newest template. It says so until the next
// template, whatever happens to the pods meanwhile.
func rolledOut(dep *unstructured.Unstructured, before bool) bool {
	seen, _, _ := unstructured.NestedInt64(dep.Object, "status", "observedGeneration")
	if seen < dep.GetGeneration() && !before {
		return false
	}
	return condition(dep, "Progressing")["reason"] == "NewReplicaSetAvailable"
}

// progress is the Deployment controller's own word on why a roll-out is not finished.
func progress(dep *unstructured.Unstructured) string {
	for _, t := range []string{"ReplicaFailure", "Progressing"} {
		c := condition(dep, t)
		if m, _ := c["message"].(string); m != "" && (t != "ReplicaFailure" || c["status"] == "True") && c["reason"] != "NewReplicaSetAvailable" {
			return m
		}
	}
	return "nothing is known about them yet."
}

func condition(u *unstructured.Unstructured, kind string) map[string]any {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, item := range list {
		if c, ok := item.(map[string]any); ok && c["type"] == kind {
			return c
		}
	}
	return nil
}

// addressesOf are those that the Service is given by its annotation, or those of the load balancer; a Service without
// one has its cluster address.
func addressesOf(svc *unstructured.Unstructured) []string {
	if given := strings.FieldsFunc(svc.GetAnnotations()[wellknown.ExternalAddressesAnnotation], func(r rune) bool { return r == ',' || r == ' ' }); len(given) > 0 {
		slices.Sort(given)
		return slices.Compact(given)
	}
	t, _, _ := unstructured.NestedString(svc.Object, "spec", "type")
	if t != "LoadBalancer" {
		ip, _, _ := unstructured.NestedString(svc.Object, "spec", "clusterIP")
		if net.ParseIP(ip) == nil {
			return nil
		}
		return []string{ip}
	}
	var out []string
	list, _, _ := unstructured.NestedSlice(svc.Object, "status", "loadBalancer", "ingress")
	for _, item := range list {
		m, _ := item.(map[string]any)
		for _, key := range []string{"ip", "hostname"} {
			if s, _ := m[key].(string); s != "" {
				out = append(out, s)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// statusPatch is the merge patch that writes a status, bound to the version that it was derived from.
func statusPatch(resourceVersion string, s v1alpha1.GatewayStatus) ([]byte, error) {
	type status struct {
		v1alpha1.GatewayStatus
		// Without omitempty: a merge patch has to say that there are none any more.
		Addresses []string `json:"addresses"`
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": resourceVersion},
		"status":   status{s, s.Addresses},
	})
}

// foreignMessage names objects of somebody else that are in the way.
func foreignMessage(objects []string) string {
	const what = "exists and was made by somebody else; it is left alone, and nothing of this gateway is installed."
	if len(objects) == 1 {
		return objects[0] + " " + what
	}
	return objects[0] + " and " + strconv.Itoa(len(objects)-1) + " more: each " + what
}

func nameOfObject(u *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", u.GetKind(), u.GetNamespace(), u.GetName())
}

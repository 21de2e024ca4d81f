package edge

import (
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/wellknown"
)

const (
	// ruleLingers is longer than istiod gathers changes at the most.
	ruleLingers = 15 * time.Second
	// calledLingers is how long proxies may take to hear of routes, the wait before those are written included.
	calledLingers = 3 * time.Second
	// servingLingers is how long the callers' proxies may take to hear that they should call somebody else.
	servingLingers = 3 * time.Second
)

// keeps is what objects keep for a while. An endpoint that is lost is kept for as long as routes may lead to it alone, because they were
// changed a moment ago; otherwise it goes at once: maybe nobody is there any more.
func keeps() []apply.Keep {
	return []apply.Keep{
		{What: keepCalled, For: calledLingers, Routed: true},
		{What: keepServed, For: calledLingers + servingLingers},
		{What: keepLedTo, For: ruleLingers},
	}
}

// routes says that an object may lead to endpoints and subsets of others.
func routes(ref apply.Ref) bool { return ref.Kind == "VirtualService" }

// lingers says how long what is not wanted any more stays. Routes may still lead through a DestinationRule: istiod tells proxies of
// clusters before it tells them of routes, so that a route whose rule goes at the same moment leads nowhere for a while. Callers
// may still come to a Gateway, as long as their proxies have not heard more than the API server; all that stands before and behind it stays
// with it. What belongs to a global host goes with the host.
func lingers(ref apply.Ref) time.Duration {
	switch {
	case ref.Namespace == wellknown.GlobalNamespace:
		return 0
	case strings.HasPrefix(ref.Name, "egress-"):
		return 0 // what lets callers out of the mesh: nobody is moved elsewhere, and who takes it away means now
	case ref.Kind == "DestinationRule":
		return ruleLingers
	}
	return servingLingers
}

// leads says that routes of a later wave may lead through an object.
func leads(ref apply.Ref) bool {
	return ref.Kind == "DestinationRule" && ref.Namespace != wellknown.GlobalNamespace
}

// keepServed leaves the hosts in a Gateway that callers within the mesh may still come for: they hear of it in their clusters at the
// same time, while a Gateway that goes as a whole waits for them.
func keepServed(was, is *unstructured.Unstructured) bool {
	if is.GetKind() != "Gateway" {
		return false
	}
	servers := specList(is, "servers")
	has := map[string]bool{}
	for _, s := range servers {
		for _, h := range meshHosts(s) {
			has[h] = true
		}
	}
	n := len(servers)
	for _, old := range specList(was, "servers") {
		var lost []any
		for _, h := range meshHosts(old) {
			if !has[h] {
				lost = append(lost, h)
			}
		}
		if len(lost) > 0 {
			old["hosts"] = lost
			servers = append(servers, old)
		}
	}
	return len(servers) > n && setSpecList(is, servers, "servers")
}

// meshHosts are those of a server for callers within the mesh.
func meshHosts(server map[string]any) []string {
	if portNumber(server) != wellknown.MTLSPort {
		return nil
	}
	hosts, _, _ := unstructured.NestedStringSlice(server, "hosts")
	return hosts
}

func portNumber(server map[string]any) int64 {
	n, _, _ := unstructured.NestedFieldNoCopy(server, "port", "number")
	switch n := n.(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 0
}

// keepLedTo leaves in an object what routes may still lead to: the subsets of a DestinationRule, and the labels that put endpoints into
// subsets, and endpoints that are said to be leaving.
func keepLedTo(was, is *unstructured.Unstructured) bool {
	switch is.GetKind() {
	case "DestinationRule":
		return keepSubsets(was, is)
	case "ServiceEntry":
		return keepEndpoints(was, is)
	}
	return false
}

func keepSubsets(was, is *unstructured.Unstructured) bool {
	before, after := specList(was, "subsets"), specList(is, "subsets")
	kept := slices.Clone(after)
	for _, s := range before {
		if !slices.ContainsFunc(after, func(x map[string]any) bool { return x["name"] == s["name"] }) {
			kept = append(kept, s)
		}
	}
	return len(kept) > len(after) && setSpecList(is, kept, "subsets")
}

// keepEndpoints keeps labels of sets, and endpoints that are said to be leaving.
func keepEndpoints(was, is *unstructured.Unstructured) bool {
	before, endpoints := specList(was, "endpoints"), specList(is, "endpoints")
	kept := false
	for i, e := range endpoints {
		j := slices.IndexFunc(before, func(x map[string]any) bool { return x["address"] == e["address"] })
		if j < 0 {
			continue
		}
		if labels := keepSets(before[j], e); labels != nil {
			endpoints[i] = maps.Clone(e)
			endpoints[i]["labels"], kept = labels, true
		}
	}
	leaving := strings.Split(is.GetAnnotations()[wellknown.LeavingAnnotation], ",")
	more := lostEndpoints(was, is, func(address string) bool { return slices.Contains(leaving, address) })
	return (kept || len(more) > 0) && setSpecList(is, append(endpoints, more...), "endpoints")
}

// keepCalled keeps all endpoints, and the identities that they show.
func keepCalled(was, is *unstructured.Unstructured) bool {
	if is.GetKind() != "ServiceEntry" {
		return false
	}
	lost := lostEndpoints(was, is, func(string) bool { return true })
	if len(lost) == 0 {
		return false
	}
	const names = "subjectAltNames"
	before, _, _ := unstructured.NestedStringSlice(was.Object, "spec", names)
	accepted, _, _ := unstructured.NestedStringSlice(is.Object, "spec", names)
	if len(accepted) > 0 { // without any, all are accepted
		for _, n := range before {
			if !slices.Contains(accepted, n) {
				accepted = append(accepted, n)
			}
		}
		if err := unstructured.SetNestedStringSlice(is.Object, accepted, "spec", names); err != nil {
			return false
		}
	}
	return setSpecList(is, append(specList(is, "endpoints"), lost...), "endpoints")
}

// lostEndpoints are those that an object does not have any more, of the addresses that can be kept.
func lostEndpoints(was, is *unstructured.Unstructured, keep func(address string) bool) []map[string]any {
	if !fits(was, is) {
		return nil
	}
	var lost []map[string]any
	now := specList(is, "endpoints")
	for _, e := range specList(was, "endpoints") {
		address, _ := e["address"].(string)
		if !slices.ContainsFunc(now, func(x map[string]any) bool { return x["address"] == address }) && keep(address) {
			lost = append(lost, e)
		}
	}
	return lost
}

// keepSets is the labels of an endpoint with those of the sets that it was in; nil when it is in all of them.
func keepSets(was, is map[string]any) map[string]any {
	old, _, _ := unstructured.NestedMap(was, "labels")
	labels, _, _ := unstructured.NestedMap(is, "labels")
	kept := false
	for k, v := range old {
		if _, there := labels[k]; !there && strings.HasPrefix(k, wellknown.SetPrefix) {
			if labels == nil {
				labels = map[string]any{}
			}
			labels[k], kept = v, true
		}
	}
	if !kept {
		return nil
	}
	return labels
}

// fits says that endpoints of one form of a ServiceEntry can be in the other: Istio refuses ports that it does not have, and names among
// addresses.
func fits(was, is *unstructured.Unstructured) bool {
	resolution := func(u *unstructured.Unstructured) string {
		s, _, _ := unstructured.NestedString(u.Object, "spec", "resolution")
		return s
	}
	names := func(u *unstructured.Unstructured) []any {
		var out []any
		for _, p := range specList(u, "ports") {
			out = append(out, p["name"])
		}
		return out
	}
	return resolution(was) == resolution(is) && slices.Equal(names(was), names(is))
}

// specList is a list of objects in the spec of an object.
func specList(u *unstructured.Unstructured, field string) []map[string]any {
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", field)
	var out []map[string]any
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func setSpecList(u *unstructured.Unstructured, list []map[string]any, field string) bool {
	out := make([]any, len(list))
	for i, m := range list {
		out[i] = m
	}
	return unstructured.SetNestedSlice(u.Object, out, "spec", field) == nil
}

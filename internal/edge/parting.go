package edge

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/wellknown"
)

// setPrefix is how labels begin that say which sets of clusters an endpoint is in.
const setPrefix = "xcp.tetrate.io/clusters-"

// lingers says what routes may still lead through: istiod tells proxies of clusters before it tells them of routes, so that a
// route whose DestinationRule goes at the same moment leads nowhere for a while. That of a global host goes with the host.
func lingers(ref apply.Ref) bool {
	return ref.Kind == "DestinationRule" && ref.Namespace != wellknown.GlobalNamespace
}

// keepLedTo leaves in an object what routes may still lead to: the subsets of a DestinationRule, and the labels that put endpoints into
// subsets. Endpoints themselves go at once: nobody is there any more.
func keepLedTo(was, is *unstructured.Unstructured) bool {
	switch is.GetKind() {
	case "DestinationRule":
		return keepSubsets(was, is)
	case "ServiceEntry":
		return keepSets(was, is)
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

func keepSets(was, is *unstructured.Unstructured) bool {
	before := map[any]map[string]any{}
	for _, e := range specList(was, "endpoints") {
		before[e["address"]] = e
	}
	endpoints, kept := specList(is, "endpoints"), false
	for i, e := range endpoints {
		old, _, _ := unstructured.NestedStringMap(before[e["address"]], "labels")
		labels, _, _ := unstructured.NestedStringMap(e, "labels")
		labels = maps.Clone(labels)
		for k, v := range old {
			if _, there := labels[k]; !there && strings.HasPrefix(k, setPrefix) {
				if labels == nil {
					labels = map[string]string{}
				}
				labels[k], kept = v, true
			}
		}
		endpoints[i] = maps.Clone(e)
		if labels != nil {
			text := map[string]any{}
			for k, v := range labels {
				text[k] = v
			}
			endpoints[i]["labels"] = text
		}
	}
	return kept && setSpecList(is, endpoints, "endpoints")
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

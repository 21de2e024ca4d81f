package installer

import (
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"isthmus.dev/isthmus/internal/wellknown"
)

// fieldManager is the installer's name in managedFields.
const fieldManager = "isthmus-edge"

// restartedAt is what `kubectl rollout restart` writes into a pod template: somebody's wish to act, not drift.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// differs says whether the live object is no longer as rendered, by everything that is kept in the object itself:
//
//   - something else was rendered when it was written (the digest is another one);
//   - a rendered field has another value or is gone;
//   - a field that is not rendered was added by somebody else.
//
// Fields that the API server or an autoscaler filled in do not count: nobody else's managedFields list them, or they
// belong to a subresource.
func differs(want, live *unstructured.Unstructured) bool {
	if want.GetAnnotations()[annotationRendered] != live.GetAnnotations()[annotationRendered] {
		return true
	}
	if _, draining := live.GetAnnotations()[wellknown.DrainingAnnotation]; draining {
		return true // the gateway was given up once, and is wanted again
	}
	for key, v := range want.Object {
		if key != "metadata" && !holds(v, live.Object[key]) {
			return true
		}
	}
	if !within(want.GetLabels(), live.GetLabels()) || !within(want.GetAnnotations(), live.GetAnnotations()) ||
		!reflect.DeepEqual(want.GetOwnerReferences(), live.GetOwnerReferences()) {
		return true
	}
	return added(want, live)
}

// within says whether all of small is in big.
func within(small, big map[string]string) bool {
	for k, v := range small {
		if got, ok := big[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// holds says whether live has everything that want has. An empty value is the same as none.
func holds(want, live any) bool {
	switch w := want.(type) {
	case nil:
		return true
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return len(w) == 0 && live == nil
		}
		for k, v := range w {
			if !holds(v, l[k]) {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		if !ok {
			return len(w) == 0 && live == nil
		}
		return slices.EqualFunc(w, l, holds)
	case string:
		l, ok := live.(string)
		return ok && (w == l || sameQuantity(w, l)) || w == "" && live == nil
	case bool:
		return live == w || !w && live == nil
	}
	return sameNumber(want, live)
}

// sameNumber compares numbers, and a number with the quantity that the API server made of it.
func sameNumber(want, live any) bool {
	w, l := normal(want), normal(live)
	if w == l || l == nil && w == int64(0) {
		return true
	}
	s, ok := l.(string)
	if !ok {
		return false
	}
	b, err := json.Marshal(w)
	return err == nil && sameQuantity(string(b), s)
}

// sameQuantity: the API server writes quantities in its own way, 1000m as 1.
func sameQuantity(a, b string) bool {
	x, err := resource.ParseQuantity(a)
	if err != nil {
		return false
	}
	y, err := resource.ParseQuantity(b)
	return err == nil && x.Cmp(y) == 0
}

// added says whether managers other than us own fields of the live object that are not rendered. Labels and
// annotations of others are welcome, except on pod templates, and so is anything below status.
func added(want, live *unstructured.Unstructured) bool {
	for _, m := range managedFields(live) {
		if m["manager"] == fieldManager || m["subresource"] != nil {
			continue
		}
		fields, _ := normal(m["fieldsV1"]).(map[string]any) // a copy: the cache's own is not ours to change
		delete(fields, "f:metadata")
		delete(fields, "f:status")
		for _, path := range elsewhere(want) {
			unstructured.RemoveNestedField(fields, path...)
		}
		if foreign(fields, want.Object) {
			return true
		}
	}
	return false
}

// managedFields of an object as they are. They belong to it.
func managedFields(u *unstructured.Unstructured) []map[string]any {
	list, _, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "managedFields")
	items, _ := list.([]any)
	var out []map[string]any
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// elsewhere lists the fields that others may decide about: how many pods an autoscaled gateway has, and the secrets
// that some clusters hang on every service account.
func elsewhere(want *unstructured.Unstructured) [][]string {
	switch want.GetKind() {
	case "Deployment":
		if _, ours, _ := unstructured.NestedInt64(want.Object, "spec", "replicas"); !ours {
			return [][]string{{"f:spec", "f:replicas"}}
		}
	case "ServiceAccount":
		paths := [][]string{{"f:secrets"}}
		if want.Object["imagePullSecrets"] == nil {
			paths = append(paths, []string{"f:imagePullSecrets"})
		}
		return paths
	}
	return nil
}

// foreign says whether a set of owned fields (in the form of managedFields) has one that is not in the rendered node.
func foreign(fields map[string]any, node any) bool {
	for key, below := range fields {
		if key == "." || key == "f:"+restartedAt {
			continue
		}
		child, present := childOf(node, key)
		if !present {
			// An owner of a map or list alone, whose rendered form is absent because it is empty, owns nothing.
			return true
		}
		if b, ok := below.(map[string]any); ok && len(b) > 0 && foreign(b, child) {
			return true
		}
	}
	return false
}

func childOf(node any, key string) (any, bool) {
	if name, ok := strings.CutPrefix(key, "f:"); ok {
		m, _ := node.(map[string]any)
		v, present := m[name]
		return v, present
	}
	items, _ := node.([]any)
	if text, ok := strings.CutPrefix(key, "k:"); ok {
		var keys map[string]any
		if json.Unmarshal([]byte(text), &keys) != nil {
			return nil, false
		}
		i := slices.IndexFunc(items, func(item any) bool {
			for k, v := range keys {
				m, _ := item.(map[string]any)
				// A key that is not rendered has the API server's default: it cannot tell items apart.
				if got, ok := m[k]; ok && normal(got) != normal(v) {
					return false
				}
			}
			return true
		})
		if i < 0 {
			return nil, false
		}
		return items[i], true
	}
	if text, ok := strings.CutPrefix(key, "v:"); ok {
		var v any
		return nil, json.Unmarshal([]byte(text), &v) == nil && slices.ContainsFunc(items, func(item any) bool {
			return reflect.DeepEqual(normal(item), normal(v))
		})
	}
	return nil, false
}

// merged is the live object made as rendered: what others may decide is kept, everything else is replaced.
func merged(want, live *unstructured.Unstructured) *unstructured.Unstructured {
	out := want.DeepCopy()
	out.SetResourceVersion(live.GetResourceVersion())
	out.SetUID(live.GetUID())
	out.SetFinalizers(live.GetFinalizers())
	ours := ownedKeys(live)
	out.SetLabels(mergedKeys(want.GetLabels(), live.GetLabels(), ours["f:labels"]))
	out.SetAnnotations(mergedKeys(want.GetAnnotations(), live.GetAnnotations(), ours["f:annotations"]))
	if s, ok := live.Object["status"]; ok {
		out.Object["status"] = s
	}
	for _, path := range elsewhere(want) {
		keep := make([]string, len(path))
		for i, p := range path {
			keep[i] = strings.TrimPrefix(p, "f:")
		}
		if v, ok, _ := unstructured.NestedFieldCopy(live.Object, keep...); ok {
			// The path is one that render makes, so it cannot be of another type.
			_ = unstructured.SetNestedField(out.Object, v, keep...)
		}
	}
	at, ok, _ := unstructured.NestedString(live.Object, "spec", "template", "metadata", "annotations", restartedAt)
	if ok {
		// The path is one that render makes, so it cannot be of another type.
		_ = unstructured.SetNestedField(out.Object, at, "spec", "template", "metadata", "annotations", restartedAt)
	}
	return out
}

// ownedKeys are the labels and annotations that we wrote, in the form of managedFields.
func ownedKeys(live *unstructured.Unstructured) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, m := range managedFields(live) {
		if m["manager"] != fieldManager || m["subresource"] != nil {
			continue
		}
		for _, k := range []string{"f:labels", "f:annotations"} {
			keys, _, _ := unstructured.NestedFieldNoCopy(m, "fieldsV1", "f:metadata", k)
			if out[k] == nil {
				out[k] = map[string]any{}
			}
			own, _ := keys.(map[string]any)
			maps.Copy(out[k], own)
		}
	}
	return out
}

// mergedKeys is want and what others added; keys that we once wrote and no longer want are gone.
func mergedKeys(want, live map[string]string, ours map[string]any) map[string]string {
	out := maps.Clone(live)
	maps.DeleteFunc(out, func(k, _ string) bool { _, own := ours["f:"+k]; return own || k == wellknown.DrainingAnnotation })
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, want)
	return out
}

// normal gives equal numbers one form, int64 where they are whole, and copies everything.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = normal(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = normal(e)
		}
		return out
	case int:
		return int64(v)
	case int32:
		return int64(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	}
	return v
}

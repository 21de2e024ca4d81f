package installer

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// memory lets a writer read its own writes: a cache shows them a moment later, and deciding by what it still shows
// would write them again. It relies on writes being bound to the version that they replace.
type memory map[string]written

type written struct {
	object *unstructured.Unstructured
	older  map[string]bool // resource versions that it replaced
}

func memoryKey(u *unstructured.Unstructured) string {
	return u.GetKind() + "/" + u.GetNamespace() + "/" + u.GetName()
}

// put remembers that before was replaced by after.
func (m memory) put(before, after *unstructured.Unstructured) {
	if before.GetResourceVersion() == after.GetResourceVersion() {
		return // nothing was written
	}
	w := m[memoryKey(before)]
	if w.older == nil || !w.older[before.GetResourceVersion()] && w.object.GetResourceVersion() != before.GetResourceVersion() {
		w.older = map[string]bool{}
	}
	w.older[before.GetResourceVersion()] = true
	w.object = after
	m[memoryKey(before)] = w
}

// newest returns what is known to have replaced the cached object, or that itself.
func (m memory) newest(cached *unstructured.Unstructured) *unstructured.Unstructured {
	w, ok := m[memoryKey(cached)]
	if ok && w.older[cached.GetResourceVersion()] {
		return w.object
	}
	delete(m, memoryKey(cached))
	return cached
}

package edge

import (
	"cmp"
	"slices"

	"k8s.io/client-go/tools/cache"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// appPod is what counts of a ready pod that is no gateway.
type appPod struct {
	labels  map[string]string
	account string
	// mesh says that it has a sidecar, as Istio itself knows it.
	mesh bool
}

func newAppPod(p podTemplate) *appPod {
	return &appPod{
		labels: p.Metadata.Labels, account: cmp.Or(p.Spec.ServiceAccountName, "default"),
		mesh: p.Metadata.Labels["security.istio.io/tlsMode"] == "istio",
	}
}

func backingID(namespace, service string) string { return "backing/" + namespace + "/" + service }

// backings are the facts about the Services that select a pod.
func (o *observer) backings(pod *item) []string {
	var ids []string
	for i := range inNamespace(o.services, pod.Namespace) {
		if selects(i.fact.GetService().GetSelector(), pod.app.labels) {
			ids = append(ids, backingID(i.Namespace, i.Name))
		}
	}
	return ids
}

// backing of a Service; nil when no pod that is ready stands behind it.
func (o *observer) backing(namespace, name string) *isthmusv1.Fact {
	selector := factOf(o.services, namespace+"/"+name).GetService().GetSelector()
	b := &isthmusv1.Backing{Namespace: namespace, Name: name}
	for i := range inNamespace(o.pods, namespace) {
		switch {
		case i.app == nil || !selects(selector, i.app.labels):
		case i.app.mesh:
			b.Mesh = true
			b.ServiceAccounts = append(b.ServiceAccounts, i.app.account)
		default:
			b.Plain = true
		}
	}
	if !b.GetMesh() && !b.GetPlain() {
		return nil
	}
	slices.Sort(b.ServiceAccounts)
	b.ServiceAccounts = slices.Compact(b.ServiceAccounts)
	return &isthmusv1.Fact{Id: backingID(namespace, name), Fact: &isthmusv1.Fact_Backing{Backing: b}}
}

// inNamespace are the items of a namespace.
func inNamespace(inf cache.SharedIndexInformer, namespace string) func(func(*item) bool) {
	return func(yield func(*item) bool) {
		all, _ := inf.GetIndexer().ByIndex(cache.NamespaceIndex, namespace) // errors only without the index
		for _, obj := range all {
			if i, ok := obj.(*item); ok && !yield(i) {
				return
			}
		}
	}
}

// selects says whether a Service's selector matches labels; one without a selector selects nothing.
func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if w, ok := labels[k]; !ok || v != w {
			return false
		}
	}
	return len(selector) > 0
}

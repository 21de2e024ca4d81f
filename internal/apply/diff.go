package apply

import (
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// want is an object as wanted, reduced to what the comparison needs.
type want struct {
	*Object
	ref                 Ref
	labels, annotations map[string]string
	fields              map[string]fingerprint
	parting             []parting // how it is for a while: one form after the other
}

func newWant(o *Object) (*want, error) {
	ref, err := o.ID.Ref()
	if err != nil {
		return nil, err
	}
	u, err := decode(ref, o.JSON)
	if err != nil {
		return nil, err
	}
	return &want{Object: o, ref: ref, labels: withOurs(u.GetLabels()), annotations: u.GetAnnotations(), fields: fingerprints(u.Object)}, nil
}

func withOurs(labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[ManagedByLabel] = ManagedBy
	return out
}

// live is an object as it is in the cluster, reduced to what the comparison needs: of an object that somebody else
// made nothing but its name and identity is kept.
type live struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	fields map[string]fingerprint
}

// DeepCopyObject makes live a runtime.Object, so that an informer can hold it. Nobody changes a live.
func (l *live) DeepCopyObject() runtime.Object { c := *l; return &c }

func newLive(u *unstructured.Unstructured) *live {
	l := &live{ObjectMeta: metav1.ObjectMeta{
		Name: u.GetName(), Namespace: u.GetNamespace(), UID: u.GetUID(),
		ResourceVersion: u.GetResourceVersion(), DeletionTimestamp: u.GetDeletionTimestamp(),
	}}
	if u.GetLabels()[ManagedByLabel] != ManagedBy {
		return l
	}
	l.Labels, l.Annotations = u.GetLabels(), u.GetAnnotations()
	l.fields = fingerprints(u.Object)
	return l
}

func (l *live) ours() bool { return l.Labels[ManagedByLabel] == ManagedBy }

// ourPrefixes are those of labels and annotations that are Isthmus' own on its objects, so that one which is not
// wanted is drift as well: a foreign istio.io/rev would hide the object from istiod.
func ourPrefixes() []string {
	return []string{"xcp.tetrate.io/", "tsb.tetrate.io/", "isthmus.dev/", "istio.io/rev"}
}

func isOurs(key string) bool {
	for _, p := range ourPrefixes() {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// differs says whether live is not what is wanted. Fields at the top level that are not wanted are left to others
// (the spec of a Namespace); within a wanted field everything counts, also what was added.
func (w *want) differs(l *live) bool {
	for k, f := range w.fields {
		if l.fields[k] != f {
			return true
		}
	}
	return mapDiffers(w.labels, l.Labels) || mapDiffers(w.annotations, l.Annotations)
}

func mapDiffers(want, have map[string]string) bool {
	for k, v := range want {
		if h, ok := have[k]; !ok || h != v {
			return true
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok && isOurs(k) {
			return true
		}
	}
	return false
}

// merge changes u, as read, into what is wanted. What others put beside it stays: finalizers, owners, their labels.
func (w *want) merge(u *unstructured.Unstructured) error {
	wanted, err := decode(w.ref, w.JSON)
	if err != nil {
		return err
	}
	for k := range w.fields {
		u.Object[k] = wanted.Object[k]
	}
	u.SetLabels(mergeMap(w.labels, u.GetLabels()))
	u.SetAnnotations(mergeMap(w.annotations, u.GetAnnotations()))
	u.SetManagedFields(nil)
	return nil
}

func mergeMap(want, have map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range have {
		if !isOurs(k) {
			out[k] = v
		}
	}
	maps.Copy(out, want)
	if len(out) == 0 {
		return nil
	}
	return out
}

// fresh is the object to create.
func (w *want) fresh() (*unstructured.Unstructured, error) {
	u, err := decode(w.ref, w.JSON)
	if err != nil {
		return nil, err
	}
	u.SetLabels(w.labels)
	return u, nil
}

// namespaceState is what matters of an object's namespace.
type namespaceState int

const (
	namespaceOpen namespaceState = iota
	namespaceMissing
	namespaceTerminating
)

// verdict is what has to happen to one object.
type verdict int

const (
	asWanted verdict = iota
	toCreate
	toUpdate
	isForeign
	isWaiting
)

// judge decides about one wanted object. mine are identities of objects that this process saw to be its own, so that
// taking our label away is drift and not a change of owner.
func judge(w *want, l *live, ns namespaceState, mine map[types.UID]bool) (verdict, string) {
	switch {
	case ns == namespaceMissing:
		return isWaiting, "namespace " + w.ref.Namespace + " does not exist"
	case ns == namespaceTerminating:
		return isWaiting, "namespace " + w.ref.Namespace + " is terminating"
	case l == nil:
		return toCreate, ""
	case !l.ours() && !mine[l.UID]:
		return isForeign, "an object with this name exists that somebody else made"
	case l.DeletionTimestamp != nil:
		return isWaiting, "the object is being deleted"
	case w.differs(l):
		return toUpdate, ""
	}
	return asWanted, ""
}

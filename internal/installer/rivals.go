package installer

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// rival returns the resource of another kind that came first to a name, nil when this one did. Resources of one name
// in one namespace ask for the same objects; whose they are already, or else the older one, has them.
func (in *Installer) rival(k kind, u *unstructured.Unstructured) *unstructured.Unstructured {
	for i, w := range in.kinds {
		if w.name == k.name {
			continue
		}
		obj, err := w.lister.ByNamespace(u.GetNamespace()).Get(u.GetName())
		if err != nil {
			continue // a lister knows only one error: not there
		}
		other := obj.(*unstructured.Unstructured)
		if owner := in.ownerUID(u.GetNamespace(), u.GetName()); owner == u.GetUID() || owner != other.GetUID() && in.first(k, u, i, other) {
			continue
		}
		return other
	}
	return nil
}

// first says whether a resource is older than the other one, of the i-th kind. Times are whole seconds: among equals
// the order of the kinds decides.
func (in *Installer) first(k kind, u *unstructured.Unstructured, i int, other *unstructured.Unstructured) bool {
	mine, its := u.GetCreationTimestamp(), other.GetCreationTimestamp()
	if mine.Equal(&its) {
		return slices.IndexFunc(in.kinds, func(w *watched) bool { return w.name == k.name }) < i
	}
	return mine.Before(&its)
}

// ownerUID is the identity of the resource that the objects of a name belong to, empty when there are none.
func (in *Installer) ownerUID(namespace, name string) types.UID {
	for _, o := range []struct {
		gvr  schema.GroupVersionResource
		name string
	}{{serviceAccounts, accountName(name)}, {services, name}, {deployments, name}} {
		obj, err := in.objects[o.gvr].ByNamespace(namespace).Get(o.name)
		if err != nil {
			continue // a lister knows only one error: not there
		}
		if owner := metav1.GetControllerOfNoCopy(obj.(*unstructured.Unstructured)); owner != nil {
			return owner.UID
		}
	}
	return ""
}

func taken(other *unstructured.Unstructured) *problem {
	return &problem{"NameTaken", fmt.Sprintf("%s was here first, and the objects of a gateway of this name are its; nothing is installed for this resource. Give one of them another name, or delete it.", nameOfObject(other))}
}

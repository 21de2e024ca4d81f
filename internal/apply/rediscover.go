package apply

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ownerAnnotation is on every object that was made from somebody's resource.
const ownerAnnotation = "tsb.tetrate.io/fqn"

// rediscover adds to an inventory what an edge whose inventory was lost has made: of the kinds of the bundle, the
// objects with our label that say which resource they were made from. Without it they would stay for ever.
func (e *Engine) rediscover(ctx context.Context, next *Bundle, inventory map[ID]uint32) error {
	waves := map[schema.GroupVersionKind]uint32{}
	for id, o := range next.Objects {
		if ref, err := id.Ref(); err == nil && ref.GroupVersionKind != namespaceKind() {
			waves[ref.GroupVersionKind] = max(waves[ref.GroupVersionKind], o.Wave)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*e.cfg.Timeout, errSilent)
	defer cancel()
	for gvk, wave := range waves {
		res, err := e.cfg.Resources.Resource(ctx, gvk)
		if errors.Is(err, ErrNoKind) {
			continue // then there are no objects of it either
		}
		if err != nil {
			return err
		}
		list, err := e.cfg.Dynamic.Resource(res.GroupVersionResource).List(ctx, metav1.ListOptions{LabelSelector: ManagedByLabel + "=" + ManagedBy})
		if err != nil {
			return err
		}
		for i := range list.Items {
			u := &list.Items[i]
			if u.GetAnnotations()[ownerAnnotation] != "" {
				inventory[Ref{gvk, u.GetNamespace(), u.GetName()}.ID()] = wave
			}
		}
	}
	return nil
}

package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// lease makes one edge at a time act, by a Lease that the acting one renews. (client-go's own election would link every
// typed client there is.)
type lease struct {
	client    dynamic.ResourceInterface
	name      string
	namespace string
	identity  string
	manager   string
	life      time.Duration // without a renewal, for so long, it is free
	log       *slog.Logger

	seen   string    // resource version of what another holds
	seenAt time.Time // when it was first seen, by our own clock
}

var errLeaseLost = errors.New("the lease is lost")

func leaseClient(d dynamic.Interface, namespace string) dynamic.ResourceInterface {
	return d.Resource(schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}).Namespace(namespace)
}

// hold waits for the lease, runs f while it is held, and gives it back.
func (l *lease) hold(ctx context.Context, f func(context.Context) error) error {
	for {
		ok, err := l.try(ctx)
		if err != nil {
			l.log.WarnContext(ctx, "lease not taken", "error", err)
		}
		if ok {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.life / 6):
		}
	}
	l.log.InfoContext(ctx, "this edge acts", "identity", l.identity)
	fctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(l.renew(fctx))
	}()
	err := f(fctx)
	lost := errors.Is(context.Cause(fctx), errLeaseLost)
	cancel(nil)
	<-done
	if lost {
		return errLeaseLost
	}
	l.release(context.WithoutCancel(ctx))
	return err
}

// renew until ctx ends or the lease cannot be renewed in time.
func (l *lease) renew(ctx context.Context) error {
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.life / 3):
		}
		start := time.Now()
		ok, err := l.try(ctx)
		switch {
		case ok:
			last = start
		case err == nil:
			return errLeaseLost
		case time.Since(last) > l.life*2/3:
			return fmt.Errorf("%w: %w", errLeaseLost, err)
		default:
			l.log.WarnContext(ctx, "lease not renewed", "error", err)
		}
	}
}

// try takes or renews the lease, and says whether it is held now.
func (l *lease) try(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, l.life/4)
	defer cancel()
	u, err := l.client.Get(ctx, l.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		u = &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
			"metadata": map[string]any{"name": l.name, "namespace": l.namespace},
		}}
		l.write(u, l.identity)
		_, err = l.client.Create(ctx, u, metav1.CreateOptions{FieldManager: l.manager})
		return err == nil, err
	}
	if err != nil {
		return false, err
	}
	holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
	if holder != l.identity && holder != "" && !l.expired(u) {
		return false, nil
	}
	l.write(u, l.identity)
	_, err = l.client.Update(ctx, u, metav1.UpdateOptions{FieldManager: l.manager})
	if apierrors.IsConflict(err) && holder != l.identity {
		return false, nil // somebody else was quicker
	}
	return err == nil, err
}

// expired says whether another's lease has stood unchanged for its whole life, by our own clock.
func (l *lease) expired(u *unstructured.Unstructured) bool {
	if v := u.GetResourceVersion(); v != l.seen {
		l.seen, l.seenAt = v, time.Now()
	}
	return time.Since(l.seenAt) > l.life
}

func (l *lease) write(u *unstructured.Unstructured, holder string) {
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00")
	spec := map[string]any{"holderIdentity": holder, "leaseDurationSeconds": int64(l.life.Seconds()), "renewTime": now}
	was, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
	acquired, ok, _ := unstructured.NestedString(u.Object, "spec", "acquireTime")
	if !ok || was != holder {
		acquired = now
	}
	spec["acquireTime"] = acquired
	u.Object["spec"] = spec
	u.SetManagedFields(nil)
}

// release lets the next edge act at once.
func (l *lease) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	u, err := l.client.Get(ctx, l.name, metav1.GetOptions{})
	if err != nil {
		return // it will expire
	}
	if holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity"); holder != l.identity {
		return
	}
	l.write(u, "")
	if _, err := l.client.Update(ctx, u, metav1.UpdateOptions{FieldManager: l.manager}); err != nil {
		l.log.WarnContext(ctx, "lease not released", "error", err)
	}
}

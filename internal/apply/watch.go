package apply

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
)

// Scope narrows what an informer sees. The zero value is everything.
type Scope struct {
	Namespace string
	Labels    string // selector
	Fields    string // selector
	// Resync is how often everything is told again as if it had changed; 0 means never.
	Resync time.Duration
}

// NewInformer watches one resource. transform turns each object into what is kept of it; it gets what came from the
// API server, and never its own results.
//
// The factories of client-go would do, but they link every typed client there is.
func NewInformer(client dynamic.Interface, gvr schema.GroupVersionResource, scope Scope, transform func(*unstructured.Unstructured) any) cache.SharedIndexInformer {
	tweak := func(o *metav1.ListOptions) { o.LabelSelector, o.FieldSelector = scope.Labels, scope.Fields }
	res := client.Resource(gvr).Namespace(scope.Namespace)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			tweak(&o)
			return res.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			tweak(&o)
			return res.Watch(ctx, o)
		},
	}
	inf := cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, client), &unstructured.Unstructured{}, scope.Resync, cache.Indexers{})
	_ = inf.SetTransform(func(obj any) (any, error) { // errors only after the start
		if u, ok := obj.(*unstructured.Unstructured); ok {
			return transform(u), nil
		}
		return obj, nil
	})
	return inf
}

// kindWatch is the watch on one kind.
type kindWatch struct {
	Resource
	informer cache.SharedIndexInformer
	stop     context.CancelFunc

	mu  sync.Mutex
	err error // why it cannot read, until it can
}

// problem says why the cache of a kind cannot be relied on yet; nil when it can.
func (k *kindWatch) problem() error {
	if k.informer.HasSynced() {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	return errNotRead
}

// gone says whether the API server has forgotten the kind.
func (k *kindWatch) gone() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return apierrors.IsNotFound(k.err)
}

func (k *kindWatch) get(ref Ref) *live {
	obj, _, _ := k.informer.GetStore().GetByKey(ref.key())
	l, _ := obj.(*live)
	return l
}

// watches are those on all kinds of a bundle, and on namespaces.
type watches struct {
	engine *Engine
	wg     sync.WaitGroup

	absent map[schema.GroupVersionKind]absence // of the pass alone

	mu    sync.Mutex
	kinds map[schema.GroupVersionKind]*kindWatch
}

// absence is that a kind could not be found, believed for a little while.
type absence struct {
	err   error
	until time.Time
}

func namespaceKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
}

func (w *watches) of(gvk schema.GroupVersionKind) *kindWatch {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kinds[gvk]
}

// need starts the watch on a kind if there is none, and returns ErrNoKind when the API server does not know it.
func (w *watches) need(ctx context.Context, gvk schema.GroupVersionKind) error {
	if k := w.of(gvk); k != nil {
		if !k.gone() {
			return nil
		}
		k.stop()
		w.mu.Lock()
		delete(w.kinds, gvk)
		w.mu.Unlock()
		w.engine.cfg.Resources.Forget(gvk)
	}
	if a, ok := w.absent[gvk]; ok && time.Now().Before(a.until) {
		return a.err
	}
	res, err := w.engine.cfg.Resources.Resource(ctx, gvk)
	if err != nil {
		w.absent[gvk] = absence{err, time.Now().Add(5 * w.engine.cfg.Retry)}
		return err
	}
	k := &kindWatch{Resource: res}
	ctx, k.stop = context.WithCancel(ctx)
	k.informer = NewInformer(w.engine.cfg.Dynamic, res.GroupVersionResource, Scope{}, func(u *unstructured.Unstructured) any { return newLive(u) })
	if err := k.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		k.mu.Lock()
		k.err = fmt.Errorf("watch %s: %w", res.GroupResource(), err)
		k.mu.Unlock()
		w.engine.poke()
	}); err != nil {
		return err
	}
	if err := w.listen(k, gvk); err != nil {
		return err
	}
	w.mu.Lock()
	w.kinds[gvk] = k
	w.mu.Unlock()
	w.wg.Go(func() { k.informer.RunWithContext(ctx) })
	w.wg.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), k.informer.HasSynced) {
			w.engine.poke()
		}
	})
	return nil
}

// listen tells the engine about each change.
func (w *watches) listen(k *kindWatch, gvk schema.GroupVersionKind) error {
	_, err := k.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { w.engine.seen(gvk, obj, false) },
		UpdateFunc: func(_, obj any) { w.engine.seen(gvk, obj, false) },
		DeleteFunc: func(obj any) { w.engine.seen(gvk, obj, true) },
	})
	return err
}

// keep stops the watches on kinds that are no longer needed.
func (w *watches) keep(need map[schema.GroupVersionKind]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for gvk, k := range w.kinds {
		if !need[gvk] {
			k.stop()
			delete(w.kinds, gvk)
		}
	}
}

// settle waits until each watch has read its kind or failed to, at most d.
func (w *watches) settle(ctx context.Context, d time.Duration) {
	w.mu.Lock()
	var open []*kindWatch
	for _, k := range w.kinds {
		open = append(open, k)
	}
	w.mu.Unlock()
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for _, k := range open {
		for k.problem() == errNotRead {
			select {
			case <-ctx.Done():
				return
			case <-deadline.C:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
}

// written is what this process itself last did to an object, until its watch has caught up.
type written struct {
	live    *live // nil: deleted
	deleted *live // what was deleted
	at      time.Time
}

// newer says whether resource version a is b or came after it.
func newer(a, b string) bool {
	x, errA := strconv.ParseUint(a, 10, 64)
	y, errB := strconv.ParseUint(b, 10, 64)
	return errA != nil || errB != nil || x >= y
}

// lookup is the newest that is known of an object: its watch, or what we wrote since.
func (e *Engine) lookup(k *kindWatch, ref Ref) *live {
	c := k.get(ref)
	e.mu.Lock()
	defer e.mu.Unlock()
	o, ok := e.written[ref.ID()]
	if !ok {
		return c
	}
	switch {
	case time.Since(o.at) > e.cfg.Believe: // it may have come and gone between two lists
	case o.live == nil && (c == nil || c.UID != o.deleted.UID || c.DeletionTimestamp != nil):
	case o.live == nil:
		return nil
	case c == nil || !newer(c.ResourceVersion, o.live.ResourceVersion):
		return o.live
	}
	delete(e.written, ref.ID())
	return c
}

// seen is called by watches.
func (e *Engine) seen(gvk schema.GroupVersionKind, obj any, deleted bool) {
	if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = last.Obj
	}
	l, ok := obj.(*live)
	if !ok {
		e.poke()
		return
	}
	id := Ref{gvk, l.Namespace, l.Name}.ID()
	e.mu.Lock()
	if o, ok := e.written[id]; deleted && ok && (o.live == nil || o.live.UID == l.UID) {
		delete(e.written, id) // an identity ends once
	}
	if deleted {
		delete(e.mine, l.UID)
	}
	_, wanted := e.wants[id]
	_, inventoried := e.inventory[id]
	e.mu.Unlock()
	if wanted || inventoried || gvk == namespaceKind() {
		e.poke()
	}
}

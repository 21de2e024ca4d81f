package installer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"isthmus.dev/isthmus/api/install/v1alpha1"
	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/wellknown"
)

// Config says what an Installer needs.
type Config struct {
	// Client talks to the cluster as the edge's user. Required.
	Client dynamic.Interface

	// Cluster is the full name that the server has for the cluster; empty is not known.
	Cluster string
	// Log of what changed; nil discards.
	Log *slog.Logger
	// Hold is how long a gateway goes on after its resource was deleted; 0 means 10s, negative means not at all.
	Hold time.Duration
	// Resync repairs what no event told of; 0 means 10m.
	Resync time.Duration
}

// Installer keeps the gateways of one cluster as their install resources say.
type Installer struct {
	client dynamic.Interface
	log    *slog.Logger
	hold   time.Duration
	site   site

	kinds     []*watched
	objects   map[schema.GroupVersionResource]cache.GenericLister // what was made for them
	informers []cache.SharedIndexInformer
	synced    []cache.InformerSynced
	queue     workqueue.TypedRateLimitingInterface[key]

	// settled remembers, per object, the digest of a rendered form that the API server keeps in another way than it
	// was written, so that it is not written again and again. Only the worker touches it.
	settled map[types.UID]string
	// written is what the cache may not show yet. Only the worker touches it.
	written memory
}

// key names an install resource.
type key struct{ kind, namespace, name string }

func (k key) String() string { return k.kind + " " + k.namespace + "/" + k.name }

// New checks the configuration. It starts nothing.
func New(c Config) (*Installer, error) {
	if c.Client == nil {
		return nil, errors.New("installer: no client")
	}
	in := &Installer{
		client:  c.Client,
		log:     cmp.Or(c.Log, slog.New(slog.DiscardHandler)),
		hold:    max(0, cmp.Or(c.Hold, 10*time.Second)),
		site:    site{cluster: c.Cluster},
		objects: map[schema.GroupVersionResource]cache.GenericLister{},
		settled: map[types.UID]string{},
		written: memory{},
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[key](200*time.Millisecond, time.Minute)),
	}
	return in, in.watch(cmp.Or(c.Resync, 10*time.Minute))
}

// watched is a kind of install resource and what is seen of it.
type watched struct {
	kind
	lister cache.GenericLister
	synced cache.InformerSynced
	// missing: the API server does not have the kind, or does not show it to us.
	missing atomic.Bool
}

// watch prepares the informers: install resources of every namespace, and what carries our label.
func (in *Installer) watch(resync time.Duration) error {
	all := apply.Scope{Resync: resync}
	ours := apply.Scope{Resync: resync, Labels: wellknown.GatewayLabel + "," + labelManagedBy + "=" + managedBy}
	for _, k := range kinds() {
		i := apply.NewInformer(in.client, k.gvr(), all, whole)
		w := &watched{kind: k, lister: cache.NewGenericLister(i.GetIndexer(), k.gvr().GroupResource())}
		in.kinds = append(in.kinds, w)
		var err error
		// A resource that comes or goes decides about those of its name too.
		w.synced, err = in.listen(i, func(ctx context.Context, err error) { in.lost(ctx, w, err) }, func(u *unstructured.Unstructured) (keys []key) {
			for _, k := range kinds() {
				keys = append(keys, key{k.name, u.GetNamespace(), u.GetName()})
			}
			return keys
		})
		if err != nil {
			return fmt.Errorf("watch %s: %w", k.resource, err)
		}
	}
	for _, gvr := range made() {
		i := apply.NewInformer(in.client, gvr, ours, whole)
		in.objects[gvr] = cache.NewGenericLister(i.GetIndexer(), gvr.GroupResource())
		synced, err := in.listen(i, func(ctx context.Context, err error) {
			in.log.DebugContext(ctx, "watch interrupted", "resource", gvr.Resource, "error", err)
		}, ownerOf)
		if err != nil {
			return fmt.Errorf("watch %s: %w", gvr.Resource, err)
		}
		in.synced = append(in.synced, synced)
	}
	return nil
}

// lost notes that a kind cannot be read. A cluster whose CRDs or permissions are older than the edge lacks some: the
// others are looked after nevertheless, and the kind as soon as it is there.
func (in *Installer) lost(ctx context.Context, w *watched, err error) {
	if (apierrors.IsNotFound(err) || apierrors.IsForbidden(err)) && !w.missing.Swap(true) {
		in.log.WarnContext(ctx, "gateways of a kind are not looked after until the cluster has the kind and lets us read it",
			"kind", w.name, "crd", w.resource+"."+v1alpha1.Group, "error", err)
		return
	}
	in.log.DebugContext(ctx, "watch interrupted", "resource", w.resource, "error", err)
}

// await says when a kind that was missing is there.
func (in *Installer) await(ctx context.Context, w *watched) {
	if cache.WaitForCacheSync(ctx.Done(), w.synced) && w.missing.Swap(false) {
		in.log.InfoContext(ctx, "gateways of a kind are looked after now", "kind", w.name)
	}
}

// whole keeps everything of an object: drift is told from its managedFields too.
func whole(u *unstructured.Unstructured) any { return u }

// listen wakes the worker for the resources that an object belongs to, whatever happened to the object.
func (in *Installer) listen(i cache.SharedIndexInformer, failed func(context.Context, error), keysOf func(*unstructured.Unstructured) []key) (cache.InformerSynced, error) {
	wake := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if u, ok := obj.(*unstructured.Unstructured); ok {
			for _, k := range keysOf(u) {
				in.queue.Add(k)
			}
		}
	}
	if err := i.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) { failed(ctx, err) }); err != nil {
		return nil, err
	}
	_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: wake, DeleteFunc: wake, UpdateFunc: func(_, obj any) { wake(obj) },
	})
	in.informers = append(in.informers, i)
	return i.HasSynced, err
}

func ownerOf(u *unstructured.Unstructured) []key {
	o := metav1.GetControllerOfNoCopy(u)
	if o == nil || o.APIVersion != v1alpha1.APIVersion {
		return nil
	}
	return []key{{o.Kind, u.GetNamespace(), o.Name}}
}

// Run keeps gateways as they should be until ctx ends. It does nothing before it has seen everything that there is.
func (in *Installer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer in.queue.ShutDown()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, i := range in.informers {
		wg.Go(func() { i.RunWithContext(ctx) })
	}
	wg.Go(func() { <-ctx.Done(); in.queue.ShutDown() })
	defer cancel()
	seen := slices.Clone(in.synced)
	for _, w := range in.kinds {
		wg.Go(func() { in.await(ctx, w) })
		seen = append(seen, func() bool { return w.synced() || w.missing.Load() })
	}
	if !cache.WaitForCacheSync(ctx.Done(), seen...) {
		return ctx.Err()
	}
	for in.next(ctx) {
	}
	return ctx.Err()
}

// next handles one resource, and says whether to go on.
func (in *Installer) next(ctx context.Context) bool {
	k, stop := in.queue.Get()
	if stop {
		return false
	}
	defer in.queue.Done(k)
	after, err := in.reconcile(ctx, k)
	switch {
	case ctx.Err() != nil:
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
		// The cache was behind: it will have caught up by then.
		in.log.DebugContext(ctx, "somebody was faster", "gateway", k.String(), "error", err)
		in.queue.AddRateLimited(k)
	case err != nil:
		in.log.WarnContext(ctx, "reconcile failed; it is tried again", "gateway", k.String(), "error", err)
		in.queue.AddRateLimited(k)
	default:
		in.queue.Forget(k)
		if after > 0 {
			in.queue.AddAfter(k, after)
		}
	}
	return true
}

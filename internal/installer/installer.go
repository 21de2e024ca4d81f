package installer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
)

// Config says what an Installer needs.
type Config struct {
	// Client talks to the cluster as the edge's user. Required.
	Client dynamic.Interface

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

	kinds     []kind
	resources map[string]cache.GenericLister                      // install resources, by kind
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
		client:    c.Client,
		log:       cmp.Or(c.Log, slog.New(slog.DiscardHandler)),
		hold:      max(0, cmp.Or(c.Hold, 10*time.Second)),
		kinds:     kinds(),
		resources: map[string]cache.GenericLister{},
		objects:   map[schema.GroupVersionResource]cache.GenericLister{},
		settled:   map[types.UID]string{},
		written:   memory{},
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[key](200*time.Millisecond, time.Minute)),
	}
	return in, in.watch(cmp.Or(c.Resync, 10*time.Minute))
}

// watch prepares the informers: install resources of every namespace, and what carries our label.
func (in *Installer) watch(resync time.Duration) error {
	all := apply.Scope{Resync: resync}
	ours := apply.Scope{Resync: resync, Labels: labelGateway + "," + labelManagedBy + "=" + managedBy}
	for _, k := range in.kinds {
		i := apply.NewInformer(in.client, k.gvr(), all, whole)
		in.resources[k.name] = cache.NewGenericLister(i.GetIndexer(), k.gvr().GroupResource())
		if err := in.listen(i, func(u *unstructured.Unstructured) (key, bool) {
			return key{k.name, u.GetNamespace(), u.GetName()}, true
		}); err != nil {
			return fmt.Errorf("watch %s: %w", k.resource, err)
		}
	}
	for _, gvr := range made() {
		i := apply.NewInformer(in.client, gvr, ours, whole)
		in.objects[gvr] = cache.NewGenericLister(i.GetIndexer(), gvr.GroupResource())
		if err := in.listen(i, ownerOf); err != nil {
			return fmt.Errorf("watch %s: %w", gvr.Resource, err)
		}
	}
	return nil
}

// whole keeps everything of an object: drift is told from its managedFields too.
func whole(u *unstructured.Unstructured) any { return u }

// listen wakes the worker for the resource that an object belongs to, whatever happened to the object.
func (in *Installer) listen(i cache.SharedIndexInformer, keyOf func(*unstructured.Unstructured) (key, bool)) error {
	wake := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if u, ok := obj.(*unstructured.Unstructured); ok {
			if k, ok := keyOf(u); ok {
				in.queue.Add(k)
			}
		}
	}
	// A cluster without the CRD is one without gateways of ours, not one to complain about every few seconds.
	if err := i.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		in.log.DebugContext(ctx, "watch interrupted", "error", err)
	}); err != nil {
		return err
	}
	_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: wake, DeleteFunc: wake, UpdateFunc: func(_, obj any) { wake(obj) },
	})
	in.synced = append(in.synced, i.HasSynced)
	in.informers = append(in.informers, i)
	return err
}

func ownerOf(u *unstructured.Unstructured) (key, bool) {
	o := metav1.GetControllerOfNoCopy(u)
	if o == nil || o.APIVersion != v1alpha1.APIVersion {
		return key{}, false
	}
	return key{o.Kind, u.GetNamespace(), o.Name}, true
}

// Run keeps gateways as they should be until ctx ends. It does nothing before it has seen everything.
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
	if !cache.WaitForCacheSync(ctx.Done(), in.synced...) {
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

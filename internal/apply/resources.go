package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// ErrNoKind says that the API server does not know a kind.
var ErrNoKind = errors.New("kind does not exist")

// Resource is how the API server calls a kind in its paths.
type Resource struct {
	schema.GroupVersionResource
	Namespaced bool
}

// Resources answers how kinds are called. It asks the API server once per group and version, and again for a kind that
// was not there.
type Resources struct {
	client rest.Interface

	mu    sync.Mutex
	known map[schema.GroupVersionKind]Resource
}

// NewResources asks through client, which may be any REST client of the cluster.
func NewResources(client rest.Interface) *Resources {
	return &Resources{client: client, known: map[schema.GroupVersionKind]Resource{}}
}

// Resource returns how a kind is called, or ErrNoKind.
func (r *Resources) Resource(ctx context.Context, gvk schema.GroupVersionKind) (Resource, error) {
	r.mu.Lock()
	res, ok := r.known[gvk]
	r.mu.Unlock()
	if ok {
		return res, nil
	}
	path := "/apis/" + gvk.Group + "/" + gvk.Version
	if gvk.Group == "" {
		path = "/api/" + gvk.Version
	}
	text, err := r.client.Get().AbsPath(path).SetHeader("Accept", "application/json").DoRaw(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return Resource{}, fmt.Errorf("%s %s: %w", gvk.GroupVersion(), gvk.Kind, ErrNoKind)
	case err != nil:
		return Resource{}, fmt.Errorf("discover %s: %w", gvk.GroupVersion(), err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(text, &list); err != nil {
		return Resource{}, fmt.Errorf("discover %s: %w", gvk.GroupVersion(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range list.APIResources {
		if strings.Contains(a.Name, "/") {
			continue // a subresource
		}
		r.known[gvk.GroupVersion().WithKind(a.Kind)] = Resource{gvk.GroupVersion().WithResource(a.Name), a.Namespaced}
	}
	if res, ok = r.known[gvk]; !ok {
		return Resource{}, fmt.Errorf("%s %s: %w", gvk.GroupVersion(), gvk.Kind, ErrNoKind)
	}
	return res, nil
}

// Forget makes the next question about a kind go to the API server.
func (r *Resources) Forget(gvk schema.GroupVersionKind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, gvk)
}

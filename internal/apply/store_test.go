package apply_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/apply/applytest"
)

// full keeps a State as long as there is room.
type full struct{ full atomic.Bool }

func (f *full) Load(context.Context) (*apply.State, error) { return nil, nil }

func (f *full) Save(context.Context, *apply.State) error {
	if f.full.Load() {
		return errors.New("exceeded quota")
	}
	return nil
}

// TestKeepsTheLastBundleUpWhileTheNextCannotBeStored deletes an object of the last bundle while the next one is refused
// by its store.
func TestKeepsTheLastBundleUpWhileTheNextCannotBeStored(t *testing.T) {
	c := applytest.NewFake(t, "work")
	state := new(full)
	e := apply.New(apply.Config{
		Dynamic: c.Dynamic, Resources: c.Resources, State: state, Retry: 10 * time.Millisecond, Report: func(apply.Report) {},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = e.Run(ctx) }()
	defer func() { cancel(); <-done }()
	bundle := func(revision int64, value string) *apply.Bundle {
		o := applytest.ConfigMap("work", "x", 1, map[string]string{"k": value})
		return &apply.Bundle{At: apply.Generation{Epoch: "e", Revision: revision}, Objects: map[apply.ID]*apply.Object{o.ID: o}}
	}
	maps := c.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("work")
	has := func(value string) func() bool {
		return func() bool {
			u, err := maps.Get(ctx, "x", metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return false
			}
			if err != nil {
				t.Fatal(err)
			}
			data, _ := u.Object["data"].(map[string]any)
			return data["k"] == value
		}
	}
	e.Set(bundle(1, "old"))
	until(t, "the first bundle", has("old"))
	state.full.Store(true)
	e.Set(bundle(2, "new"))
	time.Sleep(50 * time.Millisecond)
	if err := maps.Delete(ctx, "x", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the object of the first bundle", has("old"))
	state.full.Store(false)
	until(t, "the second bundle", has("new"))
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10s", what)
		}
	}
}

// TestNoticesWhatNoWatchShowed: an object is made, and removed by somebody before its watch showed it.
func TestNoticesWhatNoWatchShowed(t *testing.T) {
	c := applytest.NewFake(t, "work")
	client, ok := c.Dynamic.(*fake.FakeDynamicClient)
	if !ok {
		t.Fatalf("the fake is a %T", c.Dynamic)
	}
	client.PrependWatchReactor("configmaps", func(clienttesting.Action) (bool, watch.Interface, error) {
		return true, watch.NewFake(), nil // says nothing
	})
	e := apply.New(apply.Config{
		Dynamic: c.Dynamic, Resources: c.Resources, State: new(full), Retry: 10 * time.Millisecond,
		Believe: 200 * time.Millisecond, Report: func(apply.Report) {},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = e.Run(ctx) }()
	defer func() { cancel(); <-done }()
	o := applytest.ConfigMap("work", "x", 1, map[string]string{"k": "v"})
	e.Set(&apply.Bundle{At: apply.Generation{Epoch: "e", Revision: 1}, Objects: map[apply.ID]*apply.Object{o.ID: o}})
	maps := c.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("work")
	there := func() bool { _, err := maps.Get(ctx, "x", metav1.GetOptions{}); return err == nil }
	until(t, "the object", there)
	if err := maps.Delete(ctx, "x", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the object again", there)
}

package apply_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/apply/applytest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

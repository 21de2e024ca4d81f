package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/pipeline"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// fake is a store in memory, and what hears of the pipeline's work.
type fake struct {
	mu       sync.Mutex
	snapshot *store.Snapshot
	commits  []store.Commit
	expired  int64
	moved    chan struct{}

	published  []string
	conditions map[resource.FQN]int
	compiled   int64
	busy       func() // called during Publish
}

func newFake() *fake {
	return &fake{snapshot: store.NewSnapshot(0, nil), moved: make(chan struct{}), conditions: map[resource.FQN]int{}}
}

func (f *fake) commit(changes map[store.Key]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rev := f.snapshot.Revision() + 1
	f.snapshot = f.snapshot.With(rev, changes)
	f.commits = append(f.commits, store.Commit{Revision: rev, Keys: slices.Collect(maps.Keys(changes))})
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *fake) Snapshot() *store.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshot
}

func (f *fake) Epoch() string { return "e" }

func (f *fake) Changed(ctx context.Context, after int64) ([]store.Commit, error) {
	for {
		f.mu.Lock()
		moved, expired := f.moved, after < f.expired
		i := slices.IndexFunc(f.commits, func(c store.Commit) bool { return c.Revision > after })
		var cs []store.Commit
		if i >= 0 {
			cs = slices.Clone(f.commits[i:])
		}
		f.mu.Unlock()
		if expired {
			return nil, fmt.Errorf("commits after %d: %w", after, store.ErrExpired)
		}
		if len(cs) > 0 {
			return cs, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (f *fake) Publish(epoch string, revision int64, changes []istio.Change) {
	line := fmt.Sprintf("%s@%d", epoch, revision)
	for _, ch := range changes {
		if ch.Gone {
			line += fmt.Sprintf(" %s gone", ch.Cluster)
			continue
		}
		line += fmt.Sprintf(" %s full=%t put=%d drop=%d", ch.Cluster, ch.Full, len(ch.Put), len(ch.Drop))
	}
	f.mu.Lock()
	f.published = append(f.published, line)
	busy := f.busy
	f.busy = nil
	f.mu.Unlock()
	if busy != nil {
		busy()
	}
}

func (f *fake) compiledTo(revision int64, conditions map[resource.FQN][]resource.Condition, _ []istio.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.compiled = revision
	for fqn, cs := range conditions {
		f.conditions[fqn] = len(cs)
	}
}

func cluster(name string) map[store.Key]any {
	fqn := resource.FQN("organizations/o").Child("clusters", name)
	r := resource.New(resource.ByID("api.tsb.tetrate.io/v2/Cluster"), fqn, &tsbv2.Cluster{})
	return map[store.Key]any{store.ResourceKey(fqn): r}
}

func gone(name string) map[store.Key]any {
	c := cluster(name)
	for k := range c {
		c[k] = nil
	}
	return c
}

// start runs a loop over f in the bubble until the test ends it.
func start(t *testing.T, f *fake) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	l := pipeline.New(pipeline.Config{Store: f, Publish: f, Compiled: f.compiledTo})
	go func() { done <- l.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want %v", err, context.Canceled)
		}
	}
}

func TestLoopFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.commit(cluster("a"))
		stop := start(t, f)
		f.commit(cluster("b"))
		synctest.Wait()
		f.commit(map[store.Key]any{"f/nobody/secret/x/y": nil}) // touches no bundle
		synctest.Wait()
		f.commit(gone("a"))
		synctest.Wait()
		stop()
		want := []string{
			"e@1 a full=true put=1 drop=0",
			"e@2 b full=true put=1 drop=0",
			"e@4 a gone",
		}
		if diff := cmp.Diff(want, f.published); diff != "" {
			t.Errorf("published (-want +got):\n%s", diff)
		}
		if f.compiled != 4 {
			t.Errorf("compiled up to %d, want 4: a status may wait for it", f.compiled)
		}
		if n := f.conditions["organizations/o/clusters/a"]; n != 0 {
			t.Errorf("%d conditions of a resource that is gone, want 0", n)
		}
	})
}

// TestLoopGathers commits while the loop is busy: what gathered is one run.
func TestLoopGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.busy = func() {
			for i := range 20 {
				f.commit(cluster(fmt.Sprintf("c%d", i)))
			}
		}
		stop := start(t, f)
		synctest.Wait()
		stop()
		if got, want := len(f.published), 2; got != want {
			t.Errorf("published %d times, want %d: once empty, once with all\n%v", got, want, f.published)
		}
	})
}

// TestLoopStartsOver loses track of the store: whoever is gone is named too.
func TestLoopStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.commit(cluster("a"))
		stop := start(t, f)
		synctest.Wait() // it has seen all, and waits for more
		f.mu.Lock()
		f.expired = 3
		f.snapshot = f.snapshot.With(2, gone("a"))
		f.mu.Unlock()
		f.commit(cluster("b"))
		synctest.Wait()
		stop()
		last := f.published[len(f.published)-1]
		if want := "e@3 b full=true put=1 drop=0 a gone"; last != want {
			t.Errorf("published %q, want %q", last, want)
		}
		if n := f.conditions["organizations/o/clusters/a"]; n != 0 {
			t.Errorf("%d conditions of a resource that is gone, want 0", n)
		}
	})
}

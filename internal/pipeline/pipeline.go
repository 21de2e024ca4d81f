// Package pipeline is the one loop of the server: what changed in the store is compiled, rendered and handed on.
//
// It is level-based. A burst of commits is one run, because the next run takes all that gathered during the last one;
// there is no timer. It decides nothing by itself.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"isthmus.dev/isthmus/internal/compile"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// source is what the loop needs of the store; *store.DB has it.
type source interface {
	Snapshot() *store.Snapshot
	Changed(ctx context.Context, after int64) ([]store.Commit, error)
	Epoch() string
}

// Publisher is what the bundles go to; *fleet.Fleet has it.
type Publisher interface {
	// Publish makes the changes what the clusters should run from revision on. The first one names every cluster, with
	// Full.
	Publish(epoch string, revision int64, changes []istio.Change)
}

// Config says what a Loop needs. Fields without a comment are required.
type Config struct {
	Store   source
	Publish Publisher
	// Compiled takes, for each revision that was compiled, the conditions that changed (nil for a resource that is gone)
	// and the changes of bundles, before they are published.
	Compiled func(revision int64, conditions map[resource.FQN][]resource.Condition, changes []istio.Change)

	Log *slog.Logger // nil discards
}

// Loop is the pipeline.
type Loop struct {
	cfg      Config
	compiler *compile.Compiler
	renderer *istio.Renderer
	// said are the resources that have conditions, and clusters those that have a bundle: after a fresh start those that
	// are no longer there have to be named.
	said     map[resource.FQN]bool
	clusters map[string]bool
}

// New makes a Loop. It starts nothing.
func New(cfg Config) *Loop {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Loop{cfg: cfg, said: map[resource.FQN]bool{}, clusters: map[string]bool{}}
}

// Run compiles the state, and then each change of it, until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	at := l.all()
	for {
		commits, err := l.cfg.Store.Changed(ctx, at)
		if errors.Is(err, store.ErrExpired) {
			l.cfg.Log.InfoContext(ctx, "compiling everything: the store went on too far", "after", at)
			at = l.all()
			continue
		}
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("follow the store after revision %d: %w", at, err)
		}
		if at, err = l.some(ctx, commits, at); errors.Is(err, store.ErrExpired) {
			at = l.all()
		}
	}
}

// all compiles a snapshot from nothing.
func (l *Loop) all() int64 {
	s := l.cfg.Store.Snapshot()
	l.compiler, l.renderer = compile.New(), istio.New()
	res := l.compiler.RunAll(s)
	for fqn := range l.said {
		if _, ok := res.Conditions[fqn]; !ok {
			res.Conditions[fqn] = nil
		}
	}
	changes := l.renderer.Apply(res.Delta)
	named := map[string]bool{}
	for _, ch := range changes {
		named[ch.Cluster] = true
	}
	for _, name := range slices.Sorted(maps.Keys(l.clusters)) {
		if !named[name] {
			changes = append(changes, istio.Change{Cluster: name, Gone: true})
		}
	}
	l.handOn(s.Revision(), res.Conditions, changes, true)
	return s.Revision()
}

// some compiles the newest snapshot with the keys of all commits up to it, and returns its revision.
func (l *Loop) some(ctx context.Context, commits []store.Commit, at int64) (int64, error) {
	s := l.cfg.Store.Snapshot()
	commits, err := l.upTo(ctx, commits, s.Revision())
	if err != nil {
		return at, err
	}
	var keys []store.Key
	for i := range commits {
		if commits[i].Revision <= s.Revision() {
			keys = append(keys, commits[i].Keys...)
		}
	}
	start := time.Now()
	res := l.compiler.Run(s, keys)
	changes := l.renderer.Apply(res.Delta)
	l.cfg.Log.DebugContext(ctx, "compiled", "revision", s.Revision(), "keys", len(keys), "clusters", len(changes), "took", time.Since(start))
	l.handOn(s.Revision(), res.Conditions, changes, len(changes) > 0)
	return s.Revision(), nil
}

// upTo adds the commits that came after the given ones, up to a revision at least. Changed waits when there is none, so it gets
// a context that has ended: whatever is there already comes first.
func (l *Loop) upTo(ctx context.Context, commits []store.Commit, revision int64) ([]store.Commit, error) {
	last := commits[len(commits)-1].Revision
	if last >= revision {
		return commits, nil
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	more, err := l.cfg.Store.Changed(ended, last)
	if errors.Is(err, store.ErrExpired) {
		return nil, err
	}
	return append(commits, more...), nil
}

func (l *Loop) handOn(revision int64, conditions map[resource.FQN][]resource.Condition, changes []istio.Change, publish bool) {
	for fqn, cs := range conditions {
		if cs == nil {
			delete(l.said, fqn)
			continue
		}
		l.said[fqn] = true
	}
	l.clusters = map[string]bool{}
	for _, name := range l.renderer.Clusters() {
		l.clusters[name] = true
	}
	l.cfg.Compiled(revision, conditions, changes)
	if publish {
		l.cfg.Publish.Publish(l.cfg.Store.Epoch(), revision, changes)
	}
}

// Package edge is the one agent of a cluster. It dials out to the server, says what it sees, brings the cluster to the
// bundle it is told, and answers per object. Without the server it keeps the cluster as it was last told.
package edge

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/wellknown"
)

// Manager is the field manager of everything that an edge writes.
const Manager = "isthmus-edge"

// resources is how kinds are found.
type resources interface {
	Resource(context.Context, schema.GroupVersionKind) (apply.Resource, error)
	Forget(schema.GroupVersionKind)
}

// Config says what an Edge needs. Fields without a comment are required.
type Config struct {
	// IstiodToken is a file with a token with which istiod is asked what gateways refuse; "": that is not seen.
	IstiodToken string
	// Without are rules of the order of changes that are left out, which is only good to see what they are for.
	Without map[wellknown.Order]bool

	Server  string // host:port
	Cluster string // full name
	Key     *Key
	CA      []byte // PEM; the server's certificate has to be signed by it

	Dynamic   dynamic.Interface
	Resources resources
	// Get reads a path of the API server.
	Get func(ctx context.Context, path string) ([]byte, error)

	Installer  func(context.Context) error // nil: no gateways are installed
	Namespace  string                      // of Istio and of the edge itself; "" means istio-system
	ServerName string                      // that the server's certificate has to be for; "" means the host of Server
	Version    string
	Identity   string        // in the Lease; "" means a random one
	Log        *slog.Logger  // nil discards
	Lease      time.Duration // life of the Lease; 0 means 15s
	Heartbeat  time.Duration // 0 means 5s; a server that is silent for three of them is gone
	Reconnect  time.Duration // first wait before another attempt, doubling to 16 times it; 0 means 300ms
}

// Edge is an agent that has not started.
type Edge struct {
	cfg      Config
	roots    *x509.CertPool
	session  string
	engine   *apply.Engine
	observer *observer

	connected atomic.Bool
	restored  atomic.Bool
	standby   atomic.Bool // another edge acts

	reported chan struct{}
	written  chan struct{}
	mu       sync.Mutex
	last     *apply.Report
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Edge, error) {
	if !strings.HasPrefix(cfg.Cluster, "organizations/") {
		return nil, fmt.Errorf("cluster %q is not a full name such as organizations/tetrate/clusters/east", cfg.Cluster)
	}
	e := &Edge{roots: x509.NewCertPool(), reported: make(chan struct{}, 1), written: make(chan struct{}, 1), session: rand.Text()}
	if !e.roots.AppendCertsFromPEM(cfg.CA) {
		return nil, errors.New("there is no certificate in the server's CA")
	}
	cfg.Namespace = cmp.Or(cfg.Namespace, "istio-system")
	cfg.Identity = cmp.Or(cfg.Identity, rand.Text())
	cfg.Lease = cmp.Or(cfg.Lease, 15*time.Second)
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 5*time.Second)
	cfg.Reconnect = cmp.Or(cfg.Reconnect, 300*time.Millisecond)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e.cfg = cfg
	e.standby.Store(true)
	order := apply.Config{
		Dynamic: cfg.Dynamic, Resources: cfg.Resources, Manager: Manager, Log: cfg.Log, Report: e.report, Unordered: cfg.Without[wellknown.Waves],
		State: &apply.Secrets{Client: cfg.Dynamic, Namespace: cfg.Namespace, Name: "isthmus-bundle", Manager: Manager},
	}
	if !cfg.Without[wellknown.Parting] {
		order.Keep, order.Routes = keeps(), routes
	}
	if !cfg.Without[wellknown.Lingering] {
		order.Lingers = lingers
	}
	if !cfg.Without[wellknown.Settling] {
		order.Leads = leads
	}
	e.engine = apply.New(order)
	e.observer = newObserver(cfg.Dynamic, cfg.Namespace, cfg.Version, cfg.Log)
	return e, nil
}

// Run waits until this is the edge that acts, and then acts until ctx ends. Losing the Lease is an error: the process
// has to start again, because another one acts now.
func (e *Edge) Run(ctx context.Context) error {
	l := &lease{
		client: leaseClient(e.cfg.Dynamic, e.cfg.Namespace), name: "isthmus-edge", namespace: e.cfg.Namespace,
		identity: e.cfg.Identity, manager: Manager, life: e.cfg.Lease, log: e.cfg.Log,
	}
	return l.hold(ctx, e.act)
}

// act is everything that only one edge at a time does.
func (e *Edge) act(ctx context.Context) error {
	e.standby.Store(false)
	defer e.standby.Store(true)
	if err := e.restore(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	run := func(what string, f func(context.Context) error) {
		wg.Go(func() {
			err := f(ctx)
			if ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, orEnded(err)))
			}
		})
	}
	run("apply", e.engine.Run)
	run("observe", func(ctx context.Context) error { e.observer.run(ctx); return nil })
	run("talk", e.talk)
	if e.cfg.IstiodToken != "" {
		istiod := &istiods{tokenFile: e.cfg.IstiodToken, namespace: e.cfg.Namespace, server: "istiod." + e.cfg.Namespace + ".svc", port: 15012, roots: e.observer.meshRoots, signed: e.observer.setSigner}
		extensions := func(namespace string) string { return extensionsIn(e.engine.Bundle(), namespace) }
		run("proxies", func(ctx context.Context) error {
			return e.observer.askProxies(ctx, istiod.ask, e.written, extensions, e.cfg.Log)
		})
	}
	e.observer.keeper.want(e.engine.Bundle())
	e.observer.route(e.engine.Bundle())
	if e.cfg.Installer != nil {
		run("sign-in", func(ctx context.Context) error { return e.observer.keeper.run(ctx, e.observer.wait) })
		run("installer", e.cfg.Installer)
	}
	<-ctx.Done()
	wg.Wait()
	return context.Cause(ctx)
}

// restore takes up what an edge before this one left in the cluster. Without it nothing is safe to do: the inventory
// would be forgotten.
func (e *Edge) restore(ctx context.Context) error {
	for {
		err := e.engine.Restore(ctx)
		if err == nil {
			e.restored.Store(true)
			return nil
		}
		e.cfg.Log.ErrorContext(ctx, "stored bundle not read", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(e.pause(4)):
		}
	}
}

// report is called by the engine.
func (e *Edge) report(r apply.Report) {
	e.mu.Lock()
	e.last = &r
	e.mu.Unlock()
	poke(e.reported)
	if r.Wrote > 0 {
		poke(e.written)
	}
}

func (e *Edge) lastReport() *apply.Report {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("ended by itself")
	}
	return err
}

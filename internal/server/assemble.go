package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"isthmus.dev/isthmus/internal/fleet"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/pipeline"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// parts are what a server is made of.
type parts struct {
	db     *store.DB
	server *Server
	fleet  *fleet.Fleet
	state  *state
	loop   *pipeline.Loop
}

// assemble puts the parts together. It starts nothing.
func assemble(db *store.DB, o Options) (*parts, error) {
	p := &parts{db: db}
	p.state = newState(db, func(cluster string) fleet.State { return p.fleet.State(cluster) }, o.Log)
	p.fleet = fleet.New(fleet.Config{
		Authenticate: func(ctx context.Context, h http.Header, opened time.Time) (resource.FQN, error) {
			return p.server.Edge(ctx, h, opened)
		},
		StartSession: db.StartSession,
		Observe:      observe(db),
		Changed:      func(string) { p.state.wake() },
		Without:      o.Without,
		Log:          o.Log,
	})
	p.loop = pipeline.New(pipeline.Config{Store: db, Publish: publisher{p}, Compiled: p.state.compiledTo, Log: o.Log})
	var err error
	p.server, err = New(Config{
		DB: db, Organization: o.Organization, Fleet: p.fleet.Handler, View: p.state.view, Plan: compiler{},
		Hosts: o.Hosts, CertFile: o.CertFile, KeyFile: o.KeyFile, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	p.addGauges()
	return p, writeCA(o.DataDir, p.server.CACertificate())
}

// publisher hands bundles to the fleet, and then tells the statuses.
type publisher struct{ p *parts }

// Publish implements pipeline.Publisher.
func (f publisher) Publish(epoch string, revision int64, changes []istio.Change) {
	f.p.fleet.Publish(epoch, revision, changes)
	f.p.state.published(revision, changes)
}

// observe stores what an edge reports.
func observe(db *store.DB) func(context.Context, fleet.Observation) error {
	return func(ctx context.Context, o fleet.Observation) error {
		err := db.Observe(ctx, store.Observation{Cluster: o.Cluster, Session: o.Session, Full: o.Full, Put: o.Put, Drop: o.Drop})
		if errors.Is(err, store.ErrFenced) {
			return fleet.ErrFenced
		}
		return err
	}
}

// run serves until ctx ends or a part fails. The loops end after the last request, and nobody outlives run.
func (p *parts) run(ctx context.Context, l, m net.Listener, o Options) error {
	serving, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	running := []func(context.Context) error{p.loop.Run, p.state.run}
	if o.MetricsListen != "" {
		running = append(running, func(ctx context.Context) error { return p.server.serveMetrics(ctx, m) })
	}
	var g errgroup.Group
	g.Go(func() error {
		defer stop()
		return p.server.Serve(serving, l, o.Grace, p.fleet.Shutdown)
	})
	for _, loop := range running {
		g.Go(func() error {
			err := ended(loops, loop(loops))
			if err != nil {
				fail(err)
			}
			return err
		})
	}
	return g.Wait()
}

// ended turns the end of a loop that was asked to end into success.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, store.ErrClosed)) {
		return nil
	}
	return err
}

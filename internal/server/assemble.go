package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"isthmus.dev/isthmus/internal/fleet"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// parts are what a server is made of.
type parts struct {
	db     *store.DB
	server *Server
	fleet  *fleet.Fleet
	state  *state
}

// assemble puts the parts together. It starts nothing.
func assemble(db *store.DB, o Options) (*parts, error) {
	p := &parts{db: db}
	p.state = newState(db, func(cluster string) fleet.State { return p.fleet.State(cluster) })
	p.fleet = fleet.New(fleet.Config{
		Authenticate: func(ctx context.Context, h http.Header, opened time.Time) (resource.FQN, error) {
			return p.server.Edge(ctx, h, opened)
		},
		StartSession: db.StartSession,
		Observe:      observe(db),
		Changed:      func(string) { p.state.wake() },
		Log:          o.Log,
	})
	var err error
	p.server, err = New(Config{
		DB: db, Organization: o.Organization, Fleet: p.fleet.Handler, View: p.state.view,
		Hosts: o.Hosts, CertFile: o.CertFile, KeyFile: o.KeyFile, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	return p, writeCA(o.DataDir, p.server.CACertificate())
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

// run serves until ctx ends or a part fails; nobody outlives it.
func (p *parts) run(ctx context.Context, l net.Listener, o Options) error {
	inner, stop := context.WithCancel(ctx)
	defer stop()
	g, inner := errgroup.WithContext(inner)
	g.Go(func() error {
		defer stop() // the loops end after the last request, not before
		return p.server.Serve(inner, l, o.Grace, p.fleet.Shutdown)
	})
	g.Go(func() error { return ended(inner, p.state.run(inner)) })
	return g.Wait()
}

// ended turns the end of a loop that was asked to end into success.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, store.ErrClosed)) {
		return nil
	}
	return err
}

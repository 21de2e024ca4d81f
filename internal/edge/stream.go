package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/api/isthmus/v1/isthmusv1connect"
)

const (
	protocol   = 1
	maxMessage = 4 << 20
)

type rawStream = connect.BidiStreamForClientSimple[isthmusv1.EdgeMessage, isthmusv1.ServerMessage]

// conversation is one stream with the server.
type conversation struct {
	edge   *Edge
	raw    *rawStream
	cancel context.CancelCauseFunc
	deltas deltas

	mu       sync.Mutex
	reporter reporter
	silent   *time.Timer // ends the conversation when nothing is heard

}

var (
	errSilent = errors.New("the server is silent")
	errStuck  = errors.New("the server does not read")
)

// goaway is the server's wish that the edge comes back later.
type goaway struct {
	reason string
	after  time.Duration
}

func (g *goaway) Error() string { return "the server asked to come back later: " + g.reason }

// talk keeps a conversation with the server up until ctx ends.
func (e *Edge) talk(ctx context.Context) error {
	failures := 0
	for {
		start := time.Now()
		err := e.converse(ctx)
		e.connected.Store(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(start) > time.Minute {
			failures = 0
		}
		wait := e.pause(failures)
		failures++
		if g, ok := errors.AsType[*goaway](err); ok {
			failures = 0
			wait = jitter(max(g.after, e.cfg.Reconnect))
		}
		e.cfg.Log.InfoContext(ctx, "not connected", "error", err, "again", wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// pause before the next attempt, so that many edges do not come at once.
func (e *Edge) pause(failures int) time.Duration {
	return jitter(min(e.cfg.Reconnect<<min(failures, 6), 16*e.cfg.Reconnect))
}

func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

// transport is new for each conversation: a connection that was cut off somewhere must not be found again in a pool.
func (e *Edge) transport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		TLSHandshakeTimeout: 3 * time.Second,
		ForceAttemptHTTP2:   true,
		TLSClientConfig:     &tls.Config{RootCAs: e.roots, ServerName: e.cfg.ServerName, MinVersion: tls.VersionTLS12},
		HTTP2:               &http.HTTP2Config{SendPingTimeout: e.cfg.Heartbeat, PingTimeout: e.cfg.Heartbeat / 2},
	}
}

// converse says hello, and then listens and speaks until either side ends it.
func (e *Edge) converse(ctx context.Context) error {
	token, err := e.cfg.Key.token(e.cfg.Cluster, time.Now())
	if err != nil {
		return err
	}
	if err := e.observer.askVersion(ctx, e.cfg.Get); err != nil {
		e.cfg.Log.WarnContext(ctx, "version unknown", "error", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tr := e.transport()
	defer tr.CloseIdleConnections()
	cctx, call := connect.NewClientContext(ctx)
	call.RequestHeader().Set("Authorization", "Bearer "+token)
	client := isthmusv1connect.NewFleetClient(&http.Client{Transport: tr}, "https://"+e.cfg.Server,
		connect.WithGRPC(), connect.WithReadMaxBytes(maxMessage), connect.WithCompressMinBytes(8<<10))
	raw, err := client.Connect(cctx)
	if err != nil {
		return fmt.Errorf("connect to %q: %w", e.cfg.Server, err)
	}
	// The end of a context alone does not end a stream that is idle in both directions.
	stop := context.AfterFunc(ctx, func() { _ = raw.CloseRequest() })
	defer stop()
	c := &conversation{edge: e, raw: raw, cancel: cancel}
	c.silent = time.AfterFunc(3*e.cfg.Heartbeat, func() { cancel(errSilent) })
	defer c.silent.Stop()
	have := e.engine.Bundle()
	c.deltas.have = have
	if err := c.send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Hello{Hello: hello(e.cfg.Version, e.session, have)}}); err != nil {
		if _, reason := raw.Receive(); reason != nil { // a failed send does not say why
			err = reason
		}
		return c.why(ctx, fmt.Errorf("connect to %q: %w", e.cfg.Server, err))
	}
	var wg sync.WaitGroup
	wg.Go(func() { cancel(c.speak(ctx)) })
	err = c.listen()
	cancel(err)
	wg.Wait()
	_ = raw.CloseResponse()
	return c.why(ctx, err)
}

// why prefers the reason for which this side gave up to what the transport makes of it.
func (c *conversation) why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// send one message. One that is not read for long ends the conversation: it would block for ever.
func (c *conversation) send(m *isthmusv1.EdgeMessage) error {
	stuck := time.AfterFunc(c.edge.cfg.Heartbeat, func() { c.cancel(errStuck) })
	defer stuck.Stop()
	return c.raw.Send(m)
}

// listen until the stream ends.
func (c *conversation) listen() error {
	e := c.edge
	for {
		m, err := c.raw.Receive()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		c.silent.Reset(3 * e.cfg.Heartbeat)
		if !e.connected.Swap(true) {
			e.cfg.Log.Info("connected", "server", e.cfg.Server)
		}
		switch {
		case m.GetDelta() != nil:
			b, err := c.deltas.add(m.GetDelta())
			if err != nil {
				return fmt.Errorf("refuse delta: %w", err)
			}
			if b != nil {
				e.engine.Set(b)
				e.observer.keeper.want(b)
				e.observer.route(b)
			}
		case m.GetObservedAck() != nil:
			c.mu.Lock()
			c.reporter.acknowledged(m.GetObservedAck().GetSeq())
			c.mu.Unlock()
			poke(e.observer.wake) // what changed meanwhile may go now
		case m.GetGoaway() != nil:
			g := m.GetGoaway()
			return &goaway{reason: g.GetReason(), after: time.Duration(g.GetReconnectAfterMs()) * time.Millisecond}
		}
	}
}

// speak until the conversation ends.
func (c *conversation) speak(ctx context.Context) error {
	e := c.edge
	heartbeat := time.NewTicker(e.cfg.Heartbeat)
	defer heartbeat.Stop()
	poke(e.reported) // what is known already
	seen := make(chan error, 1)
	go func() { seen <- e.observer.wait(ctx) }() // ends with ctx at the latest
	var changes <-chan struct{}                  // nil until the full report is out
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err = <-seen:
			if err == nil {
				changes = e.observer.wake
				err = c.observed(true)
			}
		case <-changes:
			err = c.observed(false)
		case <-e.reported:
			err = c.applied()
		case <-heartbeat.C:
			err = c.send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Heartbeat{Heartbeat: &isthmusv1.Heartbeat{}}})
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
}

// observed reports facts, unless a report is under way: its acknowledgement comes back here.
func (c *conversation) observed(full bool) error {
	c.mu.Lock()
	var parts []*isthmusv1.Observed
	switch {
	case full:
		parts = c.reporter.full(c.edge.observer.all())
	case !c.reporter.underWay:
		parts = c.reporter.changes(c.edge.observer.take())
	}
	c.mu.Unlock()
	for _, p := range parts {
		if err := c.send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Observed{Observed: p}}); err != nil {
			return err
		}
	}
	return nil
}

// applied says how the cluster stands to the bundle.
func (c *conversation) applied() error {
	r := c.edge.lastReport()
	if r == nil {
		return nil
	}
	return c.send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Applied{Applied: answer(*r)}})
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

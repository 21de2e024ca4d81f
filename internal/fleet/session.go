package fleet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
)

type stream = connect.BidiStream[isthmusv1.EdgeMessage, isthmusv1.ServerMessage]

// session is one stream. One goroutine receives, which is the handler's, and one sends.
type session struct {
	fleet  *Fleet
	fqn    resource.FQN
	name   string // of the cluster
	id     string // of the edge's process
	at     *isthmusv1.Generation
	stream *stream
	rc     *http.ResponseController
	opened time.Time

	wakeup chan struct{}

	// Guarded by the Fleet's lock.
	acks  []uint64
	told  bool // the edge knows the generation
	cause error
}

var (
	errReplaced = errors.New("another stream of this cluster opened")
	errGoaway   = errors.New("the server shuts down")
)

func (s *session) poke() {
	select {
	case s.wakeup <- struct{}{}:
	default:
	}
}

// Connect serves one stream until either side ends it. It is called by connect.
func (f *Fleet) Connect(ctx context.Context, st *stream) error {
	rc, ok := ctx.Value(controllerKey{}).(*http.ResponseController)
	if !ok {
		return connect.NewError(connect.CodeInternal, errors.New("not served by Handler"))
	}
	s := &session{fleet: f, stream: st, rc: rc, opened: time.Now(), wakeup: make(chan struct{}, 1)}
	if err := s.authenticate(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	if f.closing != nil {
		f.mu.Unlock()
		return connect.NewError(connect.CodeUnavailable, errGoaway)
	}
	f.streams.Add(1)
	f.mu.Unlock()
	defer f.streams.Done()
	if err := s.hello(ctx); err != nil {
		return err
	}
	defer f.leave(s)

	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		s.end(s.sendLoop(ctx))
		_ = rc.SetReadDeadline(time.Now()) // the receiver has to stop as well
	})
	s.end(s.receiveLoop(ctx))
	cancel()
	wg.Wait() // a send that nobody reads ends at its deadline
	return s.result()
}

// end notes why the stream ends; the first reason stays.
func (s *session) end(err error) {
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	if s.cause == nil {
		s.cause = err
	}
}

func (s *session) result() error {
	s.fleet.mu.Lock()
	err := s.cause
	s.fleet.mu.Unlock()
	s.fleet.cfg.Log.Info("edge disconnected", "cluster", s.name, "session", s.id, "reason", fmt.Sprint(err))
	switch {
	case err == nil, errors.Is(err, errGoaway):
		return nil
	case errors.Is(err, errReplaced), errors.Is(err, ErrFenced):
		return connect.NewError(connect.CodeAborted, err)
	}
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, err)
}

func (s *session) authenticate(ctx context.Context) error {
	fqn, err := s.fleet.cfg.Authenticate(ctx, s.stream.RequestHeader(), s.opened)
	if err != nil {
		if _, ok := errors.AsType[*connect.Error](err); ok {
			return err
		}
		return connect.NewError(connect.CodeUnauthenticated, err)
	}
	if s.fqn != "" && s.fqn != fqn {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("the credentials are of another cluster now"))
	}
	if s.fqn == "" { // when the stream opens, before anybody else reads it
		s.fqn, s.name = fqn, fqn.Name()
	}
	return nil
}

// hello waits for the first message and makes this the stream of its cluster.
func (s *session) hello(ctx context.Context) error {
	f := s.fleet
	_ = s.rc.SetReadDeadline(time.Now().Add(3 * f.cfg.Heartbeat))
	m, err := s.stream.Receive()
	if err != nil {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("wait for hello: %w", err))
	}
	h := m.GetHello()
	switch {
	case h == nil || h.GetSession() == "" || len(h.GetSession()) > maxName || len(h.GetVersion()) > maxName:
		return connect.NewError(connect.CodeInvalidArgument, errors.New("the first message is not a hello with a session"))
	case h.GetProtocol() != Protocol:
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("this server speaks protocol %d, the edge %d", Protocol, h.GetProtocol()))
	}
	s.id, s.at = h.GetSession(), h.GetAt()
	if err := f.cfg.StartSession(ctx, s.name, s.id); err != nil {
		if errors.Is(err, ErrFenced) {
			return connect.NewError(connect.CodeAborted, err)
		}
		return connect.NewError(connect.CodeUnavailable, fmt.Errorf("start session: %w", err))
	}
	f.mu.Lock()
	c := f.cluster(s.name)
	if old := c.session; old != nil {
		if old.cause == nil {
			old.cause = errReplaced
		}
		_ = old.rc.SetReadDeadline(time.Now())
	}
	c.session, c.version, c.heard = s, h.GetVersion(), time.Now()
	c.hello(h.GetHave())
	f.mu.Unlock()
	f.cfg.Log.InfoContext(ctx, "edge connected", "cluster", s.name, "session", s.id, "version", h.GetVersion(), "objects", len(h.GetHave()))
	f.cfg.Changed(s.name)
	s.poke()
	return nil
}

// leave makes the cluster one without an edge, unless a newer stream has taken over.
func (f *Fleet) leave(s *session) {
	f.mu.Lock()
	c := f.clusters[s.name]
	if c.session == s {
		c.session = nil
		f.answered(s.name, math.MaxInt64)
	}
	f.mu.Unlock()
	f.cfg.Changed(s.name)
}

// receiveLoop takes in what the edge says until the stream ends.
func (s *session) receiveLoop(ctx context.Context) error {
	f := s.fleet
	var report reports
	for {
		_ = s.rc.SetReadDeadline(time.Now().Add(3 * f.cfg.Heartbeat))
		m, err := s.stream.Receive()
		if err != nil {
			if ctx.Err() == nil && connect.CodeOf(err) == connect.CodeDeadlineExceeded {
				return errors.New("the edge is silent")
			}
			return err
		}
		f.mu.Lock()
		c := f.clusters[s.name]
		if c.session != s {
			f.mu.Unlock()
			return errReplaced
		}
		c.heard = time.Now()
		if a := m.GetApplied(); a != nil {
			f.takeApplied(c, a)
		}
		f.mu.Unlock()
		switch {
		case m.GetApplied() != nil:
			f.cfg.Changed(s.name)
		case m.GetObserved() != nil:
			if err := s.observe(ctx, &report, m.GetObserved()); err != nil {
				return err
			}
		case m.GetHello() != nil:
			return connect.NewError(connect.CodeInvalidArgument, errors.New("a second hello"))
		}
	}
}

func (f *Fleet) takeApplied(c *cluster, a *isthmusv1.Applied) {
	if a.GetAt().GetEpoch() != f.epoch {
		return // about a bundle of another time
	}
	if since := c.applied(a); since != 0 {
		f.lateAnswered(c.name, since, a.GetAt().GetRevision())
	}
	f.answered(c.name, a.GetAt().GetRevision())
	f.settled(c)
}

func (s *session) observe(ctx context.Context, r *reports, o *isthmusv1.Observed) error {
	done, err := r.add(o)
	if err != nil {
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	if done == nil {
		return nil
	}
	done.Cluster, done.Session = s.name, s.id
	if err := s.fleet.cfg.Observe(ctx, *done); err != nil {
		return fmt.Errorf("store report: %w", err)
	}
	s.fleet.mu.Lock()
	c := s.fleet.clusters[s.name]
	c.reported = c.reported || done.Full
	s.acks = append(s.acks, o.GetSeq())
	s.fleet.mu.Unlock()
	s.poke()
	s.fleet.cfg.Changed(s.name)
	return nil
}

// sendLoop sends until the stream ends.
func (s *session) sendLoop(ctx context.Context) error {
	heartbeat := time.NewTicker(s.fleet.cfg.Heartbeat)
	defer heartbeat.Stop()
	recheck := time.NewTicker(s.fleet.cfg.Recheck)
	defer recheck.Stop()
	for {
		select {
		case <-s.wakeup:
			goaway, err := s.sendNews()
			if err != nil {
				return err
			}
			if goaway {
				return errGoaway
			}
		case <-heartbeat.C:
			if err := s.send(&isthmusv1.ServerMessage{Message: &isthmusv1.ServerMessage_Heartbeat{Heartbeat: &isthmusv1.Heartbeat{}}}); err != nil {
				return err
			}
		case <-recheck.C:
			if err := s.authenticate(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send one message, within the deadline: a stream that is not read would block for ever, whatever the context says.
func (s *session) send(m *isthmusv1.ServerMessage) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(s.fleet.cfg.Write)); err != nil {
		return err
	}
	if err := s.stream.Send(m); err != nil {
		return fmt.Errorf("send to %q: %w", s.name, err)
	}
	return s.rc.SetWriteDeadline(time.Time{}) // it would end the stream, sending or not
}

// sendNews sends acknowledgements and what the bundle has become.
func (s *session) sendNews() (goaway bool, err error) {
	f := s.fleet
	f.mu.Lock()
	acks, closing := s.acks, f.closing
	s.acks = nil
	deltas := s.deltas()
	f.mu.Unlock()
	for _, seq := range acks {
		if err := s.send(&isthmusv1.ServerMessage{Message: &isthmusv1.ServerMessage_ObservedAck{ObservedAck: &isthmusv1.ObservedAck{Seq: seq}}}); err != nil {
			return false, err
		}
	}
	for _, d := range deltas {
		if err := s.send(&isthmusv1.ServerMessage{Message: &isthmusv1.ServerMessage_Delta{Delta: d}}); err != nil {
			return false, err
		}
	}
	if len(deltas) > 0 {
		f.cfg.Changed(s.name)
	}
	if closing != nil {
		return true, s.send(&isthmusv1.ServerMessage{Message: &isthmusv1.ServerMessage_Goaway{Goaway: closing}})
	}
	return false, nil
}

// deltas takes what the edge has to be told out of the mailbox, in parts. The Fleet's lock is held.
func (s *session) deltas() []*isthmusv1.Delta {
	f, c := s.fleet, s.fleet.clusters[s.name]
	switch {
	case c.session != s || f.revision == 0 || !c.known:
		return nil
	case s.at.GetEpoch() == f.epoch && s.at.GetRevision() > f.revision:
		return nil // the edge knows of more than we do yet
	case s.told && len(c.pending) == 0:
		f.settled(c)
		return nil
	}
	d := c.take(f.revision)
	if d.empty() && s.told {
		f.settled(c)
		return nil
	}
	s.told = true
	to := &isthmusv1.Generation{Epoch: f.epoch, Revision: f.revision}
	parts := split(d)
	for i, p := range parts {
		p.From, p.To, p.Part = s.at, to, uint32(i)
	}
	last := parts[len(parts)-1]
	last.Last, last.Total, last.Sum = true, uint32(d.total), d.sum
	s.at = to
	return parts
}

// split cuts a difference into parts of at most partBytes, at least one.
func split(d *difference) []*isthmusv1.Delta {
	part := new(isthmusv1.Delta)
	parts := []*isthmusv1.Delta{part}
	size := 0
	room := func(n int) {
		if size > 0 && size+n > partBytes {
			part, size = new(isthmusv1.Delta), 0
			parts = append(parts, part)
		}
		size += n
	}
	for _, o := range d.put {
		room(len(o.JSON) + len(o.ID) + len(o.Digest) + 32)
		part.Put = append(part.Put, wire(o))
	}
	for _, id := range d.drop {
		room(len(id) + 8)
		part.Drop = append(part.Drop, id)
	}
	return parts
}

func wire(o *istio.Object) *isthmusv1.Object {
	return &isthmusv1.Object{Id: o.ID, Digest: o.Digest, Wave: o.Wave, Json: o.JSON}
}

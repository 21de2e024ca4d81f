// Package fleettest has edges without clusters, to try a fleet with.
package fleettest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/api/isthmus/v1/isthmusv1connect"
)

// Edge takes whatever it is told, and answers at once unless it is told not to. What it has outlives its streams.
type Edge struct {
	Name    string
	Client  *http.Client
	URL     string
	Session string
	// Silent makes it take deltas without answering.
	Silent bool
	// KeepsFrom is said in answers.
	KeepsFrom int64
	// NotOK is what it answers about objects.
	NotOK []*isthmusv1.ObjectOutcome

	mu      sync.Mutex
	changed chan struct{}
	have    map[string]string
	at      *isthmusv1.Generation
	deltas  []*isthmusv1.Delta
	acks    []uint64
	goaway  *isthmusv1.Goaway
	pending []*isthmusv1.Delta
}

// Stream is one connection of an Edge.
type Stream struct {
	edge *Edge
	raw  *connect.BidiStreamForClientSimple[isthmusv1.EdgeMessage, isthmusv1.ServerMessage]
	stop context.CancelFunc
	done chan struct{}
	err  error
	send sync.Mutex
}

// Dial says hello and no more.
func (e *Edge) Dial(ctx context.Context) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	ctx, call := connect.NewClientContext(ctx)
	call.RequestHeader().Set("Authorization", "Bearer "+e.Name)
	raw, err := isthmusv1connect.NewFleetClient(e.Client, e.URL, connect.WithGRPC()).Connect(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &Stream{edge: e, raw: raw, stop: cancel, done: make(chan struct{})}
	e.mu.Lock()
	h := &isthmusv1.Hello{Protocol: 1, Version: "test", Session: e.Session, At: e.at}
	for _, id := range slices.Sorted(maps.Keys(e.have)) {
		h.Have = append(h.Have, &isthmusv1.ObjectDigest{Id: id, Digest: e.have[id]})
	}
	e.mu.Unlock()
	if err := s.Send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Hello{Hello: h}}); err != nil && !errors.Is(err, io.EOF) { // why it ended is what Receive says
		cancel()
		return nil, err
	}
	return s, nil
}

// Connect dials and takes part until the test ends or Close.
func (e *Edge) Connect(t testing.TB) *Stream {
	t.Helper()
	s, err := e.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go s.receive()
	t.Cleanup(s.Close)
	return s
}

// Send a message.
func (s *Stream) Send(m *isthmusv1.EdgeMessage) error {
	s.send.Lock()
	defer s.send.Unlock()
	return s.raw.Send(m)
}

// Close ends the stream without a word, as a lost connection would.
func (s *Stream) Close() {
	s.stop()
	_ = s.raw.CloseRequest() // a context alone does not end a stream that is idle in both directions
	select {
	case <-s.done:
	case <-time.After(5 * time.Second):
	}
}

// Wait until the server ends the stream, and say how.
func (s *Stream) Wait(t testing.TB) error {
	t.Helper()
	select {
	case <-s.done:
		return s.err
	case <-time.After(10 * time.Second):
		t.Fatal("the stream is still open after 10s")
		return nil
	}
}

func (s *Stream) receive() {
	defer close(s.done)
	for {
		m, err := s.raw.Receive()
		if err != nil {
			s.err = err
			return
		}
		if answer := s.edge.take(m); answer != nil {
			if err := s.Send(answer); err != nil {
				s.err = err
				return
			}
		}
	}
}

func (e *Edge) take(m *isthmusv1.ServerMessage) *isthmusv1.EdgeMessage {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer e.tell()
	switch {
	case m.GetGoaway() != nil:
		e.goaway = m.GetGoaway()
	case m.GetObservedAck() != nil:
		e.acks = append(e.acks, m.GetObservedAck().GetSeq())
	case m.GetDelta() != nil:
		d := m.GetDelta()
		if d.GetPart() == 0 {
			e.pending = nil
		}
		e.pending = append(e.pending, d)
		if !d.GetLast() {
			return nil
		}
		e.apply(d)
		if !e.Silent {
			return e.applied()
		}
	}
	return nil
}

func (e *Edge) apply(last *isthmusv1.Delta) {
	if e.have == nil {
		e.have = map[string]string{}
	}
	for _, d := range e.pending {
		for _, o := range d.GetPut() {
			e.have[o.GetId()] = o.GetDigest()
		}
		for _, id := range d.GetDrop() {
			delete(e.have, id)
		}
	}
	if sum := Sum(e.have); sum != last.GetSum() || int(last.GetTotal()) != len(e.have) {
		panic(fmt.Sprintf("edge %s: after the delta it has %d objects with sum %s, told %d with sum %s", e.Name, len(e.have), sum, last.GetTotal(), last.GetSum()))
	}
	e.deltas = append(e.deltas, e.pending...)
	e.pending, e.at = nil, last.GetTo()
}

func (e *Edge) applied() *isthmusv1.EdgeMessage {
	a := &isthmusv1.Applied{At: e.at, OkCount: uint32(len(e.have) - len(e.NotOK)), NotOk: e.NotOK, KeepsFrom: e.KeepsFrom}
	return &isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Applied{Applied: a}}
}

// Answer says now what a silent edge has not said.
func (s *Stream) Answer(t testing.TB) {
	t.Helper()
	s.edge.mu.Lock()
	m := s.edge.applied()
	s.edge.mu.Unlock()
	if err := s.Send(m); err != nil {
		t.Fatal(err)
	}
}

// Sum of what an edge has, as a delta states it.
func Sum(have map[string]string) string {
	h := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(have)) {
		fmt.Fprintf(h, "%s %s\n", id, have[id])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (e *Edge) tell() {
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// Seen is what an edge was told so far.
type Seen struct {
	Have   map[string]string
	At     *isthmusv1.Generation
	Deltas []*isthmusv1.Delta
	Acks   []uint64
	Goaway *isthmusv1.Goaway
}

// Until waits until ok accepts what the edge was told.
func (e *Edge) Until(t testing.TB, what string, ok func(Seen) bool) Seen {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		e.mu.Lock()
		s := Seen{Have: maps.Clone(e.have), At: e.at, Deltas: slices.Clone(e.deltas), Acks: slices.Clone(e.acks), Goaway: e.goaway}
		if ok(s) {
			e.mu.Unlock()
			return s
		}
		if e.changed == nil {
			e.changed = make(chan struct{})
		}
		changed := e.changed
		e.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("edge %s: %s: not within 10s; at %v with %d objects after %d deltas", e.Name, what, s.At, len(s.Have), len(s.Deltas))
		}
	}
}

// At waits for a revision.
func (e *Edge) At(t testing.TB, revision int64) Seen {
	t.Helper()
	return e.Until(t, fmt.Sprintf("revision %d", revision), func(s Seen) bool { return s.At.GetRevision() >= revision })
}

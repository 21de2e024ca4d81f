package fleet_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/fleet"
	"isthmus.dev/isthmus/internal/fleet/fleettest"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
)

// server is a fleet behind a real HTTP/2 server.
type server struct {
	*fleet.Fleet
	*httptest.Server
	revoked atomic.Bool
	mu      sync.Mutex
	reports []fleet.Observation
	observe func(fleet.Observation) error
}

func serve(t testing.TB, change func(*fleet.Config)) *server {
	t.Helper()
	s := &server{}
	cfg := fleet.Config{
		Authenticate: func(_ context.Context, h http.Header, _ time.Time) (resource.FQN, error) {
			name, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
			if !ok || name == "" || s.revoked.Load() {
				return "", errors.New("no such key")
			}
			return resource.FQN("organizations/tetrate/clusters/" + name), nil
		},
		StartSession: func(context.Context, string, string) error { return nil },
		Observe: func(_ context.Context, o fleet.Observation) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reports = append(s.reports, o)
			if s.observe != nil {
				return s.observe(o)
			}
			return nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	s.Fleet = fleet.New(cfg)
	mux := http.NewServeMux()
	mux.Handle(s.Handler())
	s.Server = httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.CloseClientConnections)
	return s
}

func (s *server) edge(name string) *fleettest.Edge {
	// Each edge has connections of its own, as in life.
	tr := s.Client().Transport.(*http.Transport).Clone()
	return &fleettest.Edge{Name: name, Client: &http.Client{Transport: tr}, URL: s.URL, Session: "session of " + name}
}

func object(name string, wave uint32, text string) *istio.Object {
	sum := sha256.Sum256([]byte(text))
	return &istio.Object{ID: "g/v1/K/ns/" + name, Wave: wave, JSON: []byte(text), Digest: hex.EncodeToString(sum[:])}
}

func full(cluster string, objects ...*istio.Object) istio.Change {
	return istio.Change{Cluster: cluster, Full: true, Put: objects}
}

func digests(objects ...*istio.Object) map[string]string {
	m := map[string]string{}
	for _, o := range objects {
		m[o.ID] = o.Digest
	}
	return m
}

func same(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestOnlyChangesAreSent(t *testing.T) {
	s := serve(t, nil)
	a, b, b2 := object("a", 1, "1"), object("b", 1, "1"), object("b", 1, "2")
	s.Publish("e", 1, []istio.Change{full("one", a, b), full("two", a)})
	one, two := s.edge("one"), s.edge("two")
	one.Connect(t)
	two.Connect(t)
	same(t, "one", digests(a, b), one.At(t, 1).Have)
	two.At(t, 1)

	s.Publish("e", 2, []istio.Change{{Cluster: "one", Put: []*istio.Object{b2}}})
	seen := one.At(t, 2)
	same(t, "one", digests(a, b2), seen.Have)
	if last := seen.Deltas[len(seen.Deltas)-1]; len(last.GetPut()) != 1 || len(last.GetDrop()) != 0 {
		t.Errorf("the delta puts %d and drops %d, want the one object that changed", len(last.GetPut()), len(last.GetDrop()))
	}
	s.Publish("e", 3, []istio.Change{{Cluster: "two", Drop: []string{a.ID}}})
	same(t, "two", map[string]string{}, two.At(t, 3).Have)
	if at := one.At(t, 2).At.GetRevision(); at != 2 {
		t.Errorf("one is at %d: it was woken by a change that is not its own", at)
	}
}

func TestReconnectGetsWhatItMissed(t *testing.T) {
	s := serve(t, nil)
	a, b := object("a", 1, "1"), object("b", 1, "1")
	s.Publish("e", 1, []istio.Change{full("one", a, b)})
	one := s.edge("one")
	stream := one.Connect(t)
	one.At(t, 1)
	stream.Close()
	c := object("c", 1, "1")
	s.Publish("e", 2, []istio.Change{{Cluster: "one", Put: []*istio.Object{c}, Drop: []string{a.ID}}})
	one.Connect(t)
	seen := one.At(t, 2)
	same(t, "one", digests(b, c), seen.Have)
	if last := seen.Deltas[len(seen.Deltas)-1]; len(last.GetPut()) != 1 || len(last.GetDrop()) != 1 {
		t.Errorf("after a reconnect the delta puts %d and drops %d, want one each", len(last.GetPut()), len(last.GetDrop()))
	}
}

func TestNothingBeforePublish(t *testing.T) {
	s := serve(t, nil)
	a := object("a", 1, "1")
	s.Publish("e", 5, []istio.Change{full("one", a)})
	one := s.edge("one")
	stream := one.Connect(t)
	one.At(t, 5)
	stream.Close()

	// The server starts again, and has read only half of its log.
	s = serve(t, nil)
	one.Client, one.URL = s.edge("one").Client, s.URL
	one.Connect(t)
	time.Sleep(50 * time.Millisecond)
	s.Publish("e", 3, []istio.Change{full("one")})
	time.Sleep(50 * time.Millisecond)
	seen := one.At(t, 5)
	same(t, "one, before the server knows enough", digests(a), seen.Have)
	s.Publish("e", 6, []istio.Change{full("one", a)})
	one.At(t, 6)

	// A restore from backup starts a new epoch, and may go back.
	s.Publish("f", 2, []istio.Change{full("one")})
	seen = one.Until(t, "the new epoch", func(s fleettest.Seen) bool { return s.At.GetEpoch() == "f" })
	same(t, "one, in the new epoch", map[string]string{}, seen.Have)
}

func TestUnknownClusterIsToldNothing(t *testing.T) {
	s := serve(t, nil)
	s.Publish("e", 1, []istio.Change{full("one")})
	two := s.edge("two")
	two.Connect(t)
	time.Sleep(50 * time.Millisecond)
	if n := len(two.Until(t, "anything", func(fleettest.Seen) bool { return true }).Deltas); n != 0 {
		t.Errorf("a cluster without a bundle got %d deltas", n)
	}
	s.Publish("e", 2, []istio.Change{full("two", object("a", 1, "1"))})
	two.At(t, 2)
}

// A cluster whose resource is deleted keeps what it runs: nobody said that it should run nothing.
func TestClusterThatIsGoneIsToldNothing(t *testing.T) {
	s := serve(t, nil)
	a, b := object("a", 1, "1"), object("b", 1, "1")
	s.Publish("e", 1, []istio.Change{full("one", a), full("two", a)})
	one, two := s.edge("one"), s.edge("two")
	one.Connect(t)
	two.Connect(t)
	one.At(t, 1)
	two.At(t, 1)
	s.Publish("e", 2, []istio.Change{{Cluster: "one", Gone: true}, full("two")})
	two.At(t, 2)
	same(t, "one", digests(a), one.Until(t, "anything", func(fleettest.Seen) bool { return true }).Have)
	// The same name may come back.
	s.Publish("e", 3, []istio.Change{full("one", b)})
	same(t, "one, again", digests(b), one.At(t, 3).Have)
}

func TestLargeBundleComesInParts(t *testing.T) {
	s := serve(t, nil)
	var objects []*istio.Object
	for i := range 50 {
		objects = append(objects, object(fmt.Sprintf("o%02d", i), 1, strings.Repeat(fmt.Sprint(i%10), 100<<10)))
	}
	s.Publish("e", 1, []istio.Change{full("one", objects...)})
	one := s.edge("one")
	one.Connect(t)
	seen := one.At(t, 1)
	same(t, "one", digests(objects...), seen.Have)
	if n := len(seen.Deltas); n != len(objects) {
		t.Errorf("50 objects of 100 kB came in %d parts", n)
	}
}

func TestObservations(t *testing.T) {
	s := serve(t, nil)
	one := s.edge("one")
	stream := one.Connect(t)
	fact := func(id string) *isthmusv1.Fact {
		return &isthmusv1.Fact{Id: id, Fact: &isthmusv1.Fact_Namespace{Namespace: &isthmusv1.Namespace{Name: id}}}
	}
	say := func(o *isthmusv1.Observed) {
		t.Helper()
		if err := stream.Send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Observed{Observed: o}}); err != nil {
			t.Fatal(err)
		}
	}
	say(&isthmusv1.Observed{Seq: 1, Full: true, Put: []*isthmusv1.Fact{fact("namespace//a")}})
	if s.State("one").Reported {
		t.Error("half a report counts as one")
	}
	say(&isthmusv1.Observed{Seq: 1, Full: true, Part: 1, Last: true, Put: []*isthmusv1.Fact{fact("namespace//b")}})
	say(&isthmusv1.Observed{Seq: 2, Last: true, Drop: []string{"namespace//a"}})
	seen := one.Until(t, "two acknowledgements", func(s fleettest.Seen) bool { return len(s.Acks) == 2 })
	if diff := cmp.Diff([]uint64{1, 2}, seen.Acks); diff != "" {
		t.Errorf("acks (-want +got):\n%s", diff)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reports) != 2 || !s.reports[0].Full || len(s.reports[0].Put) != 2 || s.reports[1].Full || len(s.reports[1].Drop) != 1 {
		t.Errorf("reports = %+v", s.reports)
	}
	if got := s.reports[0]; got.Cluster != "one" || got.Session != "session of one" {
		t.Errorf("report of %q, session %q", got.Cluster, got.Session)
	}
	if !s.State("one").Reported {
		t.Error("a full report is stored, and State does not say so")
	}
}

func TestFencedSessionEnds(t *testing.T) {
	s := serve(t, nil)
	s.observe = func(fleet.Observation) error { return fleet.ErrFenced }
	one := s.edge("one")
	stream := one.Connect(t)
	o := &isthmusv1.Observed{Seq: 1, Full: true, Last: true}
	if err := stream.Send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Observed{Observed: o}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.Wait(t); connect.CodeOf(err) != connect.CodeAborted {
		t.Errorf("a fenced session ends with %v, want aborted", err)
	}
}

func TestState(t *testing.T) {
	s := serve(t, nil)
	a, b := object("a", 1, "1"), object("b", 1, "1")
	if diff := cmp.Diff(fleet.State{}, s.State("one")); diff != "" {
		t.Errorf("unknown cluster (-want +got):\n%s", diff)
	}
	s.Publish("e", 1, []istio.Change{full("one", a, b)})
	if st := s.State("one"); st.Connected || len(st.Unsent) != 2 {
		t.Errorf("before an edge: %+v", st)
	}
	one := s.edge("one")
	one.Silent = true
	one.NotOK = []*isthmusv1.ObjectOutcome{{Id: b.ID, Digest: b.Digest, Outcome: isthmusv1.ObjectOutcome_OUTCOME_FOREIGN, Reason: "theirs"}}
	stream := one.Connect(t)
	one.At(t, 1)
	if st := s.State("one"); !st.Connected || len(st.Unsent) != 0 || len(st.Unanswered) != 2 || st.Answered {
		t.Errorf("before the answer: %+v", st)
	}
	stream.Answer(t)
	until(t, "the answer", func() bool { return s.State("one").Answered })
	st := s.State("one")
	if len(st.Unanswered) != 0 || st.NotOK[b.ID].GetOutcome() != isthmusv1.ObjectOutcome_OUTCOME_FOREIGN || st.Version != "test" || st.LastSync.IsZero() {
		t.Errorf("after the answer: %+v", st)
	}
	stream.Close()
	until(t, "the loss", func() bool { return !s.State("one").Connected })
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10s", what)
		}
	}
}

func TestRemovalsOfAnOwnerAreHeldBack(t *testing.T) {
	for name, tc := range map[string]struct {
		end func(*testing.T, *fleettest.Edge, *fleettest.Stream)
	}{
		"UntilTheOtherAnswers": {func(t *testing.T, _ *fleettest.Edge, s *fleettest.Stream) { s.Answer(t) }},
		"UntilTheOtherIsGone":  {func(_ *testing.T, _ *fleettest.Edge, s *fleettest.Stream) { s.Close() }},
		"AtMostAWhile":         {func(*testing.T, *fleettest.Edge, *fleettest.Stream) { time.Sleep(400 * time.Millisecond) }},
		"AlsoOneThatKeepsSomethingElse": {func(t *testing.T, e *fleettest.Edge, s *fleettest.Stream) {
			e.KeepsFrom = 3
			s.Answer(t)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(c *fleet.Config) { c.Hold = 600 * time.Millisecond })
			gateway, entry, empty := object("gw", 3, "gw"), object("se", 1, "with endpoints"), object("se", 1, "without")
			s.Publish("e", 1, []istio.Change{full("owner", gateway, entry), full("caller", entry)})
			owner, caller := s.edge("owner"), s.edge("caller")
			owner.Connect(t)
			stream := caller.Connect(t)
			owner.At(t, 1)
			caller.At(t, 1)
			until(t, "answers", func() bool { return s.State("owner").Answered && s.State("caller").Answered })
			caller.Silent = true

			s.Publish("e", 2, []istio.Change{
				{Cluster: "owner", Put: []*istio.Object{empty}, Drop: []string{gateway.ID}},
				{Cluster: "caller", Put: []*istio.Object{empty}},
			})
			same(t, "owner, while held back", digests(gateway, empty), owner.At(t, 2).Have)
			caller.At(t, 2)
			time.Sleep(100 * time.Millisecond)
			same(t, "owner, still held back", digests(gateway, empty), owner.At(t, 2).Have)
			tc.end(t, caller, stream)
			owner.Until(t, "the removal", func(s fleettest.Seen) bool { return len(s.Have) == 1 })
		})
	}
}

func TestRemovalsOfTwoOwnersDoNotWaitForEachOther(t *testing.T) {
	s := serve(t, func(c *fleet.Config) { c.Hold = time.Hour })
	gateway, entry := object("gw", 3, "gw"), object("se", 1, "se")
	s.Publish("e", 1, []istio.Change{full("one", gateway, entry), full("two", gateway, entry)})
	one, two := s.edge("one"), s.edge("two")
	one.Connect(t)
	two.Connect(t)
	one.At(t, 1)
	two.At(t, 1)
	drop := []string{gateway.ID, entry.ID}
	s.Publish("e", 2, []istio.Change{{Cluster: "one", Drop: drop}, {Cluster: "two", Drop: drop}})
	for _, e := range []*fleettest.Edge{one, two} {
		e.Until(t, "everything gone", func(s fleettest.Seen) bool { return len(s.Have) == 0 })
	}
}

// A host moves from one owner to another: callers are sent to the new one when it is ready, and the old one lets go when they are.
func TestCallersMoveWhenTheirNewOwnerIsReady(t *testing.T) {
	s := serve(t, func(c *fleet.Config) { c.Hold, c.Settle = time.Hour, 20*time.Millisecond })
	gateway, old, moved := object("gw", 4, "gw"), object("se", 1, "old owner"), object("se", 1, "new owner")
	s.Publish("e", 1, []istio.Change{full("old", gateway, old), full("new", old), full("caller", old)})
	edges := map[string]*fleettest.Edge{}
	streams := map[string]*fleettest.Stream{}
	for _, name := range []string{"old", "new", "caller"} {
		edges[name] = s.edge(name)
		streams[name] = edges[name].Connect(t)
		edges[name].At(t, 1)
	}
	until(t, "answers", func() bool { return s.State("old").Answered && s.State("new").Answered && s.State("caller").Answered })
	edges["new"].Silent, edges["caller"].Silent = true, true

	moves := istio.Change{Put: []*istio.Object{moved}, Await: map[string][]string{moved.ID: {"new"}}}
	change := func(cluster string, put []*istio.Object, drop ...string) istio.Change {
		return istio.Change{Cluster: cluster, Put: append(put, moves.Put...), Drop: drop, Await: moves.Await}
	}
	s.Publish("e", 2, []istio.Change{change("old", nil, gateway.ID), change("new", []*istio.Object{gateway}), change("caller", nil)})
	edges["new"].At(t, 2)
	time.Sleep(100 * time.Millisecond)
	for name, want := range map[string]map[string]string{"old": digests(gateway, old), "new": digests(gateway, old), "caller": digests(old)} {
		edges[name].Until(t, name+" before the new owner is ready", func(s fleettest.Seen) bool { return cmp.Equal(s.Have, want) })
	}
	streams["new"].Answer(t)
	for name, want := range map[string]map[string]string{"old": digests(gateway, moved), "new": digests(gateway, moved), "caller": digests(moved)} {
		edges[name].Until(t, name+" when the new owner is ready", func(s fleettest.Seen) bool { return cmp.Equal(s.Have, want) })
	}
	time.Sleep(100 * time.Millisecond)
	edges["old"].Until(t, "the old owner still serves", func(s fleettest.Seen) bool { return s.Have[gateway.ID] != "" })
	streams["new"].Answer(t)
	edges["caller"].KeepsFrom = 2
	streams["caller"].Answer(t)
	time.Sleep(100 * time.Millisecond)
	edges["old"].Until(t, "the old owner serves who has not let go", func(s fleettest.Seen) bool { return s.Have[gateway.ID] != "" })
	edges["caller"].KeepsFrom = 0
	streams["caller"].Answer(t)
	edges["old"].Until(t, "the old owner lets go", func(s fleettest.Seen) bool { return s.Have[gateway.ID] == "" })
}

// Who leads to a host that waits waits with it.
func TestRoutesWaitForTheirHost(t *testing.T) {
	s := serve(t, func(c *fleet.Config) { c.Hold, c.Settle = time.Hour, 20*time.Millisecond })
	gateway, old, moved := object("gw", 4, "gw"), object("se", 1, "old owner"), object("se", 1, "new owner")
	route, weights, other := object("vs", 3, "all to the old one"), object("vs", 3, "half to the new one"), object("other", 3, "other")
	s.Publish("e", 1, []istio.Change{full("new"), full("front", old, route)})
	owner, front := s.edge("new"), s.edge("front")
	stream := owner.Connect(t)
	front.Connect(t)
	owner.At(t, 1)
	front.At(t, 1)
	until(t, "answers", func() bool { return s.State("new").Answered && s.State("front").Answered })
	owner.Silent = true
	s.Publish("e", 2, []istio.Change{
		{Cluster: "new", Put: []*istio.Object{gateway}},
		{Cluster: "front", Put: []*istio.Object{moved}, Await: map[string][]string{moved.ID: {"new"}}},
	})
	owner.At(t, 2)
	s.Publish("e", 3, []istio.Change{{Cluster: "front", Put: []*istio.Object{weights, other}, Needs: map[string][]string{weights.ID: {moved.ID}}}})
	front.Until(t, "what does not lead there", func(s fleettest.Seen) bool { return cmp.Equal(s.Have, digests(old, route, other)) })
	stream.Answer(t)
	front.Until(t, "the host and who leads to it", func(s fleettest.Seen) bool { return cmp.Equal(s.Have, digests(moved, weights, other)) })
}

// What nobody has to get ready for is not waited for.
func TestEndpointsOfAnIdleOwnerAreNotHeldBack(t *testing.T) {
	s := serve(t, func(c *fleet.Config) { c.Hold = time.Hour })
	old, moved := object("se", 1, "old"), object("se", 1, "new")
	s.Publish("e", 1, []istio.Change{full("owner", old), full("caller", old)})
	owner, caller := s.edge("owner"), s.edge("caller")
	owner.Connect(t)
	caller.Connect(t)
	owner.At(t, 1)
	caller.At(t, 1)
	until(t, "answers", func() bool {
		return s.State("owner").Answered && len(s.State("owner").Unanswered) == 0 && s.State("caller").Answered
	})
	s.Publish("e", 2, []istio.Change{{Cluster: "caller", Put: []*istio.Object{moved}, Await: map[string][]string{moved.ID: {"owner", "unknown"}}}})
	caller.Until(t, "the new form", func(s fleettest.Seen) bool { return cmp.Equal(s.Have, digests(moved)) })
}

func TestSlowReaderHarmsNobody(t *testing.T) {
	s := serve(t, func(c *fleet.Config) { c.Write = 3 * time.Second })
	slow, quick := s.edge("slow"), s.edge("quick")
	if _, err := slow.Dial(t.Context()); err != nil { // and never reads
		t.Fatal(err)
	}
	quick.Connect(t)
	until(t, "both", func() bool { return s.State("slow").Connected && s.State("quick").Connected })
	big := func(i int) *istio.Object { return object("o", 1, strings.Repeat(fmt.Sprint(i), 1<<20)) }
	for i := range 20 {
		s.Publish("e", int64(i+1), []istio.Change{full("slow", big(i), object("x", 1, noise(i))), full("quick", big(i))})
		start := time.Now()
		quick.At(t, int64(i+1))
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("quick waited %v", d)
		}
	}
	until(t, "the slow one to be dropped", func() bool { return !s.State("slow").Connected })
}

// noise is a megabyte and a half that gzip cannot make small, so that the windows of HTTP/2 fill up.
func noise(seed int) string {
	var b strings.Builder
	for i := 0; b.Len() < 3<<19; i++ {
		sum := sha256.Sum256([]byte(fmt.Sprint(seed, i)))
		b.WriteString(hex.EncodeToString(sum[:]))
	}
	return b.String()
}

func TestRevokedKeyEndsTheStream(t *testing.T) {
	s := serve(t, func(c *fleet.Config) { c.Recheck = 20 * time.Millisecond })
	stream := s.edge("one").Connect(t)
	until(t, "a connection", func() bool { return s.State("one").Connected })
	s.revoked.Store(true)
	if err := stream.Wait(t); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("the stream ends with %v, want unauthenticated", err)
	}
	again := s.edge("one").Connect(t)
	if err := again.Wait(t); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("a new stream ends with %v, want unauthenticated", err)
	}
}

func TestANewStreamReplacesTheOld(t *testing.T) {
	s := serve(t, nil)
	s.Publish("e", 1, []istio.Change{full("one", object("a", 1, "1"))})
	old := s.edge("one").Connect(t)
	until(t, "a connection", func() bool { return s.State("one").Connected })
	one := s.edge("one")
	one.Connect(t)
	one.At(t, 1)
	if err := old.Wait(t); connect.CodeOf(err) != connect.CodeAborted {
		t.Errorf("the old stream ends with %v, want aborted", err)
	}
	if !s.State("one").Connected {
		t.Error("the end of the old stream made the new one invisible")
	}
}

func TestSilentEdgeIsGone(t *testing.T) {
	s := serve(t, func(c *fleet.Config) { c.Heartbeat = 50 * time.Millisecond })
	stream := s.edge("one").Connect(t)
	if err := stream.Wait(t); err == nil {
		t.Error("no error")
	}
	until(t, "the loss", func() bool { return !s.State("one").Connected })
}

func TestShutdownSaysGoaway(t *testing.T) {
	s := serve(t, nil)
	one := s.edge("one")
	stream := one.Connect(t)
	until(t, "a connection", func() bool { return s.State("one").Connected })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.Until(t, "goaway", func(s fleettest.Seen) bool { return s.Goaway != nil })
	_ = stream.Wait(t)
	if err := s.edge("one").Connect(t).Wait(t); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("after shutdown a stream ends with %v, want unavailable", err)
	}
}

func TestWrongProtocolIsRefused(t *testing.T) {
	s := serve(t, nil)
	one := s.edge("one")
	one.Session = ""
	if err := one.Connect(t).Wait(t); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a hello without session ends with %v, want invalid argument", err)
	}
}

// BenchmarkFiftyEdges is from Publish until the last of fifty edges has answered a change to its bundle of 600 objects.
func BenchmarkFiftyEdges(b *testing.B) {
	s := serve(b, nil)
	var objects []*istio.Object
	for i := range 600 {
		objects = append(objects, object(fmt.Sprintf("o%03d", i), 1, strings.Repeat("x", 1500)+fmt.Sprint(i)))
	}
	var first []istio.Change
	var edges []*fleettest.Edge
	for i := range 50 {
		name := fmt.Sprintf("c%02d", i)
		first = append(first, full(name, objects...))
		edges = append(edges, s.edge(name))
	}
	s.Publish("e", 1, first)
	for _, e := range edges {
		e.Connect(b)
	}
	for _, e := range edges {
		e.At(b, 1)
	}
	var took []time.Duration
	sent := 0
	rev := int64(1)
	for b.Loop() {
		rev++
		o := object("o000", 1, strings.Repeat("y", 1500)+fmt.Sprint(rev))
		var changes []istio.Change
		for _, ch := range first {
			changes = append(changes, istio.Change{Cluster: ch.Cluster, Put: []*istio.Object{o}})
		}
		start := time.Now()
		s.Publish("e", rev, changes)
		for _, ch := range first {
			until(b, "answers", func() bool { st := s.State(ch.Cluster); return len(st.Unanswered)+len(st.Unsent) == 0 })
		}
		took = append(took, time.Since(start))
		sent += len(o.JSON) * len(edges)
	}
	if sent == 0 {
		b.Fatal("nothing was sent")
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(sent)/float64(len(took)), "bytes/change")
}

package fleet_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/fleet/fleettest"
	"isthmus.dev/isthmus/internal/istio"
)

// TestAnObjectThatIsTooLargeHarmsNobody: an edge takes 4 MiB at once, and would end each stream that has more.
func TestAnObjectThatIsTooLargeHarmsNobody(t *testing.T) {
	s := serve(t, nil)
	small, other := object("big", 1, "small"), object("other", 1, "other")
	big := object("big", 1, strings.Repeat("x", 5<<20))
	s.Publish("e", 1, []istio.Change{full("one", small)})
	one := s.edge("one")
	stream := one.Connect(t)
	one.At(t, 1)
	until(t, "answer", func() bool { return s.State("one").Answered })
	s.Publish("e", 2, []istio.Change{{Cluster: "one", Put: []*istio.Object{big, other}}})
	same(t, "the small form stays, the other object came", digests(small, other), one.At(t, 2).Have)
	for _, d := range one.At(t, 2).Deltas {
		for _, o := range d.GetPut() {
			if len(o.GetJson()) > 4<<20 {
				t.Errorf("%q was sent with %d bytes", o.GetId(), len(o.GetJson()))
			}
		}
	}
	if got := s.State("one").NotOK[big.ID]; got.GetOutcome() != isthmusv1.ObjectOutcome_OUTCOME_REJECTED || !strings.Contains(got.GetReason(), "limit") {
		t.Errorf("State().NotOK[big] = %v, want it rejected with the limit", got)
	}

	stream.Close() // the next server never sent the small form, and takes nothing away
	next := serve(t, nil)
	one.URL, one.Client = next.URL, next.edge("one").Client
	next.Publish("e", 3, []istio.Change{full("one", big, other)})
	one.Connect(t)
	same(t, "after a restart of the server", digests(small, other), one.At(t, 3).Have)
	next.Publish("e", 4, []istio.Change{{Cluster: "one", Drop: []string{big.ID}}})
	one.Until(t, "the removal", func(seen fleettest.Seen) bool { return len(seen.Have) == 1 })
	if n := len(next.State("one").NotOK); n != 0 {
		t.Errorf("%d objects are not as wanted after the removal", n)
	}
}

// TestALongSessionIsRefused: it would be stored.
func TestALongSessionIsRefused(t *testing.T) {
	s := serve(t, nil)
	one := s.edge("one")
	one.Session = strings.Repeat("x", 1<<20)
	if err := one.Connect(t).Wait(t); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a session of a megabyte ends with %v, want invalid argument", err)
	}
}

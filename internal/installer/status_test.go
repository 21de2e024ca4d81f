package installer

import (
	"testing"
	"time"

	"isthmus.dev/isthmus/api/install/v1alpha1"
)

// TestStatusFields shows every field of a status as it is written.
func TestStatusFields(t *testing.T) {
	gw := &v1alpha1.Gateway{}
	gw.Generation = 3
	at := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	got, err := statusPatch("7", statusOf(gw, verdict{true, "Valid", "It makes sense."}, verdict{false, reasonRollingOut, "Wait."}, []string{"192.0.2.1"}, at))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"metadata":{"resourceVersion":"7"},"status":{"observedGeneration":3,"conditions":[` +
		`{"type":"Accepted","status":"True","reason":"Valid","message":"It makes sense.","lastTransitionTime":"2026-11-27T12:00:00Z"},` +
		`{"type":"Ready","status":"False","reason":"RollingOut","message":"Wait.","lastTransitionTime":"2026-11-27T12:00:00Z"}],"addresses":["192.0.2.1"]}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

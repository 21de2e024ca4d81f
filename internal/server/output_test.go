package server

import (
	"testing"
	"time"

	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/compile/offline"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/status"
	"isthmus.dev/isthmus/internal/testkit/golden"
)

var update = golden.Flags() //nolint:gochecknoglobals // a flag of the test binary

// TestObserved shows what is filled in in a Cluster.
func TestObserved(t *testing.T) {
	golden.Run(t, "testdata/golden", *update, func(t *testing.T, c golden.Case) map[string]string {
		in, err := offline.ParseCase(c.Files)
		if err != nil {
			t.Fatal(err)
		}
		r := *in.Resources[0]
		now := status.Cluster{LastSync: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)}
		r.Spec = observed(r.Spec.(*tsbv2.Cluster), offline.Snapshot(in), r.FQN.Name(), now)
		text, err := resource.Encode([]*resource.Resource{&r})
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{"cluster.yaml": string(text)}
	})
}

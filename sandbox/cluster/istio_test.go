package cluster

import (
	"testing"

	"isthmus.dev/sandbox/pki"
	"isthmus.dev/sandbox/plan"
)

// TestRootOfTrust: clusters share the sandbox's root, unless one asks for its own; each has its own intermediate.
func TestRootOfTrust(t *testing.T) {
	shared, err := pki.NewRoot("shared")
	if err != nil {
		t.Fatal(err)
	}
	secret := func(name string, own bool) map[string]any {
		t.Helper()
		c := &Cluster{cfg: Config{Plan: plan.Cluster{Name: name, OwnRoot: own}, Root: shared}, pki: t.TempDir()}
		s, err := c.cacerts()
		if err != nil {
			t.Fatal(err)
		}
		data, ok := s["stringData"].(object)
		if !ok {
			t.Fatalf("stringData is %T", s["stringData"])
		}
		return data
	}
	a, b, own := secret("a", false), secret("b", false), secret("c", true)
	const root, ca = "root-cert.pem", "ca-cert.pem"
	if a[root] != string(shared.CertPEM) || a[root] != b[root] {
		t.Error("two clusters that asked for nothing do not share the sandbox's root")
	}
	if a[ca] == b[ca] {
		t.Error("two clusters have one intermediate")
	}
	if own[root] == a[root] {
		t.Error("a cluster with --own-root has the shared root")
	}
}

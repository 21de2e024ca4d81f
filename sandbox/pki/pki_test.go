package pki

import (
	"crypto/x509"
	"testing"
)

// A leaf of an intermediate is good for its names under the root, and under
// no other root.
func TestChain(t *testing.T) {
	root, err := NewRoot("root")
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewRoot("root") // same name on purpose
	if err != nil {
		t.Fatal(err)
	}
	inter, err := root.Intermediate("cluster")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := inter.Issue(Leaf{Name: "server", SANs: []string{"a.test", "198.18.1.10"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		root *Pair
		host string
		ok   bool
	}{
		"Name":      {root, "a.test", true},
		"Address":   {root, "198.18.1.10", true},
		"OtherName": {root, "b.test", false},
		"OtherRoot": {other, "a.test", false},
	} {
		t.Run(name, func(t *testing.T) {
			roots, inters := x509.NewCertPool(), x509.NewCertPool()
			roots.AddCert(tc.root.Cert)
			inters.AddCert(inter.Cert)
			_, err := leaf.Cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: inters, DNSName: tc.host})
			if (err == nil) != tc.ok {
				t.Errorf("Verify(%q) = %v, want ok %t", tc.host, err, tc.ok)
			}
		})
	}
}

// An intermediate vouches for leaves only.
func TestIntermediateHasNoChildren(t *testing.T) {
	root, err := NewRoot("root")
	if err != nil {
		t.Fatal(err)
	}
	inter, err := root.Intermediate("cluster")
	if err != nil {
		t.Fatal(err)
	}
	if !inter.Cert.MaxPathLenZero || !inter.Cert.IsCA {
		t.Errorf("intermediate: IsCA %t, MaxPathLenZero %t; want both", inter.Cert.IsCA, inter.Cert.MaxPathLenZero)
	}
}

package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/store/memory"
)

// TestEveryKind stores a resource of each kind of the product and reads it back with a new instance.
func TestEveryKind(t *testing.T) {
	db := memory.New()
	s := open(t, db)
	all := map[string]*resource.Resource{}
	if _, err := s.Update(t.Context(), store.Meta{Who: "test"}, func(tx *store.Tx) error {
		for _, k := range resource.Kinds {
			r := resource.New(k, fqnOf(k), k.Spec())
			all[k.ID()] = r
			if _, err := tx.Put(r); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s = open(t, db)
	for id, want := range all {
		got := s.Snapshot().Resource(want.FQN)
		if got == nil {
			t.Errorf("%s: %q is not there", id, want.FQN)
			continue
		}
		if got.Kind != want.Kind || got.Etag != want.Etag {
			t.Errorf("%s: kind %s with etag %s, want etag %s", id, got.Kind.ID(), got.Etag, want.Etag)
		}
		if diff := cmp.Diff(want.Spec, got.Spec, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
}

// fqnOf a kind: one name all the way up.
func fqnOf(k *resource.Kind) resource.FQN {
	var parent resource.FQN
	if k.Parent != "" {
		parent = fqnOf(resource.ByID(k.Parent))
	}
	return parent.Child(k.Plural, "n")
}

// TestRealClaims: what gateways and workspaces ask for becomes claims of the workspace.
func TestRealClaims(t *testing.T) {
	s := open(t, memory.New())
	const ws resource.FQN = "organizations/o/tenants/t/workspaces/w"
	chain := []resource.FQN{"organizations/o", "organizations/o/tenants/t", ws, ws + "/gatewaygroups/g"}
	snap, err := s.Update(t.Context(), store.Meta{Who: "test"}, func(tx *store.Tx) error {
		for _, fqn := range append(chain, ws+"/gatewaygroups/g/ingressgateways/i") {
			_, k, err := resource.ParseFQN(string(fqn))
			if err != nil {
				return err
			}
			spec := k.Spec()
			switch m := spec.(type) {
			case *tsbv2.Workspace:
				m.NamespaceSelector = &typesv2.NamespaceSelector{Names: []string{"*/front"}}
			case *gatewayv2.IngressGateway:
				m.Http = []*gatewayv2.HttpServer{{Hostname: "Bookinfo.test"}}
			}
			if _, err := tx.Put(resource.New(k, fqn, spec)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for k, v := range snap.Prefix("c/") {
		got = append(got, string(k)+" "+string(v.(*store.Claim).Owner()))
	}
	want := []string{"c/host/bookinfo.test " + string(ws), "c/namespace/*/front " + string(ws)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if store.HostClaimKey("bookinfo.test") != "c/host/bookinfo.test" || store.NamespaceClaimKey("*/front") != "c/namespace/*/front" {
		t.Error("a claim is taken under another key than the one that is asked for")
	}
}

func open(t *testing.T, m *memory.Database) *store.DB {
	t.Helper()
	s, err := store.Open(t.Context(), m.Open(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

package edge

import (
	"testing"

	"isthmus.dev/isthmus/internal/apply"
)

// Istiod forgets what Envoy said of an extension when it sends extensions again; Envoy goes on without it.
func TestRefusals(t *testing.T) {
	version, pods := "1", map[string]bool{"shop/gw": true}
	known := refusals{}
	for _, step := range []struct {
		what, extensions, others string // as istiod knows them
		want                     string
		before                   func()
	}{
		{what: "nothing"},
		{what: "said", extensions: "no such file", want: "no such file"},
		{what: "forgotten", want: "no such file"},
		{what: "something else as well", others: "bad port", want: "bad port; no such file"},
		{what: "and that taken back", want: "no such file"},
		{what: "changed, and Envoy has not heard of it", extensions: "no such file", want: "no such file", before: func() { version = "2" }},
		{what: "heard of it"},
		{what: "another one", extensions: "not a module", want: "not a module"},
		{what: "in other words", extensions: "not a module at all", want: "not a module at all"},
		{what: "forgotten again", want: "not a module at all"},
		{what: "the pod is gone", before: func() { delete(pods, "shop/gw") }},
		{what: "a listener, which istiod remembers by itself", others: "bad cipher", want: "bad cipher"},
		{what: "taken back"},
	} {
		if step.before != nil {
			step.before()
		}
		now := refusals{}
		now.add("shop/gw", map[string]string{extensionType: step.extensions, "b": step.others})
		now.remember(known, func(string) string { return version }, func(pod string) bool { return pods[pod] })
		known = now
		if got := known["shop/gw"].String(); got != step.want {
			t.Errorf("%s: refused %q, want %q", step.what, got, step.want)
		}
	}
	if len(known) > 0 {
		t.Errorf("%v is left", known)
	}
}

func TestExtensionsIn(t *testing.T) {
	bundle := func(objects ...*apply.Object) *apply.Bundle {
		b := &apply.Bundle{Objects: map[apply.ID]*apply.Object{}}
		for _, o := range objects {
			b.Objects[o.ID] = o
		}
		return b
	}
	plugin := func(namespace, name, digest string) *apply.Object {
		return &apply.Object{ID: apply.ID("extensions.istio.io/v1alpha1/WasmPlugin/" + namespace + "/" + name), Digest: digest}
	}
	one := extensionsIn(bundle(plugin("shop", "a", "1"), plugin("shop", "b", "1")), "shop")
	for name, tc := range map[string]struct {
		bundle *apply.Bundle
		same   bool
	}{
		"Same":     {bundle(plugin("shop", "b", "1"), plugin("shop", "a", "1")), true},
		"Others":   {bundle(plugin("shop", "a", "1"), plugin("shop", "b", "1"), plugin("bill", "c", "1"), &apply.Object{ID: "networking.istio.io/v1/Gateway/shop/a", Digest: "2"}), true},
		"Changed":  {bundle(plugin("shop", "a", "2"), plugin("shop", "b", "1")), false},
		"Fewer":    {bundle(plugin("shop", "a", "1")), false},
		"NoBundle": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := extensionsIn(tc.bundle, "shop"); (got == one) != tc.same {
				t.Errorf("extensionsIn() = %q and %q for the first; same: want %v", got, one, tc.same)
			}
		})
	}
}

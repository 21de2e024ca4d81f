package edge

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"isthmus.dev/isthmus/internal/wellknown"
)

func TestKeepCalled(t *testing.T) {
	object := func(kind, addresses string) *unstructured.Unstructured {
		var endpoints, names []any
		for a := range strings.FieldsSeq(addresses) {
			endpoints = append(endpoints, map[string]any{"address": a})
			names = append(names, "spiffe://"+a)
		}
		spec := map[string]any{"endpoints": endpoints}
		if len(names) > 0 {
			spec["subjectAltNames"] = names
		}
		return &unstructured.Unstructured{Object: map[string]any{"kind": kind, "spec": spec}}
	}
	for _, tc := range []struct{ kind, was, is, want string }{
		{"ServiceEntry", "a b", "b c", "b c a"},
		{"ServiceEntry", "a b c", "c", "c a b"},
		{"ServiceEntry", "a", "b a", ""},
		{"WorkloadEntry", "a", "b", ""},
	} {
		is := object(tc.kind, tc.is)
		if got := keepCalled(object(tc.kind, tc.was), is); got != (tc.want != "") {
			t.Errorf("keepCalled(%q, %q) = %v", tc.was, tc.is, got)
		}
		want := tc.want
		if want == "" {
			want = tc.is
		}
		if diff := cmp.Diff(object(tc.kind, want), is); diff != "" {
			t.Errorf("keepCalled(%q, %q) (-want +got):\n%s", tc.was, tc.is, diff)
		}
	}
}

func TestKeepServed(t *testing.T) {
	const plain = "{hosts: [a.test], port: {number: 80}}"
	for name, tc := range map[string]struct{ kind, was, is, want string }{
		"Host":      {"Gateway", "[" + plain + ", {hosts: [a.test, b.test], port: {number: 15443}}]", "[" + plain + ", {hosts: [c.test, a.test], port: {number: 15443}}]", "[" + plain + ", {hosts: [c.test, a.test], port: {number: 15443}}, {hosts: [b.test], port: {number: 15443}}]"},
		"LastHost":  {"Gateway", "[" + plain + ", {hosts: [a.test], port: {number: 15443}}]", "[" + plain + "]", "[" + plain + ", {hosts: [a.test], port: {number: 15443}}]"},
		"More":      {"Gateway", "[{hosts: [a.test], port: {number: 15443}}]", "[{hosts: [b.test, a.test], port: {number: 15443}}]", ""},
		"OtherPort": {"Gateway", "[{hosts: [a.test, b.test], port: {number: 80}}]", "[" + plain + "]", ""},
		"OtherKind": {"Other", "[{hosts: [a.test, b.test], port: {number: 15443}}]", "[{hosts: [a.test], port: {number: 15443}}]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			object := func(servers string) *unstructured.Unstructured {
				u := &unstructured.Unstructured{}
				if err := yaml.Unmarshal([]byte("kind: "+tc.kind+"\nspec: {servers: "+servers+"}"), &u.Object); err != nil {
					t.Fatal(err)
				}
				return u
			}
			is := object(tc.is)
			if got := keepServed(object(tc.was), is); got != (tc.want != "") {
				t.Errorf("keepServed() = %v", got)
			}
			want := tc.want
			if want == "" {
				want = tc.is
			}
			if diff := cmp.Diff(object(want), is); diff != "" {
				t.Errorf("the object (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKeepLedTo(t *testing.T) {
	for name, tc := range map[string]struct{ kind, was, is, want string }{
		"Subset": {"DestinationRule",
			"{host: a.test, subsets: [{name: c1, labels: {c: c1}}, {name: c2}]}", "{host: a.test, subsets: [{name: c3}, {name: c2, labels: {c: new}}]}",
			"{host: a.test, subsets: [{name: c3}, {name: c2, labels: {c: new}}, {name: c1, labels: {c: c1}}]}"},
		"AllSubsets":  {"DestinationRule", "{host: a.test, subsets: [{name: c1}]}", "{host: a.test}", "{host: a.test, subsets: [{name: c1}]}"},
		"MoreSubsets": {"DestinationRule", "{subsets: [{name: c1}]}", "{subsets: [{name: c2}, {name: c1}]}", ""},
		"NoSubsets":   {"DestinationRule", "{host: a.test}", "{host: a.test, trafficPolicy: {}}", ""},
		"Set": {"ServiceEntry",
			"{endpoints: [{address: 192.0.2.1, labels: {xcp.tetrate.io/clusters-1: 'true', a: b}}, {address: 192.0.2.9, labels: {xcp.tetrate.io/clusters-1: 'true'}}]}",
			"{endpoints: [{address: 192.0.2.1, labels: {xcp.tetrate.io/clusters-2: 'true'}}, {address: 192.0.2.2}]}",
			"{endpoints: [{address: 192.0.2.1, labels: {xcp.tetrate.io/clusters-1: 'true', xcp.tetrate.io/clusters-2: 'true'}}, {address: 192.0.2.2}]}"},
		"OnlySet":      {"ServiceEntry", "{endpoints: [{address: a, labels: {xcp.tetrate.io/clusters-1: 'true'}}]}", "{endpoints: [{address: a}]}", "{endpoints: [{address: a, labels: {xcp.tetrate.io/clusters-1: 'true'}}]}"},
		"OtherLabels":  {"ServiceEntry", "{endpoints: [{address: a, labels: {x: y}}]}", "{endpoints: [{address: a}]}", ""},
		"EndpointGone": {"ServiceEntry", "{endpoints: [{address: c, labels: {xcp.tetrate.io/clusters-1: 'true'}}]}", "{endpoints: []}", ""},
		"Leaving": {"ServiceEntry",
			"{endpoints: [{address: a, labels: {x: y}}, {address: gone}, {address: b}], ports: [{name: http}]}", "{endpoints: [{address: b}], ports: [{name: http}]}",
			"{endpoints: [{address: b}, {address: a, labels: {x: y}}], ports: [{name: http}]}"},
		"LeavingAll":   {"ServiceEntry", "{endpoints: [{address: a}]}", "{}", "{endpoints: [{address: a}]}"},
		"LeavingPorts": {"ServiceEntry", "{endpoints: [{address: a}], ports: [{name: http}]}", "{endpoints: [], ports: [{name: tcp}]}", ""},
		"LeavingName":  {"ServiceEntry", "{endpoints: [{address: a}], resolution: DNS}", "{endpoints: [], resolution: STATIC}", ""},
		"OtherKind":    {"Gateway", "{subsets: [{name: c1}]}", "{subsets: []}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			object := func(spec string) *unstructured.Unstructured {
				var m map[string]any
				if err := yaml.Unmarshal([]byte(spec), &m); err != nil {
					t.Fatal(err)
				}
				return &unstructured.Unstructured{Object: map[string]any{
					"kind": tc.kind, "spec": m, "metadata": map[string]any{"annotations": map[string]any{wellknown.LeavingAnnotation: "a,z"}},
				}}
			}
			was, is := object(tc.was), object(tc.is)
			want := tc.is
			if tc.want != "" {
				want = tc.want
			}
			if got := keepLedTo(was, is); got != (tc.want != "") {
				t.Errorf("keepLedTo() = %v", got)
			}
			if diff := cmp.Diff(object(want), is); diff != "" {
				t.Errorf("the object (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(object(tc.was), was); diff != "" {
				t.Errorf("the old one was changed:\n%s", diff)
			}
		})
	}
}

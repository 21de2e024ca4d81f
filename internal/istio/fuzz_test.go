package istio_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"isthmus.dev/isthmus/internal/compile/offline"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
)

// FuzzTranslate takes text all the way to objects. Whatever users write: no panic, a condition for every resource, no dependence on the order of
// writing, and objects that an API server takes.
func FuzzTranslate(f *testing.F) {
	for _, in := range seeds(f) {
		f.Add(in)
	}
	observed, err := offline.ParseObserved("observed", []byte(fuzzObserved))
	if err != nil {
		f.Fatal(err)
	}
	schemas := istioSchemas(f)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<14 {
			return
		}
		decoded, problems := resource.Decode([]resource.File{{Name: "in.yaml", Data: []byte(text)}})
		if len(problems) > 0 {
			return
		}
		var forward, backward []*resource.Resource
		for _, d := range decoded {
			if d.Resource != nil {
				forward = append(forward, d.Resource)
				backward = append([]*resource.Resource{d.Resource}, backward...)
			}
		}
		conditions, renderer := full(offline.Snapshot(offline.Input{Resources: forward, Observed: observed}))
		for _, r := range forward {
			if len(conditions[r.FQN]) == 0 {
				t.Errorf("nothing is said of %s", r.FQN)
			}
		}
		for _, name := range renderer.Clusters() {
			for _, o := range renderer.Bundle(name).Objects {
				schemas.check(t, o)
			}
		}
		_, again := full(offline.Snapshot(offline.Input{Resources: backward, Observed: observed}))
		if diff := cmp.Diff(allObjects(renderer), allObjects(again)); diff != "" {
			t.Errorf("the order of writing matters:\n%s", diff)
		}
	})
}

// seeds are the inputs of the goldens, what people are known to write, and texts with everything that a kind has about the
// world below.
func seeds(t testing.TB) []string {
	t.Helper()
	var all []string
	for pattern, start := range map[string]string{
		"testdata/golden/*.txtar": "-- in.yaml --\n", "../resource/testdata/habits/Accept*.txtar": ".yaml --\n", "testdata/seeds/*.yaml": "",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no seeds in %s (err %v)", pattern, err)
		}
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := bytes.Cut(data, []byte(start))
			in, _, _ := bytes.Cut(rest, []byte("\n-- "))
			all = append(all, string(in))
		}
	}
	return all
}

// TestSeeds holds the seeds to being about something: text that is refused, or that comes to nothing, is where a fuzzer starts in vain.
func TestSeeds(t *testing.T) {
	observed, err := offline.ParseObserved("observed", []byte(fuzzObserved))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"guards":  {"EnvoyFilter/shop/guard-tokens-test", "EnvoyFilter/shop/guard-asked-test", "EnvoyFilter/shop/guard-wildcard-local-test", "WasmPlugin/shop/front.e"},
		"tier1":   {"ingressgateways/behind"},
		"unified": {"EnvoyFilter/shop/guard-shop-test", "unifiedgateways/services"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile("testdata/seeds/" + name + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			decoded, problems := resource.Decode([]resource.File{{Name: name, Data: data}})
			if len(problems) > 0 {
				t.Fatalf("problems: %v", problems)
			}
			in := offline.Input{Observed: observed}
			for _, d := range decoded {
				in.Resources = append(in.Resources, d.Resource)
			}
			conditions, renderer := full(offline.Snapshot(in))
			objects := allObjects(renderer)
			for _, w := range want {
				if !strings.Contains(objects, w) {
					t.Errorf("there is no %s; conditions: %v", w, conditions)
				}
			}
		})
	}
}

func allObjects(r *istio.Renderer) string {
	var b strings.Builder
	for _, name := range r.Clusters() {
		for _, o := range r.Bundle(name).Sorted() {
			b.WriteString(name + " " + o.ID + " " + string(o.JSON) + "\n")
		}
	}
	return b.String()
}

const fuzzObserved = `
cluster: c1
mesh: {trustDomain: cluster.local}
namespaces: [{name: shop}, {name: a}]
services:
- {namespace: shop, name: front, type: LoadBalancer, clusterIp: 10.0.0.1, selector: {app: front}, ports: [{number: 80, targetPort: "8080"}, {number: 443, targetPort: "8443"}, {number: 15443}], externalAddresses: [192.0.2.1], externalTrafficPolicy: Cluster}
- {namespace: shop, name: keys, ports: [{number: 8000, name: http}]}
- {namespace: shop, name: grants, ports: [{number: 8000, name: http}, {number: 9000, name: grpc}]}
- {namespace: shop, name: counter, ports: [{number: 8081, name: grpc}]}
- {namespace: istio-system, name: isthmus-ratelimit, ports: [{number: 8081, name: grpc}]}
workloads:
- {namespace: shop, name: front, labels: {app: front}, serviceAccount: sa, ready: 1, total: 1}
secrets:
- {namespace: shop, name: cert, ca: true}
- {namespace: shop, name: ca, ca: true}
---
cluster: c2
`

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
	paths, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds (err %v)", err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, _ := bytes.Cut(data, []byte("-- in.yaml --\n"))
		in, _, _ := bytes.Cut(rest, []byte("\n-- "))
		f.Add(string(in))
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
- {namespace: shop, name: front, type: LoadBalancer, clusterIp: 10.0.0.1, selector: {app: front}, ports: [{number: 80}, {number: 15443}], externalAddresses: [192.0.2.1]}
workloads:
- {namespace: shop, name: front, labels: {app: front}, serviceAccount: sa, ready: 1, total: 1}
---
cluster: c2
`

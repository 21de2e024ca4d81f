package istio_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"isthmus.dev/isthmus/internal/compile"
	"isthmus.dev/isthmus/internal/compile/offline"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/testkit/golden"
)

var update = golden.Flags() //nolint:gochecknoglobals // a flag of the test binary

// TestGolden shows what text leads to, which is read by offline.ParseCase; show limits the output to some kinds. What
// walk.yaml says of requests is for test/istio, which sends them through what is rendered.
func TestGolden(t *testing.T) {
	schemas := istioSchemas(t)
	golden.Run(t, "testdata/golden", *update, func(t *testing.T, c golden.Case) map[string]string {
		in := input(t, c)
		conditions, renderer := full(offline.Snapshot(in))
		for _, name := range renderer.Clusters() {
			for _, o := range renderer.Bundle(name).Sorted() {
				schemas.check(t, o)
			}
		}
		got := render(t, in, conditions, renderer, kinds(c))
		if diff := cmp.Diff(got, oneByOne(t, in, kinds(c))); diff != "" {
			t.Errorf("applied one after the other it comes to something else (-at once +one by one):\n%s", diff)
		}
		return got
	})
}

func full(s *store.Snapshot) (map[resource.FQN][]resource.Condition, *istio.Renderer) {
	result := compile.New().RunAll(s)
	renderer := istio.New()
	renderer.Apply(result.Delta)
	return result.Conditions, renderer
}

// oneByOne adds every value of the snapshot by itself, in an order of its own.
func oneByOne(t *testing.T, in offline.Input, show []string) map[string]string {
	t.Helper()
	whole := offline.Snapshot(in)
	values := map[store.Key]any{}
	for _, p := range []store.Key{"r/", "f/", "c/"} {
		maps.Insert(values, whole.Prefix(p))
	}
	keys := slices.Sorted(maps.Keys(values))
	r := rand.New(rand.NewPCG(1, uint64(len(keys))))
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })

	s := store.NewSnapshot(0, nil)
	compiler, renderer := compile.New(), istio.New()
	conditions := map[resource.FQN][]resource.Condition{}
	for i, k := range keys {
		s = s.With(int64(i+1), map[store.Key]any{k: values[k]})
		res := compiler.Run(s, []store.Key{k})
		renderer.Apply(res.Delta)
		maps.Copy(conditions, res.Conditions)
	}
	return render(t, in, conditions, renderer, show)
}

func kinds(c golden.Case) []string { return strings.Fields(c.Files["show"]) }

func input(t *testing.T, c golden.Case) offline.Input {
	t.Helper()
	in, err := offline.ParseCase(c.Files)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// render is what a case leads to: objects by cluster, and what is said of each resource.
func render(t *testing.T, in offline.Input, conditions map[resource.FQN][]resource.Condition, r *istio.Renderer, show []string) map[string]string {
	t.Helper()
	given := map[resource.FQN]bool{}
	for _, x := range in.Resources {
		given[x.FQN] = true
	}
	var status strings.Builder
	for _, fqn := range slices.Sorted(maps.Keys(conditions)) {
		for _, c := range conditions[fqn] {
			if given[fqn] || !c.OK {
				fmt.Fprintf(&status, "%s: %s\n", fqn, describe(c))
			}
		}
	}
	got := map[string]string{"status": status.String()}
	for _, name := range r.Clusters() {
		var docs []string
		for _, o := range r.Bundle(name).Sorted() {
			kind := strings.Split(o.ID, "/")[2]
			if len(show) > 0 && !slices.Contains(show, kind) {
				continue
			}
			docs = append(docs, toYAML(t, o.JSON))
		}
		got["cluster/"+name+".yaml"] = strings.Join(docs, "---\n")
	}
	return got
}

func describe(c resource.Condition) string {
	s := fmt.Sprintf("%s=%t %s", c.Type, c.OK, c.Reason)
	if c.Cluster != "" {
		s += " [" + c.Cluster + "]"
	}
	if c.Field != "" {
		s += " " + c.Field
	}
	return s + ": " + c.Message
}

func toYAML(t *testing.T, object []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(object, &v); err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	var b strings.Builder
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

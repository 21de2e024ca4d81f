// Package istio holds what Isthmus renders against Istio and Envoy themselves, without a cluster: for every golden of
// internal/istio it asks Istio's validation and analyzers, lets istiod's own code make the configuration of every gateway
// pod, gives that to a real Envoy, and walks requests through it.
//
// It is a module of its own, because it links istiod, and imports nothing of internal/: it reads the goldens and asks tctl.
package istio

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

// root is the directory of the repository.
const root = "../.."

var dump = flag.String("dump", "", "directory in which to leave what istiod sends to the proxies of each golden")

// golden is one case of internal/istio: what was rendered, and what the edges had seen before.
type golden struct {
	name     string
	clusters []*observedCluster
	// walk is what requests have to lead to, by proxy: "<cluster>/<namespace>.<workload>" or "<cluster>/sidecar".
	walk map[string][]step
}

// observedCluster is one cluster of a golden. Its facts are empty when it has not reported.
type observedCluster struct {
	name    string
	facts   facts
	objects []object
}

// object is one rendered object.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	raw json.RawMessage
}

func (o object) String() string {
	if o.Metadata.Namespace == "" {
		return o.Kind + " " + o.Metadata.Name
	}
	return o.Kind + " " + o.Metadata.Namespace + "/" + o.Metadata.Name
}

// TestGoldens asks Istio and Envoy about every golden.
func TestGoldens(t *testing.T) {
	paths, err := filepath.Glob(root + "/internal/istio/testdata/golden/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no goldens (err %v)", err)
	}
	allowed := readAllowed(t, "testdata/allowed.yaml")
	always := allowed[everywhere]
	delete(allowed, everywhere)
	e := startEnvoy(t)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		may := allowed[name]
		delete(allowed, name)
		t.Run(name, func(t *testing.T) {
			g := readGolden(t, path)
			t.Run("validation", func(t *testing.T) { may.compare(t, "validation", always.without("validation", validate(t, g))) })
			t.Run("analysis", func(t *testing.T) { may.compare(t, "analysis", always.without("analysis", analyze(t, g))) })
			g.testProxies(t, e)
		})
	}
	for name := range allowed {
		t.Errorf("testdata/allowed.yaml speaks of %q, and there is no such golden", name)
	}
}

// testProxies lets istiod make the configuration of each gateway and of a sidecar in each cluster, gives it to Envoy, and
// walks the requests of the golden through it.
func (g golden) testProxies(t *testing.T, e *envoy) {
	walked := map[string]bool{}
	for _, c := range g.clusters {
		if len(c.objects) == 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			i := startIstiod(t, c)
			for id, p := range i.proxies() {
				walked[c.name+"/"+id] = true
				t.Run(id, func(t *testing.T) {
					sent := i.send(t, p)
					if *dump != "" {
						sent.write(t, filepath.Join(*dump, g.name, c.name, id))
					}
					for _, r := range e.try(t, unbound(sent)) {
						t.Errorf("Envoy rejects %s", r)
					}
					if steps := g.walk[c.name+"/"+id]; len(steps) > 0 {
						i.walk(t, e, p, sent, steps)
					}
				})
			}
		})
	}
	for proxy := range g.walk {
		if !walked[proxy] {
			t.Errorf("walk.yaml speaks of %s, and there is no such proxy", proxy)
		}
	}
}

// readGolden takes the objects from tctl, because a golden may show only some kinds, and makes sure that those which it does
// show are the same.
func readGolden(t *testing.T, path string) golden {
	t.Helper()
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files, want := map[string][]byte{}, map[string][]object{}
	for _, f := range ar.Files {
		files[f.Name] = f.Data
		if cluster, ok := strings.CutPrefix(f.Name, "want/cluster/"); ok {
			want[strings.TrimSuffix(cluster, ".yaml")] = parseObjects(t, f.Data)
		}
	}
	seen := readFacts(t, files["observed.yaml"])
	names := slices.Sorted(maps.Keys(want))
	all := want
	if _, ok := files["claims"]; !ok { // tctl does not know who asked first
		all = translate(t, files, names)
		show := strings.Fields(string(files["show"]))
		for _, cluster := range names {
			got := slices.DeleteFunc(slices.Clone(all[cluster]), func(o object) bool {
				return len(show) > 0 && !slices.Contains(show, o.Kind)
			})
			if diff := cmp.Diff(texts(t, want[cluster]), texts(t, got)); diff != "" {
				t.Fatalf("%s: tctl x translate says something else for %s (-golden +tctl); go test ./internal/istio -update accepts:\n%s", path, cluster, diff)
			}
		}
	}
	g := golden{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), walk: readWalk(t, files["walk.yaml"])}
	for _, cluster := range names {
		g.clusters = append(g.clusters, &observedCluster{name: cluster, facts: seen[cluster], objects: all[cluster]})
	}
	return g
}

// parseObjects reads the documents of one YAML file.
func parseObjects(t *testing.T, data []byte) []object {
	t.Helper()
	var out []object
	for doc := range bytes.SplitSeq(data, []byte("---\n")) {
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		raw, err := yaml.YAMLToJSON(doc)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, parseObject(t, raw))
	}
	return out
}

func parseObject(t *testing.T, raw []byte) object {
	t.Helper()
	o := object{raw: raw}
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return o
}

// texts are the objects as YAML, one after the other.
func texts(t *testing.T, objects []object) []string {
	t.Helper()
	var out []string
	for _, o := range objects {
		b, err := yaml.JSONToYAML(o.raw)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return out
}

// translate asks tctl for all objects of the clusters.
func translate(t *testing.T, files map[string][]byte, clusters []string) map[string][]object {
	t.Helper()
	if len(clusters) == 0 {
		return nil
	}
	program, err := tctl()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{"x", "translate", "-o", "json", "-f", filepath.Join(dir, "in.yaml")}
	write(t, filepath.Join(dir, "in.yaml"), files["in.yaml"])
	if len(bytes.TrimSpace(files["observed.yaml"])) > 0 {
		write(t, filepath.Join(dir, "observed.yaml"), files["observed.yaml"])
		args = append(args, "--observed", filepath.Join(dir, "observed.yaml"))
	}
	for _, name := range clusters {
		args = append(args, "--cluster", name)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// A resource with a problem is what many goldens are about, and tctl ends with 1 then.
	if err := cmd.Run(); err != nil && stdout.Len() == 0 {
		t.Fatalf("tctl x translate: %v\n%s", err, stderr.String())
	}
	var list struct {
		Items []struct {
			Cluster string          `json:"cluster"`
			Object  json.RawMessage `json:"object"`
		} `json:"items"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &list); err != nil {
		t.Fatalf("tctl x translate: %v\n%s%s", err, stdout.String(), stderr.String())
	}
	out := map[string][]object{}
	for _, item := range list.Items {
		out[item.Cluster] = append(out[item.Cluster], parseObject(t, item.Object))
	}
	return out
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// tctl builds the program once for all goldens and says where it is.
var tctl = sync.OnceValues(func() (string, error) {
	path := filepath.Join(work(), "tctl")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/tctl")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build tctl: %w\n%s", err, out)
	}
	return path, nil
})

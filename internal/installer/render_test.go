package installer

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"isthmus.dev/isthmus/api/install/v1alpha1"
)

var update = flag.Bool("update", false, "accept what was rendered")

// TestRender: each file of testdata/golden is a sentence, install resources, and what is made for them: the objects,
// or the condition that says why not.
func TestRender(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("goldens: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := txtar.Archive{Comment: ar.Comment, Files: ar.Files[:1]}
			for doc := range strings.SplitSeq(string(ar.Files[0].Data), "---\n") {
				want.Files = append(want.Files, renderFiles(t, doc)...)
			}
			got := txtar.Format(&want)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := gocmp.Diff(string(txtar.Format(ar)), string(got)); diff != "" {
				t.Errorf("%s (-want +got, -update accepts):\n%s", file, diff)
			}
		})
	}
}

func renderFiles(t *testing.T, doc string) []txtar.File {
	t.Helper()
	gw, unknown, err := decode(resourceOf(t, doc))
	if unknown != "" || err != nil {
		t.Fatalf("decode: %s %v", unknown, err)
	}
	k := kindOf(t, gw)
	objects, notes, err := render(k, gw, site{cluster: "organizations/tetrate/clusters/east"})
	if p, ok := errors.AsType[*problem](err); ok {
		return []txtar.File{{Name: gw.Name + "/condition", Data: []byte(p.reason + ": " + p.message + "\n")}}
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []txtar.File
	if notes != nil {
		out = append(out, txtar.File{Name: gw.Name + "/notes", Data: []byte(strings.Join(notes, "\n") + "\n")})
	}
	for _, o := range objects {
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, txtar.File{Name: o.GetNamespace() + "/" + o.GetName() + "/" + o.GetKind() + ".yaml", Data: b})
	}
	return out
}

// kindOf is the one that a resource says, IngressGateway when it says none.
func kindOf(t *testing.T, gw *v1alpha1.Gateway) kind {
	t.Helper()
	name := cmp.Or(gw.Kind, "IngressGateway")
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == name })
	if i < 0 {
		t.Fatalf("there is no kind %q", name)
	}
	return kinds()[i]
}

func resourceOf(t *testing.T, doc string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{Object: parseYAML(t, doc).(map[string]any)}
	if u.GetUID() == "" {
		u.SetUID("uid-of-" + "gateway")
	}
	return u
}

// The same resource gives the same bytes, and rendering changes neither it nor what was rendered before.
func TestRenderIsPure(t *testing.T) {
	doc, err := os.ReadFile("testdata/golden/everything.txtar")
	if err != nil {
		t.Fatal(err)
	}
	in := resourceOf(t, string(txtar.Parse(doc).Files[0].Data))
	before := in.DeepCopy()
	all := func() []byte {
		gw, _, err := decode(in)
		if err != nil {
			t.Fatal(err)
		}
		objects, _, err := render(kinds()[0], gw, site{})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		for _, o := range objects {
			text, err := o.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			b.Write(text)
		}
		return b.Bytes()
	}
	first := all()
	for range 20 {
		if !bytes.Equal(first, all()) {
			t.Fatal("another rendering gave other bytes")
		}
	}
	if diff := gocmp.Diff(before.Object, in.Object); diff != "" {
		t.Errorf("rendering changed the resource (-before +after):\n%s", diff)
	}
}

// Two gateways of one name in two namespaces have pods that no label selector confuses.
func TestGatewayLabel(t *testing.T) {
	long := strings.Repeat("n", 40)
	labels := map[string]bool{}
	for _, c := range [][2]string{{"a", "gw"}, {"b", "gw"}, {"a.b", "c"}, {long, long}, {long, long[1:] + "m"}, {long[1:] + "m", long}} {
		l := gatewayLabel(c[0], c[1])
		if len(l) > 63 || labels[l] {
			t.Errorf("gatewayLabel(%q, %q) = %q: too long, or not unique", c[0], c[1], l)
		}
		labels[l] = true
	}
}

// Whatever an overlay and an override say, rendering ends with objects or with a problem that names the field.
func FuzzRender(f *testing.F) {
	f.Add("spec.ports.[port:443].nodePort", "30443", "concurrency: 2")
	f.Add("metadata", "x", "proxyMetadata: {A: b}")
	f.Add("metadata.labels.a", "5", "[]")
	f.Add(`spec.selector.a\.b.[-1]`, "{a: [1]}", "terminationDrainDuration: null")
	f.Add("kind", "", "_: {_: 1}")
	f.Fuzz(func(t *testing.T, path, value, override string) {
		var v any
		if yaml.Unmarshal([]byte(value), &v) != nil {
			v = value
		}
		gw := &v1alpha1.Gateway{Spec: v1alpha1.GatewaySpec{ProxyConfigOverride: override, KubeSpec: &v1alpha1.KubeSpec{Overlays: []v1alpha1.Overlay{
			{Kind: "Service", Name: "gw", Patches: []v1alpha1.Patch{{Path: path, Value: v}}},
			{Kind: "Deployment", Name: "gw", Patches: []v1alpha1.Patch{{Path: path, Value: v}}},
		}}}}
		gw.Name, gw.Namespace, gw.UID = "gw", "ns", "u"
		objects, _, err := render(kinds()[3], gw, site{})
		if p, ok := errors.AsType[*problem](err); err != nil && (!ok || !strings.HasPrefix(p.message, "spec.")) {
			t.Fatalf("render() = %v, want a problem with a field", err)
		}
		for _, o := range objects {
			if _, err := o.MarshalJSON(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

package installer

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
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
			if diff := cmp.Diff(string(txtar.Format(ar)), string(got)); diff != "" {
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
	objects, err := render(kinds()[0], gw)
	if p, ok := errors.AsType[*problem](err); ok {
		return []txtar.File{{Name: gw.Name + "/condition", Data: []byte(p.reason + ": " + p.message + "\n")}}
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []txtar.File
	for _, o := range objects {
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, txtar.File{Name: o.GetNamespace() + "/" + o.GetName() + "/" + o.GetKind() + ".yaml", Data: b})
	}
	return out
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
		objects, err := render(kinds()[0], gw)
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
	if diff := cmp.Diff(before.Object, in.Object); diff != "" {
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

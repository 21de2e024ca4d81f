package deploy

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	kyaml "sigs.k8s.io/yaml"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

var update = flag.Bool("update", false, "write the files that are made")

// crd is what the kinds of install.tetrate.io differ in.
type crd struct {
	Kind, Description  string
	ServiceType, Ports string // what is there when the resource does not say
	// Typed kinds have a type, and the fields that came with it.
	Typed        bool
	EastWestOnly bool
}

func (c crd) Singular() string { return strings.ToLower(c.Kind) }
func (c crd) Plural() string   { return c.Singular() + "s" }
func (c crd) file() string     { return "install.tetrate.io_" + c.Plural() + ".yaml" }

const web = "Instead of 80 and 443, with the pods' ports 8080 and 8443."

var crds = []crd{
	{Kind: "IngressGateway", ServiceType: "LoadBalancer", Ports: web, EastWestOnly: true,
		Description: "IngressGateway asks for a gateway next to the applications, in the namespace of the resource."},
	{Kind: "Tier1Gateway", ServiceType: "LoadBalancer", Ports: web,
		Description: "Tier1Gateway asks for a gateway in front of the gateways of several clusters, in the namespace of the resource."},
	{Kind: "EgressGateway", ServiceType: "ClusterIP", Ports: "Nothing beside the two that are always there when not said.",
		Description: "EgressGateway asks for a gateway out of the mesh, in the namespace of the resource."},
	{Kind: "Gateway", ServiceType: "ClusterIP for the type EGRESS, and else LoadBalancer", Typed: true, EastWestOnly: true,
		Ports:       web + " The type EGRESS has none of its own, and EASTWEST never has any.",
		Description: "Gateway asks for a gateway of any type, in the namespace of the resource."},
}

// TestCRDs holds the files of the kinds against the one text that they are made from.
func TestCRDs(t *testing.T) {
	tmpl := template.Must(template.New("crd.yaml.tmpl").Option("missingkey=error").ParseFiles("crds/crd.yaml.tmpl"))
	want := map[string]bool{"crd.yaml.tmpl": true}
	for _, c := range crds {
		var b bytes.Buffer
		if err := tmpl.Execute(&b, c); err != nil {
			t.Fatal(err)
		}
		want[c.file()] = true
		same(t, filepath.Join("crds", c.file()), b.String())
	}
	entries, err := os.ReadDir("crds")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !want[e.Name()] {
			t.Errorf("crds/%s is of no kind", e.Name())
		}
	}
}

// same compares a file with what it should be, or writes it.
func same(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), text); diff != "" {
		t.Errorf("%s (-want +got, -update writes it):\n%s", path, diff)
	}
}

// The edge may do with every kind what it has to.
func TestPermissions(t *testing.T) {
	text, err := Edge{Image: "x", PullPolicy: "Always"}.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	need := map[string][]string{}
	for _, c := range crds {
		need[c.Plural()] = []string{"get", "list", "watch", "update", "patch"}
		need[c.Plural()+"/status"] = []string{"get", "update", "patch"}
		need[c.Plural()+"/finalizers"] = []string{"update"}
	}
	for _, o := range objects(t, text) {
		if o["kind"] != "ClusterRole" {
			continue
		}
		for _, rule := range o["rules"].([]any) {
			r := rule.(map[string]any)
			if r["apiGroups"].([]any)[0] != "install.tetrate.io" {
				continue
			}
			for _, res := range r["resources"].([]any) {
				for _, verb := range r["verbs"].([]any) {
					need[res.(string)] = without(need[res.(string)], verb.(string))
				}
			}
		}
	}
	for res, verbs := range need {
		if len(verbs) > 0 {
			t.Errorf("the edge may not %v %s", verbs, res)
		}
	}
}

func without(list []string, s string) []string {
	var out []string
	for _, l := range list {
		if l != s {
			out = append(out, l)
		}
	}
	return out
}

func readCRD(t *testing.T, file string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	text, err := files.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	crd := new(apiextensionsv1.CustomResourceDefinition)
	if err := kyaml.UnmarshalStrict(text, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

package support

import (
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"
)

// crd is a kind of install.tetrate.io.
type crd struct {
	Kind string
	// Fields are "spec.field" and "spec.field=VALUE", in the order of the CRD; lists have [] in their paths.
	Fields []string
}

func readCRDs(t *testing.T) []*crd {
	t.Helper()
	var all []*crd
	for _, path := range glob(t, "deploy/crds/*.yaml") {
		var doc struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct {
						OpenAPIV3Schema yaml.Node `yaml:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, path)), &doc); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		c := &crd{Kind: doc.Spec.Names.Kind}
		top := child(&doc.Spec.Versions[0].Schema.OpenAPIV3Schema, "properties")
		for _, name := range []string{"spec", "status"} {
			c.fields(name, child(top, name))
		}
		all = append(all, c)
	}
	return all
}

func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func (c *crd) fields(path string, schema *yaml.Node) {
	if items := child(schema, "items"); items != nil {
		path, schema = path+"[]", items
	}
	props := child(schema, "properties")
	for i := 0; props != nil && i < len(props.Content); i += 2 {
		p, s := path+"."+props.Content[i].Value, props.Content[i+1]
		c.Fields = append(c.Fields, p)
		if enum := child(s, "enum"); enum != nil {
			for _, v := range enum.Content {
				c.Fields = append(c.Fields, p+"="+v.Value)
			}
		}
		c.fields(p, s)
	}
}

// readInstalled notes the fields that a document has a value of.
func readInstalled(doc map[string]any, crds []*crd, seen map[string]bool) {
	if version, _ := doc["apiVersion"].(string); !strings.HasPrefix(version, "install.tetrate.io/") {
		return
	}
	kind, _ := doc["kind"].(string)
	if i := slices.IndexFunc(crds, func(c *crd) bool { return c.Kind == kind }); i >= 0 {
		for _, field := range crds[i].Fields {
			path, value, _ := strings.Cut(field, "=")
			if has(doc, strings.Split(path, "."), value) {
				seen[kind+" "+field] = true
			}
		}
	}
}

// has says whether a document has something at a path, or a certain value.
func has(v any, path []string, value string) bool {
	if len(path) == 0 {
		text, _ := v.(string)
		return v != nil && (value == "" || text == value)
	}
	m, _ := v.(map[string]any)
	name, isList := strings.CutSuffix(path[0], "[]")
	if !isList {
		return m[name] != nil && has(m[name], path[1:], value)
	}
	list, _ := m[name].([]any)
	return slices.ContainsFunc(list, func(x any) bool { return has(x, path[1:], value) })
}

// rendered are the fields in the goldens of the installer that objects are made from: by golden.
func readInstaller(t *testing.T, crds []*crd) map[string]map[string]bool {
	t.Helper()
	out := map[string]map[string]bool{}
	for _, path := range glob(t, "internal/installer/testdata/golden/*.txtar") {
		ar := txtar.Parse([]byte(read(t, path)))
		refused := map[string]bool{}
		for _, f := range ar.Files[1:] {
			if name, ok := strings.CutSuffix(f.Name, "/condition"); ok {
				refused[name] = true
			}
		}
		seen := map[string]bool{}
		for text := range strings.SplitSeq(string(ar.Files[0].Data), "---\n") {
			doc := map[string]any{"apiVersion": "install.tetrate.io/v1alpha1", "kind": "IngressGateway"}
			if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			meta, _ := doc["metadata"].(map[string]any)
			if name, _ := meta["name"].(string); !refused[name] {
				readInstalled(doc, crds, seen)
			}
		}
		out[nameOf(path)] = seen
	}
	return out
}

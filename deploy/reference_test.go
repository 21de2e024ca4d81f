package deploy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestReference holds the reference page of the install kinds against their CRDs.
func TestReference(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Kinds of `install.tetrate.io/v1alpha1`\n\n" +
		"Made from the CRDs in `deploy/crds`: `go test ./deploy -run Reference -update`.\n\n" +
		"These are resources of a cluster: `kubectl apply` takes them, and the cluster's edge makes gateways of them. [Gateways in a cluster](../operating/gateways.md) says what is made.\n")
	all := map[string][]row{}
	for _, c := range crds {
		all[c.Kind] = rows(t, c)
	}
	var common []row
	for _, r := range all[crds[0].Kind] {
		if !slices.ContainsFunc(crds, func(c crd) bool { return !slices.Contains(all[c.Kind], r) }) {
			common = append(common, r)
		}
	}
	for _, c := range crds {
		fmt.Fprintf(&b, "\n## %s\n\n%s For `kubectl`: `%s.install.tetrate.io`. Beside [the fields of every kind](#fields-of-every-kind) it has:\n\n", c.Kind, c.Description, c.Plural())
		table(&b, slices.DeleteFunc(slices.Clone(all[c.Kind]), func(r row) bool { return slices.Contains(common, r) }))
	}
	b.WriteString("\n## Fields of every kind\n\n")
	table(&b, common)
	same(t, "../docs/reference/install.md", b.String())
}

type row struct{ path, kind, text string }

func table(b *strings.Builder, rows []row) {
	b.WriteString("| field | type | |\n|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", r.path, r.kind, r.text)
	}
}

// rows are the fields of spec and status, in the order of the CRD.
func rows(t *testing.T, c crd) []row {
	t.Helper()
	text, err := files.ReadFile("crds/" + c.file())
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	n := doc.Content[0]
	for _, key := range []string{"spec", "versions", "", "schema", "openAPIV3Schema", "properties"} {
		if n = child(n, key); n == nil {
			t.Fatalf("%s has no %s", c.file(), key)
		}
	}
	out := fields(t, "spec", child(n, "spec"))
	return append(out, fields(t, "status", child(n, "status"))...)
}

// child of a map, or with an empty key the first item of a list; nil when there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.SequenceNode && key == "" {
		return n.Content[0]
	}
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func value(n *yaml.Node, key string) string {
	if c := child(n, key); c != nil {
		return c.Value
	}
	return ""
}

// fields below an object; lists have [] in their paths.
func fields(t *testing.T, path string, schema *yaml.Node) []row {
	t.Helper()
	var out []row
	if items := child(schema, "items"); items != nil {
		path, schema = path+"[]", items
	}
	props := child(schema, "properties")
	for i := 0; props != nil && i < len(props.Content); i += 2 {
		p, s := path+"."+props.Content[i].Value, props.Content[i+1]
		text := value(s, "description")
		if text == "" {
			t.Errorf("%s has no description", p)
		}
		if required := child(schema, "required"); required != nil && slices.ContainsFunc(required.Content, func(n *yaml.Node) bool { return n.Value == props.Content[i].Value }) {
			text += " *Required.*"
		}
		out = append(out, row{p, kindOf(s), text})
		out = append(out, fields(t, p, s)...)
	}
	return out
}

func kindOf(s *yaml.Node) string {
	if enum := child(s, "enum"); enum != nil {
		var names []string
		for _, e := range enum.Content {
			names = append(names, "`"+e.Value+"`")
		}
		return strings.Join(names, ", ")
	}
	if child(s, "x-kubernetes-int-or-string") != nil {
		return "number or text"
	}
	switch value(s, "type") {
	case "array":
		return "list of " + strings.NewReplacer("object", "objects", "text", "texts").Replace(kindOf(child(s, "items")))
	case "object":
		if of := child(s, "additionalProperties"); of != nil {
			return "map of " + strings.NewReplacer("number", "numbers", "text", "texts").Replace(kindOf(of))
		}
		return "object"
	case "integer":
		low, high := value(s, "minimum"), value(s, "maximum")
		switch {
		case low != "" && high != "":
			return "number from " + low + " to " + high
		case low != "":
			return "number from " + low
		}
		return "number"
	case "boolean":
		return "true or false"
	case "":
		return "anything"
	}
	return "text"
}

package installer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const overlayInput = `
metadata: {annotations: {x.y/z: old}}
spec:
  containers:
  - {name: a, args: [one, two], ports: [{port: 80}]}
  - {name: b}
`

func TestOverlayPaths(t *testing.T) {
	cases := map[string]struct {
		path  string
		value any
		want  string // as YAML, or else
		err   string
	}{
		"MapKey":          {"spec.replicas", int64(3), strings.Replace(overlayInput, "spec:\n", "spec:\n  replicas: 3\n", 1), ""},
		"NewMaps":         {"spec.a.b.c", "x", strings.Replace(overlayInput, "spec:\n", "spec:\n  a: {b: {c: x}}\n", 1), ""},
		"EscapedDot":      {`metadata.annotations.x\.y/z`, "new", strings.Replace(overlayInput, "old", "new", 1), ""},
		"ItemByKey":       {"spec.containers.[name:b].image", "i", strings.Replace(overlayInput, "{name: b}", "{name: b, image: i}", 1), ""},
		"ItemByNumber":    {"spec.containers.[name:a].ports.[port:80].port", int64(81), strings.Replace(overlayInput, "80", "81", 1), ""},
		"ItemByIndex":     {"spec.containers.[1].image", "i", strings.Replace(overlayInput, "{name: b}", "{name: b, image: i}", 1), ""},
		"WithoutDot":      {"spec.containers[1].image", "i", strings.Replace(overlayInput, "{name: b}", "{name: b, image: i}", 1), ""},
		"Append":          {"spec.containers.[name:a].args.[-1]", "three", strings.Replace(overlayInput, "[one, two]", "[one, two, three]", 1), ""},
		"AppendToNew":     {"spec.containers.[name:b].env.[-1]", map[string]any{"name": "X"}, strings.Replace(overlayInput, "{name: b}", "{name: b, env: [{name: X}]}", 1), ""},
		"LeafByValue":     {"spec.containers.[name:a].args.[:two]", "2", strings.Replace(overlayInput, "two", `"2"`, 1), ""},
		"RemoveKey":       {"spec.containers", nil, "{metadata: {annotations: {x.y/z: old}}, spec: {}}", ""},
		"RemoveItem":      {"spec.containers.[name:a]", nil, "{metadata: {annotations: {x.y/z: old}}, spec: {containers: [{name: b}]}}", ""},
		"RemoveMissing":   {"spec.nothing.here", nil, overlayInput, ""},
		"NoSuchItem":      {"spec.containers.[name:c].image", "i", "", "spec.containers.[name:c]: the list has no such item"},
		"OutOfRange":      {"spec.containers.[5]", "i", "", "the list has 2 items"},
		"ThroughScalar":   {"spec.containers.[name:a].name.x", "i", "", "there is the value a here, not a map"},
		"ListIsNoMap":     {"spec.containers.name", "i", "", "spec.containers.name: there is a list here"},
		"MapIsNoList":     {"spec.[0]", "i", "", "spec.[0]: there is a map here"},
		"Empty":           {"", "i", "", "empty"},
		"Unclosed":        {"spec.[name", "i", "", "no closing bracket"},
		"TwoDots":         {"spec..x", "i", "", "a key is empty"},
		"TrailingDot":     {"spec.x.", "i", "", "ends with a dot"},
		"NoSelector":      {"spec.containers.[name]", "i", "", "neither an index nor key:value"},
		"NegativeIndex":   {"spec.containers.[-2]", "i", "", "is no index"},
		"AppendOfNothing": {"spec.containers.[-1]", nil, "", "nothing to append"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			in := parseYAML(t, overlayInput)
			steps, err := parsePath(tc.path)
			var got any
			if err == nil {
				got, err = patched(in, steps, tc.value)
			}
			if tc.err != "" || err != nil {
				if err == nil || tc.err == "" || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("path %q: error %v, want %q", tc.path, err, tc.err)
				}
				return
			}
			if diff := cmp.Diff(parseYAML(t, tc.want), normal(got)); diff != "" {
				t.Errorf("path %q (-want +got):\n%s", tc.path, diff)
			}
			if diff := cmp.Diff(parseYAML(t, overlayInput), in); diff != "" {
				t.Errorf("path %q changed its input (-before +after):\n%s", tc.path, diff)
			}
		})
	}
}

func FuzzOverlayPath(f *testing.F) {
	f.Add("spec.containers.[name:a].args.[-1]")
	f.Add(`metadata.annotations.x\.y/z`)
	f.Fuzz(func(t *testing.T, path string) {
		steps, err := parsePath(path)
		if err != nil {
			return
		}
		in := parseYAML(t, overlayInput)
		_, _ = patched(in, steps, "value")
		_, _ = patched(in, steps, nil)
		if diff := cmp.Diff(parseYAML(t, overlayInput), in); diff != "" {
			t.Errorf("path %q changed its input (-before +after):\n%s", path, diff)
		}
	})
}

// parseYAML reads what Kubernetes would hand us: integers are int64.
func parseYAML(t *testing.T, s string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(s), &v); err != nil {
		t.Fatal(err)
	}
	return normal(v)
}

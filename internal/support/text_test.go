package support

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"isthmus.dev/isthmus/internal/resource"
)

const root = "../../"

// shown is a test whose text applies resources to real clusters.
type shown struct {
	// Sort is scenario, guide or end-to-end test; Name and Path are the test's.
	Sort, Name, Path string
	// Rows of kinds of this API, and fields of kinds of install.tetrate.io as "Kind spec.field" and "Kind spec.field=VALUE".
	Rows    map[row]bool
	Install map[string]bool
}

// readShown reads what scenarios, the guide and the end-to-end tests apply.
func readShown(t *testing.T, s *schema, crds []*crd) []*shown {
	t.Helper()
	var all []*shown
	add := func(sort, name, path, text string) {
		x := &shown{Sort: sort, Name: name, Path: path, Rows: map[row]bool{}, Install: map[string]bool{}}
		for _, doc := range documents(text) {
			s.readText(doc, x.Rows)
			readInstalled(doc, crds, x.Install)
		}
		if len(x.Rows)+len(x.Install) > 0 {
			all = append(all, x)
		}
	}
	for _, path := range glob(t, "test/scenarios/testdata/*.txtar") {
		add("scenario", nameOf(path), path, applied(read(t, path)))
	}
	guide := read(t, "docs/guide/two-clusters.md")
	for _, path := range glob(t, "examples/bookinfo/guide/*.yaml") {
		guide += "\n---\n" + read(t, path)
	}
	add("guide", "two-clusters", "docs/guide/two-clusters.md", guide)
	for _, path := range glob(t, "test/e2e/*_test.go") {
		add("end-to-end test", nameOf(path), path, read(t, path))
	}
	return all
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(root + pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no %s (err %v)", pattern, err)
	}
	for i, p := range paths {
		paths[i] = strings.TrimPrefix(filepath.ToSlash(p), root)
	}
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func nameOf(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), "_test")
}

var placeholder = regexp.MustCompile(`\$\{[^}\n]*\}`)

// applied is what a scenario applies, with some text in the place of what is only known when it runs.
func applied(text string) string {
	var b strings.Builder
	for _, f := range txtar.Parse([]byte(text)).Files {
		if strings.HasPrefix(f.Name, "apply ") {
			b.WriteString("---\n" + placeholder.ReplaceAllStringFunc(string(f.Data), func(p string) string {
				if p == "${group}" || p == "${workspace}" {
					return "workspace: w"
				}
				return "x"
			}))
		}
	}
	return b.String()
}

// documents are the YAML documents of this product in a text: from a line that says apiVersion to one that is none of it.
func documents(text string) []map[string]any {
	var out []map[string]any
	var doc []string
	end := func() {
		var v map[string]any
		if len(doc) > 0 && yaml.Unmarshal([]byte(strings.Join(doc, "\n")), &v) == nil && v != nil {
			out = append(out, v)
		}
		doc = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		start := strings.TrimPrefix(line[strings.LastIndexByte(line, '`')+1:], "{")
		switch {
		case strings.HasPrefix(start, "apiVersion:") && strings.Contains(start, "tetrate.io/"):
			end()
			doc = []string{line[strings.LastIndexByte(line, '`')+1:]}
		case line == "---" || line == "YAML" || strings.HasPrefix(line, "`") || strings.HasPrefix(line, "-- "):
			end()
		case doc != nil && strings.Contains(line, "`"):
			doc = append(doc, line[:strings.IndexByte(line, '`')])
			end()
		case doc != nil:
			doc = append(doc, line)
		}
	}
	end()
	return out
}

// readText notes the rows that a document has a value of.
func (s *schema) readText(doc map[string]any, seen map[row]bool) {
	version, _ := doc["apiVersion"].(string)
	kind, _ := doc["kind"].(string)
	k := resource.ByID(version + "/" + kind)
	spec, _ := doc["spec"].(map[string]any)
	if k == nil || spec == nil {
		return
	}
	md := k.Spec().ProtoReflect().Descriptor()
	s.readMap(spec, md, md.FullName(), "", seen)
}

func (s *schema) readMap(v map[string]any, md protoreflect.MessageDescriptor, owner protoreflect.FullName, prefix string, seen map[row]bool) {
	for key, x := range v {
		fd := md.Fields().ByJSONName(key)
		if fd == nil || x == nil {
			continue
		}
		r := row{Owner: owner, Path: prefix + label(fd)}
		seen[r] = true
		if text, ok := x.(string); ok && fd.Kind() == protoreflect.EnumKind {
			seen[row{Owner: owner, Path: r.Path, Value: text}] = true
		}
		inner := object(fd)
		if inner == nil {
			continue
		}
		at, path := owner, r.Path+"."
		if s.shared[inner.FullName()] {
			at, path = inner.FullName(), ""
		}
		for _, m := range messages(x, fd.IsMap()) {
			s.readMap(m, inner, at, path, seen)
		}
	}
}

// messages in a value: itself, or the elements of the list or of the map that it is.
func messages(x any, isMap bool) []map[string]any {
	var out []map[string]any
	switch x := x.(type) {
	case map[string]any:
		if !isMap {
			return []map[string]any{x}
		}
		for _, v := range x {
			out = append(out, messages(v, false)...)
		}
	case []any:
		for _, v := range x {
			out = append(out, messages(v, false)...)
		}
	}
	return out
}

package support

import (
	"fmt"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func kindNames() map[protoreflect.FullName]string {
	out := map[protoreflect.FullName]string{}
	for _, k := range ownKinds() {
		out[k.Spec().ProtoReflect().Descriptor().FullName()] = k.Name
	}
	return out
}

const intro = `# What works

Every field of every kind, and every value of those that have a few: it **works**, or it is **refused**. It is made from the tests, by ` + "`go test ./internal/support -update`" + `, and a field
of which no test shows the one or the other fails them.

- A *scenario*, the *guide* and an *end-to-end test* send real requests through real gateways, configured with the field.
- A *golden* shows what is rendered, and that it is something else without the field. Istio and Envoy take it, and where the golden has a ` + "`walk.yaml`" + `, requests are sent through it
  ([test/istio](../../test/istio/README.md)).
- A *test* shows what is not translated: the server acts on the field, fills it in, or keeps it for people.
- What is refused is stored and given back, and the status of the resource names the field with the reason [NotTranslated](conditions.md), as the golden shows; no
  server is exposed without a guard that was asked for.
  *Not in* names a golden with a combination in which a field that works is refused. What the server would fill in and never does is refused, too.

A value that is not listed is that of the absent field. [Kinds](kinds.md) says what the fields mean and which texts are accepted.

`

// page writes the reference page.
func (e *evidence) page(install []installed) string {
	var b, body strings.Builder
	counts := map[string]int{}
	kinds := len(ownKinds())
	for i, sec := range e.schema.sections {
		if i == kinds {
			body.WriteString("\n# Objects of several kinds\n")
		}
		fmt.Fprintf(&body, "\n## %s\n\n", sec.Title)
		if len(sec.Rows) == 0 {
			body.WriteString("It has no fields.\n")
			continue
		}
		body.WriteString("| field | | shown by |\n|---|---|---|\n")
		for j := 0; j < len(sec.Rows); j++ {
			r, more := sec.Rows[j], ""
			n := e.refusedBelow(sec, j)
			if n > 0 {
				more = " and all in it"
			}
			f := e.found[r]
			fmt.Fprintf(&body, "| %s%s | %s | %s |\n", e.cell(r), more, f.State, f.cell("internal/istio"))
			count(counts, f, n+1)
			j += n
		}
	}
	body.WriteString("\n# Kinds of `install.tetrate.io`\n")
	kind := "-"
	for _, x := range install {
		if x.Kind != kind {
			kind = x.Kind
			title := "install.tetrate.io " + kind
			if kind == "" {
				title = "All kinds of install.tetrate.io"
			}
			fmt.Fprintf(&body, "\n## %s\n\n| field | | shown by |\n|---|---|---|\n", title)
		}
		path, value, _ := strings.Cut(x.Field, "=")
		fmt.Fprintf(&body, "| %s | %s | %s |\n", fieldCell(path, value), x.State, x.cell("internal/installer"))
		count(counts, x.finding, 1)
	}
	b.WriteString(intro)
	fmt.Fprintf(&b, "%d fields and values work, %d of them shown by real requests; %d are refused.\n", counts[works], counts["requests"], counts[refused])
	b.WriteString(body.String())
	return b.String()
}

func count(counts map[string]int, f finding, n int) {
	counts[f.State] += n
	if f.State == works && f.Test != nil {
		counts["requests"] += n
	}
}

// refusedBelow is how many rows that follow are in this one, when it and all of them are refused.
func (e *evidence) refusedBelow(sec section, i int) int {
	r, n := sec.Rows[i], 0
	if r.Value != "" || e.found[r].State != refused {
		return 0
	}
	for _, o := range sec.Rows[i+1:] {
		if !under(o.Path, r.Path) {
			break
		}
		if e.found[o].State != refused {
			return 0
		}
		n++
	}
	return n
}

// cell is a row's field, with a link to what it is made of.
func (e *evidence) cell(r row) string {
	text := fieldCell(r.Path, r.Value)
	if owner := e.schema.links[r]; owner != "" && r.Value == "" {
		for _, sec := range e.schema.sections {
			if sec.Owner == owner {
				text += fmt.Sprintf(": [%s](#%s)", sec.Title, anchor(sec.Title))
			}
		}
	}
	return text
}

// anchor is where a title can be linked to.
func anchor(title string) string {
	return strings.NewReplacer(".", "", "(", "", ")", "", "/", "", " ", "-").Replace(strings.ToLower(title))
}

func fieldCell(path, value string) string {
	if value != "" {
		return fmt.Sprintf("`%s: %s`", path, value)
	}
	return "`" + path + "`"
}

// cell says which tests show the state. Goldens are in a package.
func (f finding) cell(pkg string) string {
	var parts []string
	if f.Test != nil {
		parts = append(parts, fmt.Sprintf("%s [%s](../../%s)", f.Test.Sort, f.Test.Name, f.Test.Path))
	}
	if f.Golden != "" {
		parts = append(parts, "golden "+goldenLink(pkg, f.Golden))
	}
	if f.Proof != nil {
		parts = append(parts, fmt.Sprintf("test [%s](../../%s)", nameOf(f.Proof.Test), filepath.ToSlash(f.Proof.Test)))
	}
	if f.Not != "" {
		parts = append(parts, "not in "+goldenLink(pkg, f.Not))
	}
	text := strings.Join(parts, ", ")
	if f.Note != "" {
		text = f.Note + ": " + text
	}
	return text
}

func goldenLink(pkg, name string) string {
	return fmt.Sprintf("[%s](../../%s/testdata/golden/%s.txtar)", name, pkg, name)
}

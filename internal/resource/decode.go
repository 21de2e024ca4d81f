package resource

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"go.yaml.in/yaml/v3"
)

// maxLists is how deep lists of objects may be nested.
const maxLists = 4

// DefaultLimit is how large a file may be.
const DefaultLimit = 16 << 20

// File is text that somebody wrote, and what to call it in messages.
type File struct {
	Name string
	Data []byte
}

// Decoded is one object of a file: a resource, or something that another tool applies.
type Decoded struct {
	File           string
	Line, Document int
	// Object is what people call it: "IngressGateway bookinfo-gw".
	Object string
	// Resource is nil when the object is foreign.
	Resource *Resource
	// Etag is the one in the text: what the writer believes is stored. Empty when there is none.
	Etag string
	// Foreign is the command that applies the object, "kubectl apply", when it is not of this API.
	Foreign string
	// Warnings are about what is accepted but should be written in another way.
	Warnings []Problem
}

// Refusal is the problem of a foreign object for those who can only take resources.
func (d Decoded) Refusal() Problem {
	return Problem{
		File: d.File, Line: d.Line, Document: d.Document, Object: d.Object,
		Message: fmt.Sprintf("is not of this API: use %q", d.Foreign),
	}
}

// Decoder reads text. The zero value is ready.
type Decoder struct {
	Limit int // bytes per file; 0 means DefaultLimit
}

// Decode reads files with the default limit.
func Decode(files []File) ([]Decoded, []Problem) { return Decoder{}.Decode(files) }

// Decode reads all documents of all files, YAML or JSON, and checks each resource. It never stops at a problem: what
// it returns are all objects that have none, and all problems, sorted by file (in the given order), document and line.
func (d Decoder) Decode(files []File) ([]Decoded, []Problem) {
	var docs []*document
	var problems []Problem
	order := make(map[string]int, len(files))
	for i, f := range files {
		order[f.Name] = i
		limit := cmp.Or(d.Limit, DefaultLimit)
		if len(f.Data) > limit {
			problems = append(problems, Problem{File: f.Name, Message: fmt.Sprintf(
				"is larger than the limit of %s per file: split it", size(limit))})
			continue
		}
		for n, c := range split(f.Data) {
			docs = append(docs, &document{file: f.Name, number: n + 1, chunk: c})
		}
	}
	decodeAll(docs)
	var decoded []Decoded
	found := map[string]bool{}
	for _, doc := range docs {
		found[doc.file] = found[doc.file] || !doc.empty
		decoded = append(decoded, doc.decoded...)
		problems = append(problems, doc.problems...)
	}
	for _, f := range files {
		if !found[f.Name] && len(f.Data) <= cmp.Or(d.Limit, DefaultLimit) {
			problems = append(problems, Problem{File: f.Name, Message: "has no documents"})
		}
	}
	problems = append(problems, twice(decoded)...)
	return decoded, sortProblems(order, problems)
}

// size is a number of bytes for people.
func size(n int) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

// decodeAll decodes documents on all processors; none knows of another.
func decodeAll(docs []*document) {
	workers := min(runtime.GOMAXPROCS(0), len(docs))
	const batch = 16
	next := make(chan []*document, len(docs)/batch+1)
	for part := range slices.Chunk(docs, batch) {
		next <- part
	}
	close(next)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			w := newWalker(nil)
			for part := range next {
				for _, doc := range part {
					w.next(doc)
					doc.decode(w)
				}
			}
		})
	}
	wg.Wait()
}

// twice finds resources that are there more than once.
func twice(decoded []Decoded) []Problem {
	var problems []Problem
	first := make(map[FQN]Decoded, len(decoded))
	for _, d := range decoded {
		if d.Resource == nil {
			continue
		}
		if f, ok := first[d.Resource.FQN]; ok {
			message := fmt.Sprintf("the resource is there twice, first in %s:%d", f.File, f.Line)
			if a, b := f.Resource.Object.GetNamespace(), d.Resource.Object.GetNamespace(); a != b {
				message += fmt.Sprintf(" with the namespace %q: %s", a, UniqueInGroup)
			}
			problems = append(problems, Problem{
				File: d.File, Line: d.Line, Document: d.Document, Object: d.Object, Resource: d.Resource.FQN,
				Field: "metadata.name", Message: message,
			})
			continue
		}
		first[d.Resource.FQN] = d
	}
	return problems
}

// document is one document on its way from text to resources.
type document struct {
	file   string
	number int
	chunk  chunk

	object string
	fqn    FQN
	// meant are the fields that misplaced and misspelt keys stand for.
	meant    []string
	empty    bool
	decoded  []Decoded
	problems []Problem
}

// problem reports a problem at a line of the chunk.
func (d *document) problem(line int, field, format string, args ...any) {
	if line > 0 {
		line += d.chunk.above
	}
	d.problems = append(d.problems, Problem{
		File: d.file, Line: line, Document: d.number, Object: d.object, Resource: d.fqn,
		Field: field, Message: fmt.Sprintf(format, args...),
	})
}

func (d *document) decode(w *walker) {
	root, line, wrong := d.chunk.parse()
	if wrong != "" {
		d.problem(line-d.chunk.above, "", "%s", wrong)
		return
	}
	if root == nil {
		d.empty = true
		return
	}
	d.root(w, root, 0)
}

// root decodes an object, or each item of a list of objects.
func (d *document) root(w *walker, n *yaml.Node, depth int) {
	d.object, d.fqn, d.meant = "", "", nil
	n, ok := w.enter(n, "")
	switch {
	case !ok:
		return
	case n.Kind == yaml.SequenceNode:
		w.at(n, "", "must be an object with apiVersion, kind, metadata and spec, not a list: use kind: List, or leave out the '-'")
		return
	case n.Kind != yaml.MappingNode:
		w.at(n, "", "must be an object with apiVersion, kind, metadata and spec, not %s", describe(n))
		return
	}
	if line := secondObject(n); line > 0 {
		d.problem(line, "", "a second object starts here: put '---' in a line before it")
		return
	}
	before := len(d.problems)
	e := d.envelope(w, n)
	if e == nil {
		return
	}
	if e.items != nil && depth == maxLists {
		w.at(n, "items", "lists are nested deeper than %d levels", maxLists)
		return
	}
	if e.items != nil {
		for _, item := range e.items.Content {
			d.root(w, item, depth+1)
		}
		return
	}
	d.object = e.object()
	for i := range d.problems[before:] {
		d.problems[before+i].Object = d.object
	}
	kind, foreign := d.kind(w, e)
	if foreign != "" {
		d.decoded = append(d.decoded, Decoded{
			File: d.file, Line: n.Line + d.chunk.above, Document: d.number, Object: d.object, Foreign: foreign,
		})
		d.problems = d.problems[:before] // what another tool reads has other rules
	}
	if kind != nil {
		d.resource(w, e, kind, before)
	}
}

// secondObject is the line of a second apiVersion or kind in a mapping; 0 when there is none.
func secondObject(n *yaml.Node) int {
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		key := envelopeKey(n.Content[i].Value)
		if seen[key] && (key == "apiVersion" || key == "kind") {
			return n.Content[i].Line
		}
		seen[key] = true
	}
	return 0
}

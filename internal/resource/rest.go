package resource

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// EncodeREST is a resource as REST answers it: flat JSON with sorted keys.
func EncodeREST(r *Resource) []byte { return mustJSON(Flat(r)) }

// EncodeRESTList is a list of resources of one plural as REST answers it: {"<plural>": [...]}.
func EncodeRESTList(plural string, rs []*Resource) []byte {
	items := make([]any, 0, len(rs))
	for _, r := range rs {
		items = append(items, Flat(r))
	}
	return mustJSON(map[string]any{plural: items})
}

// DecodeREST reads the body of a PUT: flat JSON. The etag is the one in the body. The resource is nil when there are
// problems.
func DecodeREST(kind *Kind, fqn FQN, body []byte) (r *Resource, etag string, problems []Problem) {
	d := &document{fqn: fqn, object: kind.Name + " " + fqn.Name()}
	root := d.json(body)
	if root == nil {
		return nil, "", d.restProblems()
	}
	return d.rest(kind, root)
}

// DecodeCreate reads the body of a POST below parent: {"name": "x", "<singular>": {...}}. The key of the resource is
// matched in any case; the name of the kind and its plural ("settings") are understood as well.
func DecodeCreate(kind *Kind, parent FQN, body []byte) (*Resource, []Problem) {
	d := &document{object: kind.Name}
	root := d.json(body)
	if root == nil {
		return nil, d.restProblems()
	}
	w := newWalker(d)
	var name string
	spec := &yaml.Node{Kind: yaml.MappingNode, Line: root.Line}
	for _, p := range w.pairs(root, "", 0) {
		switch {
		case p.name == "name":
			name = d.word(w, p.value, "name")
		case strings.EqualFold(p.name, kind.Singular), strings.EqualFold(p.name, kind.Name), p.name == kind.Plural:
			spec = p.value
		case p.name == "parent" && p.value.Value == string(parent):
		default:
			w.at(p.key, p.name, "there is no field %q beside name and %s", p.name, kind.Singular)
		}
	}
	if why := nameProblem(kind, name); why != "" && !d.reported("name") {
		w.at(root, "name", "%s", why)
	}
	d.fqn = parent.Child(kind.Plural, name)
	d.object = strings.TrimSpace(kind.Name + " " + name)
	r, _, problems := d.rest(kind, spec)
	return r, problems
}

// json parses a body; nil after a problem.
func (d *document) json(body []byte) *yaml.Node {
	chunks, ok := splitJSON(body)
	if !ok || len(chunks) != 1 {
		d.problem(0, "", "the body must be one JSON object")
		return nil
	}
	d.chunk = chunks[0]
	root, line, wrong := d.chunk.parse()
	switch {
	case wrong != "":
		d.problem(line, "", "%s", wrong)
		return nil
	case root == nil || root.Kind != yaml.MappingNode:
		d.problem(0, "", "the body must be one JSON object")
		return nil
	}
	return root
}

// rest makes a resource of its flat form, and checks it.
func (d *document) rest(kind *Kind, n *yaml.Node) (*Resource, string, []Problem) {
	r, etag := d.flat(kind, n)
	known := d.saidBefore(0)
	for _, p := range Check(r) {
		if !known.related(p.Field) && (p.Field != "fqn" || !d.reported("name")) {
			d.problems = append(d.problems, p)
			if !kind.Istio() {
				known.add(p.Field)
			}
		}
	}
	if len(d.problems) > 0 {
		return nil, etag, d.restProblems()
	}
	return r, etag, nil
}

// flat makes a resource of its flat form.
func (d *document) flat(kind *Kind, n *yaml.Node) (r *Resource, etag string) {
	w, whole := newWalker(d), n
	r = &Resource{Kind: kind, FQN: d.fqn, Spec: kind.Spec()}
	if kind.Istio() {
		n = d.restObject(w, r, n)
	}
	w.message(n, r.Spec.ProtoReflect(), "spec")
	if f := lookup(whole, "fqn"); f != nil && f.Value != "" && f.Value != string(d.fqn) && !isNull(f) {
		w.at(f, "spec.fqn", "is %q, but the path says %q", f.Value, d.fqn)
	}
	if e := lookup(whole, "etag"); e != nil && e.Kind == yaml.ScalarNode && !isNull(e) {
		etag = e.Value
	}
	clearOutput(r.Spec.ProtoReflect())
	r.Etag = Etag(r)
	return r, etag
}

// restProblems are the problems without places: a body has no file and no document.
func (d *document) restProblems() []Problem {
	for i := range d.problems {
		p := &d.problems[i]
		p.File, p.Document, p.Line, p.Resource, p.Object = "", 0, 0, d.fqn, d.object
	}
	return sortProblems(nil, d.problems)
}

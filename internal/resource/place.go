package resource

import (
	"cmp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// resource makes a resource of an object whose kind is known. Problems from before on are about it.
func (d *document) resource(w *walker, e *envelope, kind *Kind, before int) {
	if d.strangeKeys(w, e, kind) {
		return // everything else would be a consequence
	}
	fqn := d.place(w, e, kind)
	d.fqn = fqn
	spec := kind.Spec()
	if e.spec != nil {
		w.message(e.spec, spec.ProtoReflect(), "spec")
	}
	etag := d.outputs(w, e, fqn)
	r := &Resource{Kind: kind, FQN: cmp.Or(fqn, FQN("?")), Spec: spec} // the walker sets no output fields
	d.fromMetadata(e, r)
	for i := range d.problems[before:] {
		d.problems[before+i].Resource = fqn
	}
	known := d.saidBefore(before)
	for _, p := range checkSpec(r) {
		if !known.related(p.Field) {
			d.problem(e.line(p.Field), p.Field, "%s", p.Message)
			if !kind.Istio() {
				known.add(p.Field)
			}
		}
	}
	if len(d.problems) > before {
		return
	}
	r.Etag = Etag(r)
	decoded := Decoded{
		File: d.file, Line: e.root.Line + d.chunk.above, Document: d.number, Object: d.object, Resource: r, Etag: etag,
	}
	for _, warning := range w.warnings(r) {
		warning.File, warning.Document, warning.Object = d.file, d.number, d.object
		warning.Line = e.line(warning.Field) + d.chunk.above
		decoded.Warnings = append(decoded.Warnings, warning)
	}
	slices.SortStableFunc(decoded.Warnings, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	d.decoded = append(d.decoded, decoded)
}

// warnings are those of Warnings, which is asked only when there can be some.
func (w *walker) warnings(r *Resource) []Problem {
	if !w.old && r.Kind.Instead == "" && !r.Kind.Istio() {
		return nil
	}
	return Warnings(r)
}

// place finds the full name of an object: from its parents' keys, from annotations, or as it stands there.
func (d *document) place(w *walker, e *envelope, kind *Kind) FQN {
	before := len(d.problems)
	given, field := d.givenFQN(e)
	d.foreignKeys(e, kind)
	line := kind.Lineage()
	fqn := FQN("")
	missing := false
	for i, k := range line {
		value, at, key := e.name(k, i == len(line)-1)
		switch {
		case value == "":
			missing = true
			if given.value == "" && !d.reported(key) && !slices.Contains(d.meant, key) {
				d.problem(e.metaLine(), key, "is missing")
			}
		case nameProblem(k, value) != "":
			d.problem(at, key, "%s", nameProblem(k, value))
		}
		fqn = fqn.Child(k.Plural, value)
	}
	if given.value == "" {
		if missing || len(d.problems) > before {
			return ""
		}
		return fqn
	}
	parsed, of, err := ParseFQN(given.value)
	switch {
	case err != nil:
		d.problem(given.line, field, "%v", err)
	case of != kind:
		d.problem(given.line, field, "%q is the name of %s, not of %s", given.value, of.Noun(), kind.Noun())
	case !agrees(e, line, parsed):
		d.problem(given.line, field, "is %q, but the other keys of metadata say something else", given.value)
	}
	if len(d.problems) > before {
		return ""
	}
	if d.object == kind.Name {
		d.object += " " + parsed.Name()
	}
	return parsed
}

// givenFQN is the full name that an object states, and where.
func (d *document) givenFQN(e *envelope) (text, string) {
	if t := e.meta["fqn"]; t.value != "" {
		return t, "metadata.fqn"
	}
	if t, field, _ := e.placing("fqn"); t.value != "" {
		return t, field
	}
	if n := lookup(e.spec, "fqn"); n != nil && n.Kind == yaml.ScalarNode && !isNull(n) {
		return text{n.Value, n.Line}, "spec.fqn"
	}
	return text{}, ""
}

// name is what an object says about one level of its full name, with line and field.
func (e *envelope) name(k *Kind, own bool) (value string, line int, field string) {
	if own {
		t := e.meta["name"]
		return t.value, t.line, "metadata.name"
	}
	field = "metadata." + k.Key
	if t, ok := e.meta[k.Key]; ok {
		return t.value, t.line, field
	}
	if t, at, ok := e.placing(cmp.Or(k.Annotation, k.Key)); ok {
		return t.value, t.line, at
	}
	return "", 0, field
}

// placing is an annotation that places an object, or a label, which objects of Istio's kinds may have instead.
func (e *envelope) placing(key string) (t text, field string, ok bool) {
	if t, ok = e.annotations[annotationPrefix+key]; ok {
		return t, mapPath("metadata.annotations", annotationPrefix+key), true
	}
	t, ok = e.labels[annotationPrefix+key]
	return t, mapPath("metadata.labels", annotationPrefix+key), ok
}

func (e *envelope) metaLine() int {
	if e.metadata != nil {
		return e.metadata.Line
	}
	return e.root.Line
}

// agrees says whether what the keys of metadata say is in a full name.
func agrees(e *envelope, line []*Kind, fqn FQN) bool {
	for i, k := range line {
		value, _, _ := e.name(k, i == len(line)-1)
		if value != "" && fqn.Ancestor(k.Plural).Name() != value {
			return false
		}
	}
	return true
}

// foreignKeys reports keys that place something else than a kind, and keys that contradict an annotation.
func (d *document) foreignKeys(e *envelope, kind *Kind) {
	line := kind.Lineage()
	for _, key := range []string{"organization", "tenant", "workspace", "group", "cluster", "application", "api"} {
		t, ok := e.meta[key]
		if !ok || t.value == "" {
			continue
		}
		i := slices.IndexFunc(line, func(k *Kind) bool { return k.Key == key })
		switch {
		case i < 0:
			d.problem(t.line, "metadata."+key, "%s does not belong to %s", kind.Noun(), withArticle(key))
		case i == len(line)-1:
			if t.value != e.meta["name"].value {
				d.problem(t.line, "metadata."+key, "is %q, but metadata.name is %q", t.value, e.meta["name"].value)
			}
		default:
			a, _, ok := e.placing(cmp.Or(line[i].Annotation, key))
			if ok && a.value != t.value {
				d.problem(t.line, "metadata."+key, "is %q, but the annotation says %q", t.value, a.value)
			}
		}
	}
}

// outputs reads the output fields that say something about the writer's belief: fqn is compared, the etag returned.
func (d *document) outputs(w *walker, e *envelope, fqn FQN) (etag string) {
	if n := lookup(e.spec, "fqn"); n != nil && n.Value != "" && fqn != "" && n.Value != string(fqn) {
		w.at(n, "spec.fqn", "is %q, but metadata says %q", n.Value, fqn)
	}
	if n := lookup(e.spec, "etag"); n != nil && n.Kind == yaml.ScalarNode && n.Value != "" {
		return n.Value
	}
	// Kubernetes has resource versions of its own, which are no etags of ours.
	if v := e.meta["resourceVersion"].value; strings.HasPrefix(v, `"`) {
		return v
	}
	return ""
}

// fromMetadata copies what may stand in metadata as well as in the specification. The specification wins. Of an object of Istio's
// kinds it is kept beside the specification.
func (d *document) fromMetadata(e *envelope, r *Resource) {
	if r.Kind.Istio() {
		r.Object = e.objectMeta()
		return
	}
	m := r.Spec.ProtoReflect()
	fields := m.Descriptor().Fields()
	for _, key := range []string{"displayName", "description"} {
		fd, t := fields.ByJSONName(key), e.meta[key]
		if fd != nil && t.value != "" && !m.Has(fd) {
			m.Set(fd, protoreflect.ValueOfString(t.value))
		}
	}
	fd := fields.ByJSONName("configGenerationMetadata")
	if fd == nil {
		return
	}
	for key, texts := range map[string]map[string]text{"labels": e.labels, "annotations": e.annotations} {
		for k, t := range texts {
			if strings.HasPrefix(k, annotationPrefix) || strings.Contains(k, "kubernetes.io/") || strings.HasPrefix(k, "argocd.argoproj.io/") {
				continue // they are about the text, not about what is made from it
			}
			sub := m.Mutable(fd).Message()
			mp := sub.Mutable(sub.Descriptor().Fields().ByJSONName(key)).Map()
			if mk := protoreflect.ValueOfString(k).MapKey(); !mp.Has(mk) {
				mp.Set(mk, protoreflect.ValueOfString(t.value))
			}
		}
	}
}

// lookup returns the value of a key of a mapping, nil when there is none.
func lookup(n *yaml.Node, key string) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// line is where a field is in the text: its own line, or that of the nearest part of it that is there.
func (e *envelope) line(field string) int {
	n, line := e.root, e.root.Line
	for i, step := range steps(field) {
		next := (*yaml.Node)(nil)
		switch {
		case i == 0 && step.key == "spec":
			next = e.spec
		case i == 0 && step.key == "metadata":
			next = e.metadata
		case step.key != "":
			if key := keyNode(n, step.key); key != nil {
				line = key.Line
			}
			next = lookup(n, step.key)
		case n.Kind == yaml.SequenceNode && step.index < len(n.Content):
			next = n.Content[step.index]
			line = next.Line
		}
		if next == nil {
			return line
		}
		if next.Kind == yaml.AliasNode {
			next = next.Alias
		}
		if i == 0 {
			line = next.Line
		}
		n = next
	}
	return line
}

func keyNode(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i]
		}
	}
	return nil
}

// step is one part of a field path: a key, or an index when key is empty.
type step struct {
	key   string
	index int
}

// steps cuts a path such as `spec.http[0].match[1].headers["x.y"].exact` into its parts.
func steps(path string) []step {
	var all []step
	for path != "" {
		switch {
		case path[0] == '.':
			path = path[1:]
		case strings.HasPrefix(path, `["`):
			end := strings.Index(path, `"]`)
			if end < 0 {
				return all
			}
			all = append(all, step{key: path[2:end]})
			path = path[end+2:]
		case path[0] == '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return all
			}
			index := 0
			for _, c := range path[1:end] {
				index = index*10 + int(c-'0')
			}
			all = append(all, step{index: index})
			path = path[end+1:]
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			all = append(all, step{key: path[:end]})
			path = path[end:]
		}
	}
	return all
}

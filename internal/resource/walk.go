package resource

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Bounds of one document. They are far above what people write and far below what hurts.
const (
	maxDepth    = 64
	maxExpanded = 1 << 20 // nodes, those repeated by aliases counted each time
)

// walker fills a message from YAML and gathers all problems on the way.
type walker struct {
	doc      *document
	tables   map[protoreflect.FullName]fieldTable
	old      bool // a deprecated field is used
	stack    []level
	expanded int
	full     bool // the bound on nodes was reached and reported
}

func newWalker(d *document) *walker {
	return &walker{doc: d, tables: map[protoreflect.FullName]fieldTable{}}
}

// next makes the walker ready for another document.
func (w *walker) next(d *document) {
	w.doc, w.stack, w.expanded, w.full, w.old = d, w.stack[:0], 0, false, false
}

func (w *walker) table(desc protoreflect.MessageDescriptor) fieldTable {
	t, ok := w.tables[desc.FullName()]
	if !ok {
		t = newFieldTable(desc)
		w.tables[desc.FullName()] = t
	}
	return t
}

// at reports a problem at a node.
func (w *walker) at(n *yaml.Node, field, format string, args ...any) {
	w.doc.problem(n.Line, field, format, args...)
}

// enter resolves aliases and counts nodes; false means that the bounds are exceeded.
func (w *walker) enter(n *yaml.Node, path string) (*yaml.Node, bool) {
	w.expanded++
	if w.expanded > maxExpanded {
		if !w.full {
			w.full = true
			w.at(n, path, "the document has more than %d values once its aliases are expanded", maxExpanded)
		}
		return n, false
	}
	if len(w.stack) > maxDepth {
		w.at(n, path, "the document is nested deeper than %d levels", maxDepth)
		return n, false
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias, true
	}
	return n, true
}

// pair is one key of a mapping and its value, merge keys resolved.
type pair struct {
	key   *yaml.Node
	name  string
	value *yaml.Node
}

// pairs returns the keys of a mapping, each once: duplicates are problems, own keys hide merged ones.
func (w *walker) pairs(n *yaml.Node, path string, depth int) []pair {
	if depth > maxDepth {
		w.at(n, path, "the document is nested deeper than %d levels", maxDepth)
		return nil
	}
	w.expanded += len(n.Content) / 2
	var own, merged []pair
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind == yaml.MappingNode:
			w.at(k, path, "%s", notRendered)
		case k.Kind != yaml.ScalarNode:
			w.at(k, path, "a key must be a word")
		case k.ShortTag() == "!!merge":
			merged = append(merged, w.merge(v, path, depth)...)
		case lines[k.Value] > 0:
			w.at(k, join(path, k.Value), "the key is there twice, first in line %d", lines[k.Value]+w.doc.chunk.above)
		default:
			lines[k.Value] = k.Line
			own = append(own, pair{key: k, name: k.Value, value: v})
		}
	}
	for _, p := range merged {
		if lines[p.name] == 0 {
			lines[p.name] = p.key.Line
			own = append(own, p)
		}
	}
	return own
}

// merge returns the pairs of the value of a "<<" key.
func (w *walker) merge(n *yaml.Node, path string, depth int) []pair {
	n, ok := w.enter(n, path)
	if !ok {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return w.pairs(n, path, depth+1)
	case yaml.SequenceNode:
		var all []pair
		for _, c := range n.Content {
			if depth < maxDepth {
				all = append(all, w.merge(c, path, depth+1)...)
			}
		}
		return all
	}
	w.at(n, path, "\"<<\" merges objects, not a %s", describe(n))
	return nil
}

// message fills m from a mapping.
func (w *walker) message(n *yaml.Node, m protoreflect.Message, path string) {
	n, ok := w.enter(n, path)
	if !ok || isNull(n) {
		return
	}
	desc := m.Descriptor()
	if desc.FullName().Parent() == "google.protobuf" {
		w.wellKnown(n, m, path)
		return
	}
	if n.Kind != yaml.MappingNode {
		w.notObject(n, desc, path)
		return
	}
	w.stack = append(w.stack, level{desc, path})
	defer func() { w.stack = w.stack[:len(w.stack)-1] }()
	table := w.table(desc)
	for _, p := range w.pairs(n, path, 0) {
		info := table[p.name]
		switch {
		case info == nil && (template.MatchString(p.name) || placeholder.MatchString(p.name)):
			w.at(p.key, path, "%q %s", p.name, notRendered)
		case info == nil:
			message, meant := unknownKey(p.name, p.value, w.stack)
			w.doc.meant = append(w.doc.meant, meant)
			w.at(p.key, path+"."+p.name, "%s", message)
		case !info.output:
			w.old = w.old || info.old
			w.field(p, m, info, path+info.path)
		}
	}
}

// notObject says what to do where an object is expected and something else found.
func (w *walker) notObject(n *yaml.Node, desc protoreflect.MessageDescriptor, path string) {
	switch {
	case n.Kind == yaml.ScalarNode && placeholderProblem("", n.Value) != "":
		w.at(n, path, "%s", placeholderProblem("", n.Value))
	case n.Kind == yaml.SequenceNode:
		w.at(n, path, "must be an object, not a list: leave out the '-'")
	default:
		w.at(n, path, "must be an object with the fields %s, not %s", strings.Join(fieldNames(desc), ", "), describe(n))
	}
}

// field fills one field.
func (w *walker) field(p pair, m protoreflect.Message, info *fieldInfo, path string) {
	fd := info.fd
	n := p.value
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if isNull(n) {
		return // as if it were absent
	}
	if o := info.oneof; o != nil {
		if other := m.WhichOneof(o); other != nil && other != fd {
			w.at(p.key, path, "only one of %s can be set, and %s is", oneofNames(o), other.JSONName())
			return
		}
	}
	switch {
	case fd.IsMap():
		w.mapField(p.value, m, fd, path)
	case fd.IsList():
		w.list(p.value, m, fd, path)
	case fd.Message() != nil:
		w.message(p.value, m.Mutable(fd).Message(), path)
	default:
		if v, ok := w.scalar(p.value, fd, path); ok {
			m.Set(fd, v)
		}
	}
}

func (w *walker) list(n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, path string) {
	n, ok := w.enter(n, path)
	if !ok {
		return
	}
	if n.Kind != yaml.SequenceNode {
		why := "must be a list, not " + describe(n)
		if n.Kind == yaml.ScalarNode && placeholderProblem("", n.Value) != "" {
			why = placeholderProblem("", n.Value)
		} else if n.Kind == yaml.MappingNode {
			why += ": put '- ' before its first key"
		}
		w.at(n, path, "%s", why)
		return
	}
	if len(n.Content) == 0 {
		return
	}
	list := m.Mutable(fd).List()
	for i, c := range n.Content {
		at := path + "[" + itoa(i) + "]"
		if c.Kind == yaml.ScalarNode && isNull(c) {
			w.at(c, at, "is empty")
			continue
		}
		if fd.Message() != nil {
			w.message(c, list.AppendMutable().Message(), at)
		} else if v, ok := w.scalar(c, fd, at); ok {
			list.Append(v)
		}
	}
}

func (w *walker) mapField(n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, path string) {
	n, ok := w.enter(n, path)
	if !ok {
		return
	}
	if n.Kind != yaml.MappingNode {
		w.at(n, path, "must be an object with keys of your choice, not %s", describe(n))
		return
	}
	pairs := w.pairs(n, path, 0)
	if len(pairs) == 0 {
		return
	}
	mp := m.Mutable(fd).Map()
	for _, p := range pairs {
		at := mapPath(path, p.name)
		key, number := mapKey(fd.MapKey(), p.name)
		if !number {
			w.at(p.key, at, "the key must be a whole decimal number")
			continue
		}
		if why := placeholderProblem("", p.name); why != "" {
			w.at(p.key, path, "%s", why)
			continue
		}
		if isNull(p.value) {
			w.at(p.value, at, "has no value; write \"\" for an empty one")
			continue
		}
		if fd.MapValue().Message() != nil {
			w.message(p.value, mp.Mutable(key).Message(), at)
		} else if v, ok := w.scalar(p.value, fd.MapValue(), at); ok {
			mp.Set(key, v)
		}
	}
}

// mapKey is the key of a map; false for one that should be a number and is none.
func mapKey(fd protoreflect.FieldDescriptor, text string) (protoreflect.MapKey, bool) {
	if fd.Kind() == protoreflect.StringKind {
		return protoreflect.ValueOfString(text).MapKey(), true
	}
	v, why := parseNumber(text, fd, func() string { return "no number" })
	if why != "" {
		return protoreflect.MapKey{}, false
	}
	return v.MapKey(), true
}

func oneofNames(o protoreflect.OneofDescriptor) string {
	names := make([]string, 0, o.Fields().Len())
	for i := range o.Fields().Len() {
		names = append(names, o.Fields().Get(i).JSONName())
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// join appends a key to a path, which is empty at the top of a document.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// mapPath is the path of a map entry: keys such as "tsb.tetrate.io/x" have dots themselves.
func mapPath(path, key string) string { return fmt.Sprintf("%s[%q]", path, key) }

// describe says in words what a node is.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return "the boolean " + n.Value
	case "!!null":
		return "nothing"
	}
	if len(n.Value) > 40 {
		return fmt.Sprintf("the text %q…", n.Value[:40])
	}
	return fmt.Sprintf("the text %q", n.Value)
}

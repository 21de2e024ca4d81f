package support

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/resource"
)

// row is what needs evidence: a field, or a value of an enum field.
type row struct {
	// Owner is the table that the row is in: a kind, or an object that several fields share.
	Owner protoreflect.FullName
	// Path from there, for example "http[].tls". Value is empty for the field itself.
	Path, Value string
}

// section is one table of the page.
type section struct {
	Title string
	Owner protoreflect.FullName
	Rows  []row
}

// schema is what the kinds are made of.
type schema struct {
	// shared are the objects that more than one field has: they have a table of their own.
	shared map[protoreflect.FullName]bool
	// links are the rows that lead to such a table.
	links    map[row]protoreflect.FullName
	output   map[row]bool
	sections []section
}

func newSchema() *schema {
	s := &schema{shared: map[protoreflect.FullName]bool{}, links: map[row]protoreflect.FullName{}, output: map[row]bool{}}
	users := map[protoreflect.FullName]int{}
	for _, k := range ownKinds() {
		countUsers(k.Spec().ProtoReflect().Descriptor(), users)
	}
	for name, n := range users {
		s.shared[name] = n > 1
	}
	listed := map[protoreflect.FullName]bool{}
	var todo []protoreflect.MessageDescriptor
	add := func(title string, md protoreflect.MessageDescriptor) {
		listed[md.FullName()] = true
		s.sections = append(s.sections, section{Title: title, Owner: md.FullName(), Rows: s.rows(md.FullName(), md, "", false, &todo)})
	}
	for _, k := range ownKinds() {
		add(k.Name+" ("+k.APIVersion+")", k.Spec().ProtoReflect().Descriptor())
	}
	for len(todo) > 0 {
		m := todo[0]
		todo = todo[1:]
		if !listed[m.FullName()] {
			add(objectName(m), m)
		}
	}
	return s
}

// ownKinds are those of this API. Fields of Istio's kinds are passed on as they are.
func ownKinds() []*resource.Kind {
	return slices.DeleteFunc(slices.Clone(resource.Kinds), func(k *resource.Kind) bool { return k.Istio() || resource.Relatives(k)[0] != k })
}

// objectName is a message without its package.
func objectName(m protoreflect.MessageDescriptor) string {
	return strings.TrimPrefix(string(m.FullName()), string(m.ParentFile().Package())+".")
}

// countUsers counts the fields that have a message.
func countUsers(md protoreflect.MessageDescriptor, users map[protoreflect.FullName]int) {
	for i := range md.Fields().Len() {
		m := object(md.Fields().Get(i))
		if m == nil {
			continue
		}
		users[m.FullName()]++
		if users[m.FullName()] == 1 {
			countUsers(m, users)
		}
	}
}

// object is the message of a field or of the values of its map, nil for what has no fields to speak of.
func object(fd protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if fd.IsMap() {
		fd = fd.MapValue()
	}
	if m := fd.Message(); m != nil && m.FullName().Parent() != "google.protobuf" {
		return m
	}
	return nil
}

// rows of a message and of what only it has. Objects with a table of their own are added to more.
func (s *schema) rows(owner protoreflect.FullName, md protoreflect.MessageDescriptor, prefix string, output bool, more *[]protoreflect.MessageDescriptor) []row {
	var out []row
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		r := row{Owner: owner, Path: prefix + label(fd)}
		s.output[r] = output || proto.GetExtension(fd.Options(), typesv2.E_Output).(bool)
		out = append(out, r)
		if fd.Kind() == protoreflect.EnumKind {
			for j := range fd.Enum().Values().Len() {
				// The first value is what an absent field means.
				if v := fd.Enum().Values().Get(j); v.Number() != 0 {
					out = append(out, row{Owner: owner, Path: r.Path, Value: string(v.Name())})
					s.output[out[len(out)-1]] = s.output[r]
				}
			}
		}
		m := object(fd)
		switch {
		case m == nil:
		case s.shared[m.FullName()]:
			s.links[r] = m.FullName()
			*more = append(*more, m)
		default:
			out = append(out, s.rows(owner, m, r.Path+".", s.output[r], more)...)
		}
	}
	return out
}

// label is a field as a part of a path.
func label(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.IsMap() && object(fd) != nil:
		return fd.JSONName() + "{}"
	case fd.IsList():
		return fd.JSONName() + "[]"
	}
	return fd.JSONName()
}

// under says whether a path is that of something inside another one, or the same.
func under(path, of string) bool {
	rest, ok := strings.CutPrefix(path, of)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[' || rest[0] == '{')
}

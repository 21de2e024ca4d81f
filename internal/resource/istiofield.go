package resource

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Looking for fields costs a check of what is left of the object for every part that is left out. What all mistakes of an object may
// cost together is in bytes that are checked: enough for every field of objects that people write, and to halve the list that one of
// thousands of items is in. What Istio says counts several times, because it takes longer to put together than to find.
const (
	searchBytes = 16 << 20
	searchTimes = 64
	searchWords = 4
)

// fieldSearch finds the fields that Istio's words are about, which they do not say.
type fieldSearch struct {
	r     *Resource
	known map[string]bool // all that Istio says of the object
	whole proto.Message
	left  int // bytes that may still be checked
}

func newFieldSearch(r *Resource, wrong []string) *fieldSearch {
	s := &fieldSearch{r: r, known: map[string]bool{}, whole: proto.Clone(r.Spec), left: searchBytes + searchTimes*proto.Size(r.Spec)}
	for _, w := range wrong {
		s.known[w] = true
	}
	return s
}

// field is the innermost one without which Istio would not say the words, and nothing else either. It is the specification when
// something is missing, or several fields do not fit together, and what has been found so far when an object with many mistakes has
// cost enough.
func (s *fieldSearch) field(words string) string {
	m, path := s.whole.ProtoReflect(), "spec"
	for m != nil {
		cures := s.without(m, path, words)
		if len(cures) > 1 { // without one field another one may have no meaning
			cures = slices.DeleteFunc(cures, func(c cure) bool { return !mentions(words, c.fd, c.value) })
		}
		if len(cures) != 1 || s.left < 0 {
			break
		}
		m, path = inside(cures[0].fd, cures[0].value), cures[0].path
	}
	return path
}

// cured says whether Istio says neither the words nor anything new of what is left of the object.
func (s *fieldSearch) cured(words string) bool {
	_, wrong := istioSays(s.r, s.whole)
	s.left -= proto.Size(s.whole) + 1
	cured := true
	for _, w := range wrong {
		s.left -= searchWords * len(w)
		cured = cured && w != words && s.known[w]
	}
	return cured
}

// cure is a field of a message, or an item of a list in it, without which nothing is wrong.
type cure struct {
	path  string
	fd    protoreflect.FieldDescriptor
	value protoreflect.Value
}

// without tries a message without each of its fields, and without each item of its lists. The message is the same afterwards.
func (s *fieldSearch) without(m protoreflect.Message, path, words string) []cure {
	var cures []cure
	for _, fd := range fieldsOf(m) {
		if s.left < 0 {
			break
		}
		v, at := m.Get(fd), path+"."+fd.JSONName()
		switch {
		case fd.IsList():
			items := itemsOf(v.List())
			for _, i := range s.items(m, fd, items, 0, len(items), words) {
				cures = append(cures, cure{at + "[" + itoa(i) + "]", fd, items[i]})
			}
			m.Set(fd, listOf(m, fd, items))
		default:
			if fd.IsMap() {
				v = mapOf(m, fd, v.Map())
			}
			m.Clear(fd)
			if s.cured(words) {
				cures = append(cures, cure{at, fd, v})
			}
			m.Set(fd, v)
		}
	}
	return cures
}

// fewItems are tried one by one: without several of them a list may lack something else.
const fewItems = 8

// items are those of a part of a list without which nothing is wrong. Of a long list, halves are left out.
func (s *fieldSearch) items(m protoreflect.Message, fd protoreflect.FieldDescriptor, items []protoreflect.Value, from, to int, words string) []int {
	var found []int
	step := 1
	if to-from > fewItems {
		step = (to - from + 1) / 2
	}
	for ; from < to && s.left >= 0; from += step {
		end := min(from+step, to)
		m.Set(fd, listOf(m, fd, slices.Delete(slices.Clone(items), from, end)))
		switch {
		case !s.cured(words):
		case step == 1:
			found = append(found, from)
		default:
			found = append(found, s.items(m, fd, items, from, end, words)...)
		}
	}
	return found
}

// fieldsOf are the fields that a message has, in their order.
func fieldsOf(m protoreflect.Message) []protoreflect.FieldDescriptor {
	var fields []protoreflect.FieldDescriptor
	m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		fields = append(fields, fd)
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return cmp.Compare(a.Number(), b.Number()) })
	return fields
}

// mentions says whether words have a text of a value in them.
func mentions(words string, fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
	if m := inside(fd, v); m != nil {
		found := false
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch {
			case fd.IsMap():
			case fd.IsList():
				found = slices.ContainsFunc(itemsOf(v.List()), func(v protoreflect.Value) bool { return mentions(words, fd, v) })
			default:
				found = mentions(words, fd, v)
			}
			return !found
		})
		return found
	}
	return fd.Kind() == protoreflect.StringKind && !fd.IsMap() && v.String() != "" && strings.Contains(words, v.String())
}

// inside is a value as a message with fields to look at, nil for any other.
func inside(fd protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Message {
	if fd.IsMap() || fd.Message() == nil || fd.Message().FullName().Parent() == "google.protobuf" {
		return nil
	}
	return v.Message()
}

func itemsOf(list protoreflect.List) []protoreflect.Value {
	items := make([]protoreflect.Value, list.Len())
	for i := range items {
		items[i] = list.Get(i)
	}
	return items
}

func listOf(m protoreflect.Message, fd protoreflect.FieldDescriptor, items []protoreflect.Value) protoreflect.Value {
	list := m.NewField(fd)
	for _, item := range items {
		list.List().Append(item)
	}
	return list
}

// mapOf is a copy of a map, which does not end with the field.
func mapOf(m protoreflect.Message, fd protoreflect.FieldDescriptor, from protoreflect.Map) protoreflect.Value {
	kept := m.NewField(fd)
	from.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		kept.Map().Set(k, v)
		return true
	})
	return kept
}

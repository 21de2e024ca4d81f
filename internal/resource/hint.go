package resource

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const notRendered = "looks like a template that was not rendered"

// placeholder matches values that a template engine, a shell or a person should have replaced.
var placeholder = regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*$|\$\{[A-Za-z_][^}]*\}|\{\{.*\}\}|^<[A-Za-z][\w .|-]*>(/|$)`)

// freeText are the fields in which such text can be meant.
var freeText = []string{"regex", "description", "displayName", "string", "jwks", "rules", "uri"}

// placeholderProblem says that a value was not filled in; empty when it looks like a value.
func placeholderProblem(field, value string) string {
	if slices.Contains(freeText, field) || !strings.ContainsAny(value, "${<") || !placeholder.MatchString(value) {
		return ""
	}
	return fmt.Sprintf("%q %s", value, notRendered)
}

// didYouMean returns the candidate that is nearest to a word, empty when none is near.
func didYouMean(word string, candidates []string) string {
	best, bestDistance := "", 1+min(2, len(word)/3)
	for _, c := range candidates {
		if strings.EqualFold(c, word) {
			return c
		}
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of single characters to insert, delete, replace or swap to get from a to b.
func distance(a, b string) int {
	if abs(len(a)-len(b)) > 3 {
		return 4
	}
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		last := row
		row = make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before = last
	}
	return row[len(b)]
}

// level is a message on the way from the specification to where the walker is.
type level struct {
	desc protoreflect.MessageDescriptor
	path string
}

// unknownKey says what is wrong with a key that a message does not have, and where it belongs: in a message around
// it, in one below it, or under a name that is almost the same. meant is the path of that field.
func unknownKey(key string, value *yaml.Node, stack []level) (message, meant string) {
	here := stack[len(stack)-1]
	unknown := fmt.Sprintf("there is no field %q in %s", key, here.path)
	near := didYouMean(key, fieldNames(here.desc))
	if near != "" && strings.EqualFold(near, key) {
		return fmt.Sprintf("%s; did you mean %q?", unknown, near), here.path + "." + near
	}
	for _, l := range slices.Backward(stack[:len(stack)-1]) {
		if hasField(l.desc, key, value) {
			return fmt.Sprintf("%s; it belongs to %s, less indented", unknown, l.path), l.path + "." + key
		}
	}
	if below := find(here.desc, here.path, key, value, 4); below != "" {
		return fmt.Sprintf("%s; it belongs to %s, more indented", unknown, below), below + "." + key
	}
	if near != "" {
		return fmt.Sprintf("%s; did you mean %q?", unknown, near), here.path + "." + near
	}
	if key == "name" || slices.Contains(metadataKeys, key) {
		return unknown + "; it belongs to metadata", "metadata." + key
	}
	if at := find(stack[0].desc, stack[0].path, key, value, 6); at != "" {
		return fmt.Sprintf("%s; it belongs to %s", unknown, at), at + "." + key
	}
	return unknown + "; its fields are " + strings.Join(fieldNames(here.desc), ", "), ""
}

// find returns the path of the nearest message below desc that has a field which takes a value, at most depth levels
// down; empty when there is none. Nearest first: the messages of one level before those of the next.
func find(desc protoreflect.MessageDescriptor, path, key string, value *yaml.Node, depth int) string {
	seen := map[protoreflect.FullName]bool{desc.FullName(): true}
	row := []level{{desc, path}}
	for range depth {
		var next []level
		for _, l := range row {
			for i := range l.desc.Fields().Len() {
				fd := l.desc.Fields().Get(i)
				m := fd.Message()
				if m == nil || fd.IsMap() || isOutput(fd) || seen[m.FullName()] {
					continue
				}
				seen[m.FullName()] = true
				child := level{m, l.path + "." + fd.JSONName()}
				if fd.IsList() {
					child.path += "[]"
				}
				if hasField(m, key, value) {
					return child.path
				}
				next = append(next, child)
			}
		}
		row = next
	}
	return ""
}

// hasField says whether a message has a field, and whether the field takes values of the form of value, unless that
// is nil.
func hasField(desc protoreflect.MessageDescriptor, key string, value *yaml.Node) bool {
	fd := desc.Fields().ByJSONName(key)
	if fd == nil || desc.FullName().Parent() == "google.protobuf" || isOutput(fd) {
		return false
	}
	switch {
	case value == nil || value.Kind == yaml.AliasNode || isNull(value):
		return true
	case fd.IsList():
		return value.Kind == yaml.SequenceNode
	case fd.IsMap() || fd.Message() != nil && (fd.Message().FullName().Parent() != "google.protobuf" || fd.Message().Name() == "Struct"):
		return value.Kind == yaml.MappingNode
	}
	return value.Kind == yaml.ScalarNode
}

func fieldNames(desc protoreflect.MessageDescriptor) []string {
	names := make([]string, 0, desc.Fields().Len())
	for i := range desc.Fields().Len() {
		names = append(names, desc.Fields().Get(i).JSONName())
	}
	return names
}

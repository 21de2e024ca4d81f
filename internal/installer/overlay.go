package installer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// step is one element of an overlay's path: a key of a map, or a selector of a list's item.
type step struct {
	text string // as written, for errors

	key      string // of a map, or of the field that the selector compares
	value    string // that the selected item's field (with key "", the item itself) must have
	index    int
	kind     stepKind
	rendered string // the path up to and including this step
}

type stepKind int

const (
	mapKey stepKind = iota
	itemAt
	itemNew
	itemWith
)

// parsePath reads a path such as spec.ports.[port:443].nodePort. A dot or bracket within a key is written with a
// backslash before it.
func parsePath(path string) ([]step, error) {
	var steps []step
	for rest := path; rest != ""; {
		text, next, err := cutStep(rest)
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", path, err)
		}
		s, err := parseStep(text)
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", path, err)
		}
		s.rendered = path[:len(path)-len(next)]
		s.rendered = strings.TrimSuffix(s.rendered, ".")
		steps = append(steps, s)
		if next == "" && strings.HasSuffix(rest, ".") && !strings.HasSuffix(rest, `\.`) {
			return nil, fmt.Errorf("path %q ends with a dot", path)
		}
		rest = next
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("path is empty")
	}
	return steps, nil
}

// cutStep splits off the first step. A selector may stand behind a dot (a.[0]) or behind its list (a[0]).
func cutStep(s string) (text, rest string, err error) {
	if s[0] == '[' {
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case ']':
				return s[:i+1], strings.TrimPrefix(s[i+1:], "."), nil
			}
		}
		return "", "", fmt.Errorf("%q has no closing bracket", s)
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '[':
			return s[:i], s[i:], nil
		case '.':
			return s[:i], s[i+1:], nil
		}
	}
	return s, "", nil
}

func parseStep(text string) (step, error) {
	s := step{text: text}
	if !strings.HasPrefix(text, "[") {
		s.key = unescape(text)
		if s.key == "" {
			return s, fmt.Errorf("a key is empty")
		}
		return s, nil
	}
	inner := text[1 : len(text)-1]
	if n, err := strconv.Atoi(inner); err == nil {
		s.kind, s.index = itemAt, n
		if n == -1 {
			s.kind = itemNew
		}
		if n < -1 {
			return s, fmt.Errorf("%s is no index", text)
		}
		return s, nil
	}
	key, value, ok := strings.Cut(inner, ":")
	if !ok {
		return s, fmt.Errorf("%s is neither an index nor key:value", text)
	}
	s.kind, s.key, s.value = itemWith, unescape(key), unescape(value)
	return s, nil
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// patched returns node with the field at the steps set to value, or removed when value is nil. Missing maps on the
// way are made; a missing list item is an error, because the writer meant one that is there. node is not changed.
func patched(node any, steps []step, value any) (any, error) {
	if len(steps) == 0 {
		return value, nil
	}
	s := steps[0]
	if s.kind == mapKey {
		return patchedMap(node, s, steps[1:], value)
	}
	return patchedList(node, s, steps[1:], value)
}

func patchedMap(node any, s step, rest []step, value any) (any, error) {
	m, ok := node.(map[string]any)
	if !ok && node != nil {
		return nil, fmt.Errorf("%s: there is %s here, not a map", s.rendered, nameOf(node))
	}
	m = maps.Clone(m)
	if m == nil {
		m = map[string]any{}
	}
	child, present := m[s.key]
	if value == nil && (len(rest) == 0 || !present) {
		delete(m, s.key) // what is not there needs no removal
		return m, nil
	}
	v, err := patched(child, rest, value)
	if err != nil {
		return nil, err
	}
	m[s.key] = v
	return m, nil
}

func patchedList(node any, s step, rest []step, value any) (any, error) {
	l, ok := node.([]any)
	if !ok && node != nil {
		return nil, fmt.Errorf("%s: there is %s here, not a list", s.rendered, nameOf(node))
	}
	l = slices.Clone(l)
	i := s.index
	switch s.kind {
	case itemNew:
		if value == nil {
			return nil, fmt.Errorf("%s: nothing to append", s.rendered)
		}
		i, l = len(l), append(l, nil)
	case itemWith:
		if i = slices.IndexFunc(l, s.selects); i < 0 {
			return nil, fmt.Errorf("%s: the list has no such item", s.rendered)
		}
	default:
		if i >= len(l) {
			return nil, fmt.Errorf("%s: the list has %d items", s.rendered, len(l))
		}
	}
	if value == nil && len(rest) == 0 {
		return slices.Delete(l, i, i+1), nil
	}
	v, err := patched(l[i], rest, value)
	if err != nil {
		return nil, err
	}
	l[i] = v
	return l, nil
}

func (s step) selects(item any) bool {
	if s.key != "" {
		m, ok := item.(map[string]any)
		if !ok {
			return false
		}
		v, ok := m[s.key]
		return ok && fmt.Sprint(v) == s.value
	}
	return fmt.Sprint(item) == s.value
}

func nameOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	}
	return fmt.Sprintf("the value %v", v)
}

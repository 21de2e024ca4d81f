package resource

import (
	"fmt"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// maxExact bounds the whole numbers that a free-form value keeps as they are: its numbers are floating point.
const maxExact = 1 << 53

// freeForm reads an object whose keys are the user's own. Its texts are nobody's templates but what they say.
func (w *walker) freeForm(n *yaml.Node, into *structpb.Struct, path string) {
	if n.Kind != yaml.MappingNode {
		w.at(n, path, "must be an object with keys of your choice, not %s", describe(n))
		return
	}
	into.Fields = w.freeFields(n, path, 0)
}

func (w *walker) freeFields(n *yaml.Node, path string, depth int) map[string]*structpb.Value {
	fields := map[string]*structpb.Value{}
	for _, p := range w.pairs(n, path, depth) {
		fields[p.name] = w.freeValue(p.value, mapPath(path, p.name), depth+1)
	}
	return fields
}

// freeValue reads any value. What is wrong is reported, and null in the result.
func (w *walker) freeValue(n *yaml.Node, path string, depth int) *structpb.Value {
	n, ok := w.enter(n, path)
	if !ok {
		return structpb.NewNullValue()
	}
	if depth > maxDepth {
		w.at(n, path, "the document is nested deeper than %d levels", maxDepth)
		return structpb.NewNullValue()
	}
	switch n.Kind {
	case yaml.MappingNode:
		return structpb.NewStructValue(&structpb.Struct{Fields: w.freeFields(n, path, depth)})
	case yaml.SequenceNode:
		list := &structpb.ListValue{}
		for i, c := range n.Content {
			list.Values = append(list.Values, w.freeValue(c, path+"["+itoa(i)+"]", depth+1))
		}
		return structpb.NewListValue(list)
	}
	v, why := freeScalar(n)
	if why != "" {
		w.at(n, path, "%s", why)
	}
	return v
}

func freeScalar(n *yaml.Node) (v *structpb.Value, why string) {
	switch n.ShortTag() {
	case "!!null":
		return structpb.NewNullValue(), ""
	case "!!bool":
		return structpb.NewBoolValue(n.Value == "true" || n.Value == "True" || n.Value == "TRUE"), ""
	case "!!int", "!!float":
		f, err := strconv.ParseFloat(n.Value, 64)
		switch {
		case n.ShortTag() == "!!int" && !decimal.MatchString(n.Value), err != nil, math.IsInf(f, 0), math.IsNaN(f):
			return structpb.NewNullValue(), fmt.Sprintf("%s is not a decimal number; if it is a text, quote it: %q", n.Value, n.Value)
		case n.ShortTag() == "!!int" && math.Abs(f) > maxExact:
			return structpb.NewNullValue(), fmt.Sprintf("the number %s loses digits; quote it: %q", n.Value, n.Value)
		}
		return structpb.NewNumberValue(f), ""
	}
	return structpb.NewStringValue(n.Value), ""
}

// freeForm refuses what only binary clients can send: values of no kind, numbers that JSON does not have.
func (c *checker) freeForm(s *structpb.Struct, path string, depth int) {
	for k, v := range s.GetFields() {
		c.freeValue(v, mapPath(path, k), depth+1)
	}
}

func (c *checker) freeValue(v *structpb.Value, path string, depth int) {
	if depth > maxDepth {
		c.at(path, "is nested deeper than %d levels", maxDepth)
		return
	}
	switch k := v.GetKind().(type) {
	case nil:
		c.at(path, "has no value")
	case *structpb.Value_NumberValue:
		if math.IsInf(k.NumberValue, 0) || math.IsNaN(k.NumberValue) {
			c.at(path, "is not a number that JSON has")
		}
	case *structpb.Value_StructValue:
		c.freeForm(k.StructValue, path, depth)
	case *structpb.Value_ListValue:
		for i, x := range k.ListValue.GetValues() {
			c.freeValue(x, path+"["+itoa(i)+"]", depth+1)
		}
	}
}

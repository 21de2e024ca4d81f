package resource

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// decimal is how integers are written here. YAML also has 0644, 8_080 and 0x1F, which people do not mean.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// scalar reads one value of a field, of a list or of a map.
func (w *walker) scalar(n *yaml.Node, fd protoreflect.FieldDescriptor, path string) (v protoreflect.Value, ok bool) {
	n, ok = w.enter(n, path)
	if !ok {
		return v, false
	}
	if n.Kind != yaml.ScalarNode {
		if n.Kind == yaml.MappingNode && len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode {
			w.at(n, path, "%s", notRendered)
		} else {
			w.at(n, path, "must be %s, not %s", want(fd), describe(n))
		}
		return v, false
	}
	if why := placeholderProblem(string(fd.Name()), n.Value); why != "" {
		w.at(n, path, "%s", why)
		return v, false
	}
	v, why := parseScalar(n, fd)
	if why != "" {
		w.at(n, path, "%s", why)
	}
	return v, why == ""
}

// want says what a field takes.
func want(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return "a text"
	case protoreflect.BytesKind:
		return "base64"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.EnumKind:
		return "one of " + strings.Join(enumNames(fd.Enum()), ", ")
	}
	if k := fd.Kind(); k == protoreflect.FloatKind || k == protoreflect.DoubleKind {
		return "a number"
	}
	return "a whole decimal number"
}

// parseScalar reads a value, or says what is wrong with it.
func parseScalar(n *yaml.Node, fd protoreflect.FieldDescriptor) (v protoreflect.Value, why string) {
	text := n.Value
	wrong := func() string { return fmt.Sprintf("must be %s, not %s", want(fd), describe(n)) }
	switch fd.Kind() {
	case protoreflect.StringKind:
		switch n.ShortTag() {
		case "!!str", "!!timestamp":
			return protoreflect.ValueOfString(text), ""
		case "!!int", "!!float", "!!bool":
			return v, fmt.Sprintf("%s; quote it: %q", wrong(), text)
		}
		return v, wrong()
	case protoreflect.BytesKind:
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return v, wrong()
		}
		return protoreflect.ValueOfBytes(b), ""
	case protoreflect.BoolKind:
		if text != "true" && text != "false" {
			return v, wrong()
		}
		return protoreflect.ValueOfBool(text == "true"), ""
	case protoreflect.EnumKind:
		e := fd.Enum().Values().ByName(protoreflect.Name(text))
		if e == nil {
			if near := didYouMean(text, enumNames(fd.Enum())); near != "" {
				return v, fmt.Sprintf("%s; did you mean %s?", wrong(), near)
			}
			return v, wrong()
		}
		return protoreflect.ValueOfEnum(e.Number()), ""
	}
	return parseNumber(text, fd, wrong)
}

func parseNumber(text string, fd protoreflect.FieldDescriptor, wrong func() string) (v protoreflect.Value, why string) {
	float := fd.Kind() == protoreflect.FloatKind || fd.Kind() == protoreflect.DoubleKind
	if !float && !decimal.MatchString(text) {
		return v, wrong()
	}
	var err error
	switch fd.Kind() {
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		var i uint64
		i, err = strconv.ParseUint(text, 10, 32)
		v = protoreflect.ValueOfUint32(uint32(i))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		var i uint64
		i, err = strconv.ParseUint(text, 10, 64)
		v = protoreflect.ValueOfUint64(i)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		var i int64
		i, err = strconv.ParseInt(text, 10, 32)
		v = protoreflect.ValueOfInt32(int32(i))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		var i int64
		i, err = strconv.ParseInt(text, 10, 64)
		v = protoreflect.ValueOfInt64(i)
	case protoreflect.FloatKind:
		var f float64
		f, err = strconv.ParseFloat(text, 32)
		v = protoreflect.ValueOfFloat32(float32(f))
	default:
		var f float64
		f, err = strconv.ParseFloat(text, 64)
		v = protoreflect.ValueOfFloat64(f)
	}
	switch {
	case err != nil && strings.HasPrefix(text, "-") && !float:
		return v, wrong() + ": it cannot be negative"
	case err != nil && !float:
		return v, fmt.Sprintf("the number %s is out of range", text)
	case err != nil:
		return v, wrong()
	}
	return v, ""
}

func enumNames(e protoreflect.EnumDescriptor) []string {
	names := make([]string, 0, e.Values().Len())
	for i := range e.Values().Len() {
		names = append(names, string(e.Values().Get(i).Name()))
	}
	return names
}

// wellKnown reads the types that protobuf brings along.
func (w *walker) wellKnown(n *yaml.Node, m protoreflect.Message, path string) {
	switch into := m.Interface().(type) {
	case *durationpb.Duration:
		w.duration(n, into, path)
		return
	case *structpb.Struct:
		w.freeForm(n, into, path)
		return
	}
	var v any
	if err := n.Decode(&v); err != nil {
		w.at(n, path, "%v", err)
		return
	}
	b, err := json.Marshal(v)
	if err == nil {
		err = protojson.Unmarshal(b, m.Interface())
	}
	if err != nil {
		w.at(n, path, "must be a %s, not %s", m.Descriptor().Name(), describe(n))
	}
}

// duration reads "0.5s", "500ms", "8760h" and "1h30m". A bare number is refused: nobody knows its unit.
func (w *walker) duration(n *yaml.Node, d *durationpb.Duration, path string) {
	if n.Kind == yaml.ScalarNode && placeholderProblem("", n.Value) != "" {
		w.at(n, path, "%s", placeholderProblem("", n.Value))
		return
	}
	t, err := time.ParseDuration(n.Value)
	switch {
	case n.Kind != yaml.ScalarNode:
		w.at(n, path, "must be a duration such as 30s, 500ms or 2h, not %s", describe(n))
	case err != nil && decimal.MatchString(n.Value):
		w.at(n, path, "%s has no unit: write %ss, %sms or %sh", n.Value, n.Value, n.Value, n.Value)
	case err != nil || t == math.MinInt64:
		w.at(n, path, "must be a duration such as 30s, 500ms or 2h, not %s", describe(n))
	default:
		d.Seconds, d.Nanos = int64(t/time.Second), int32(t%time.Second)
	}
}

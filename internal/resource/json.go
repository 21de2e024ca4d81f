package resource

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Etag identifies the content of a resource: a quoted base64 of the SHA-256 of its kind, name and content as JSON with
// sorted keys. Equal content always has the same etag.
func Etag(r *Resource) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", r.Kind.ID(), r.FQN)
	h.Write(ContentJSON(r))
	return `"` + base64.StdEncoding.EncodeToString(h.Sum(nil)[:8]) + `"`
}

// SpecJSON is a message as JSON with sorted keys and no white space; equal messages always give the same bytes.
func SpecJSON(m proto.Message) []byte { return appendMessage(make([]byte, 0, 512), m.ProtoReflect()) }

// ContentJSON is all that users say of a resource as JSON with sorted keys and no white space: its specification, and of an object
// of Istio's kinds its metadata.
func ContentJSON(r *Resource) []byte {
	spec := SpecJSON(r.Spec)
	if r.Object == nil {
		return spec
	}
	b := append([]byte(`{"metadata":`), SpecJSON(r.Object)...)
	return append(append(append(b, `,"spec":`...), spec...), '}')
}

// appendMessage writes what mustJSON makes of tree, without the maps in between.
func appendMessage(b []byte, m protoreflect.Message) []byte {
	if m.Descriptor().FullName().Parent() == "google.protobuf" {
		return append(b, mustJSON(wellKnown(m))...)
	}
	type field struct {
		fd protoreflect.FieldDescriptor
		v  protoreflect.Value
	}
	var fields []field
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		fields = append(fields, field{fd, v})
		return true
	})
	slices.SortFunc(fields, func(x, y field) int { return strings.Compare(x.fd.JSONName(), y.fd.JSONName()) })
	b = append(b, '{')
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, f.fd.JSONName()), ':')
		b = appendField(b, f.fd, f.v)
	}
	return append(b, '}')
}

func appendField(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch {
	case fd.IsMap():
		keys := make([]string, 0, v.Map().Len())
		values := make(map[string]protoreflect.Value, v.Map().Len())
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			keys = append(keys, k.String())
			values[k.String()] = v
			return true
		})
		slices.Sort(keys)
		b = append(b, '{')
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, k), ':')
			b = appendValue(b, fd.MapValue(), values[k])
		}
		return append(b, '}')
	case fd.IsList():
		b = append(b, '[')
		for i := range v.List().Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, fd, v.List().Get(i))
		}
		return append(b, ']')
	}
	return appendValue(b, fd, v)
}

func appendValue(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return appendMessage(b, v.Message())
	case protoreflect.StringKind:
		return appendText(b, v.String())
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool())
	case protoreflect.Uint32Kind:
		return strconv.AppendUint(b, v.Uint(), 10)
	case protoreflect.Int32Kind:
		return strconv.AppendInt(b, v.Int(), 10)
	case protoreflect.EnumKind:
		if ev := fd.Enum().Values().ByNumber(v.Enum()); ev != nil {
			return appendText(b, string(ev.Name()))
		}
	}
	return append(b, mustJSON(scalarTree(fd, v))...)
}

// appendText writes a text; most need no escapes.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return append(b, mustJSON(s)...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// mustJSON encodes what tree made, which JSON can always express.
func mustJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// tree is a message as maps, slices and scalars in protobuf's JSON mapping. protojson itself changes its white space
// at random and keeps field order, so it cannot be hashed.
func tree(m protoreflect.Message) any {
	if m.Descriptor().FullName().Parent() == "google.protobuf" {
		return wellKnown(m)
	}
	out := map[string]any{}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		out[fd.JSONName()] = fieldTree(fd, v)
		return true
	})
	return out
}

func fieldTree(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch {
	case fd.IsMap():
		out := map[string]any{}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			out[k.String()] = scalarTree(fd.MapValue(), v)
			return true
		})
		return out
	case fd.IsList():
		out := make([]any, 0, v.List().Len())
		for i := range v.List().Len() {
			out = append(out, scalarTree(fd, v.List().Get(i)))
		}
		return out
	}
	return scalarTree(fd, v)
}

func scalarTree(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return tree(v.Message())
	case protoreflect.EnumKind:
		if e := fd.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name())
		}
		return int32(v.Enum())
	case protoreflect.BytesKind:
		return base64.StdEncoding.EncodeToString(v.Bytes())
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return v.String() // JSON numbers lose precision
	}
	return v.Interface()
}

// wellKnown is one of protobuf's own types, which have a JSON form of their own.
func wellKnown(m protoreflect.Message) any {
	b, err := protojson.Marshal(m.Interface())
	if err != nil {
		return fmt.Sprint(m.Interface()) // out of range: Check refuses it, a hash does not need it
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err) // protojson wrote it
	}
	return v
}

package istio

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// encoder makes JSON of messages. It is used by one goroutine at a time.
type encoder struct {
	buf []byte // its space is used again
}

// messageType is what has to be known of a type of messages.
type messageType struct {
	// wellKnown types of protobuf have a form of their own.
	wellKnown bool
	// fields in the order of their names.
	fields []field
}

type field struct {
	fd   protoreflect.FieldDescriptor
	name string
	// key is the name as JSON, with the colon.
	key []byte
}

// messageTypes are those that were met, by their protoreflect.MessageDescriptor.
var messageTypes sync.Map

func typeOf(d protoreflect.MessageDescriptor) *messageType {
	if t, ok := messageTypes.Load(d); ok {
		return t.(*messageType)
	}
	t := &messageType{wellKnown: d.ParentFile().Package() == "google.protobuf"}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		t.fields = append(t.fields, field{fd, fd.JSONName(), append(appendString(nil, fd.JSONName()), ':')})
	}
	slices.SortFunc(t.fields, func(x, y field) int { return strings.Compare(x.name, y.name) })
	messageTypes.Store(d, t)
	return t
}

// message appends a message as JSON in protobuf's mapping, with sorted keys and no white space. protojson changes its
// white space from build to build and keeps field order, so its bytes cannot be compared.
func (e *encoder) message(b []byte, m protoreflect.Message) []byte {
	t := typeOf(m.Descriptor())
	if t.wellKnown {
		return e.wellKnown(b, m)
	}
	b = append(b, '{')
	first := true
	for i := range t.fields {
		f := &t.fields[i]
		if !m.Has(f.fd) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, f.key...)
		b = e.field(b, f.fd, m.Get(f.fd))
	}
	return append(b, '}')
}

// wellKnown appends one of protobuf's own types: a duration, free-form values, or a scalar that can be absent.
func (e *encoder) wellKnown(b []byte, m protoreflect.Message) []byte {
	switch v := m.Interface().(type) {
	case *durationpb.Duration:
		return appendDuration(b, m)
	case *structpb.Struct:
		return appendStruct(b, v)
	}
	fd := m.Descriptor().Fields().ByName("value")
	return e.scalar(b, fd, m.Get(fd))
}

func (e *encoder) field(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch {
	case fd.IsList():
		b = append(b, '[')
		list := v.List()
		for i := range list.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.scalar(b, fd, list.Get(i))
		}
		return append(b, ']')
	case fd.IsMap():
		return e.entries(b, fd.MapValue(), v.Map())
	}
	return e.scalar(b, fd, v)
}

// entry is one of a map in a message.
type entry struct {
	key   string
	value protoreflect.Value
}

func (e *encoder) entries(b []byte, fd protoreflect.FieldDescriptor, m protoreflect.Map) []byte {
	entries := make([]entry, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		entries = append(entries, entry{k.String(), v})
		return true
	})
	slices.SortFunc(entries, func(x, y entry) int { return strings.Compare(x.key, y.key) })
	b = append(b, '{')
	for i, x := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, x.key)
		b = append(b, ':')
		b = e.scalar(b, fd, x.value)
	}
	return append(b, '}')
}

func (e *encoder) scalar(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return e.message(b, v.Message())
	case protoreflect.EnumKind:
		return appendString(b, string(fd.Enum().Values().ByNumber(v.Enum()).Name()))
	case protoreflect.StringKind:
		return appendString(b, v.String())
	case protoreflect.BytesKind:
		return appendString(b, base64.StdEncoding.EncodeToString(v.Bytes()))
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool())
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.AppendUint(b, v.Uint(), 10)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return strconv.AppendInt(b, v.Int(), 10)
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return strconv.AppendFloat(b, v.Float(), 'g', -1, 64)
	default: // 64-bit integers are strings in protobuf's JSON, and numbers in what Kubernetes takes
		return append(b, v.String()...)
	}
}

func appendDuration(b []byte, m protoreflect.Message) []byte {
	fields := m.Descriptor().Fields()
	d := time.Duration(m.Get(fields.ByName("seconds")).Int())*time.Second + time.Duration(m.Get(fields.ByName("nanos")).Int())
	b = append(b, '"')
	b = strconv.AppendInt(b, int64(d/time.Second), 10)
	if rest := d % time.Second; rest != 0 {
		b = append(b, fmt.Sprintf(".%09d", rest)...)
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return append(b, 's', '"')
}

// appendString appends a JSON string. What needs no escape, which is nearly everything, is copied.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c >= utf8.RuneSelf {
			q, err := json.Marshal(s)
			if err != nil {
				return append(b, '"', '"') // a string always has a JSON form
			}
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendPairs(b []byte, pairs []pair) []byte {
	b = append(b, '{')
	for i, p := range pairs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, p.key)
		b = append(b, ':')
		b = appendString(b, p.value)
	}
	return append(b, '}')
}

// appendStruct appends free-form values, with sorted keys like everything else.
func appendStruct(b []byte, s *structpb.Struct) []byte {
	b = append(b, '{')
	for i, k := range slices.Sorted(maps.Keys(s.GetFields())) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k)
		b = append(b, ':')
		b = appendValue(b, s.GetFields()[k])
	}
	return append(b, '}')
}

func appendValue(b []byte, v *structpb.Value) []byte {
	switch v := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return appendString(b, v.StringValue)
	case *structpb.Value_BoolValue:
		return strconv.AppendBool(b, v.BoolValue)
	case *structpb.Value_NumberValue:
		return strconv.AppendFloat(b, v.NumberValue, 'f', -1, 64)
	case *structpb.Value_StructValue:
		return appendStruct(b, v.StructValue)
	case *structpb.Value_ListValue:
		b = append(b, '[')
		for i, x := range v.ListValue.GetValues() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, x)
		}
		return append(b, ']')
	}
	return append(b, "null"...)
}

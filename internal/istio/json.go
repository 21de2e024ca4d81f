package istio

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// encoder makes JSON of messages. It remembers what the fields of a type are, in the order of their names.
type encoder struct {
	types map[protoreflect.FullName][]field
}

type field struct {
	fd   protoreflect.FieldDescriptor
	name string
}

func newEncoder() *encoder { return &encoder{types: map[protoreflect.FullName][]field{}} }

func (e *encoder) fields(d protoreflect.MessageDescriptor) []field {
	if fs, ok := e.types[d.FullName()]; ok {
		return fs
	}
	var fs []field
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		fs = append(fs, field{fd, fd.JSONName()})
	}
	slices.SortFunc(fs, func(x, y field) int { return strings.Compare(x.name, y.name) })
	e.types[d.FullName()] = fs
	return fs
}

// message appends a message as JSON in protobuf's mapping, with sorted keys and no white space. protojson changes its
// white space from build to build and keeps field order, so its bytes cannot be compared.
func (e *encoder) message(b []byte, m protoreflect.Message) []byte {
	d := m.Descriptor()
	if d.ParentFile().Package() == "google.protobuf" {
		return e.wellKnown(b, m)
	}
	b = append(b, '{')
	first := true
	for _, f := range e.fields(d) {
		if !m.Has(f.fd) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, f.name)
		b = append(b, ':')
		b = e.field(b, f.fd, m.Get(f.fd))
	}
	return append(b, '}')
}

// wellKnown appends one of protobuf's own types: a duration, or a scalar that can be absent.
func (e *encoder) wellKnown(b []byte, m protoreflect.Message) []byte {
	if m.Descriptor().Name() == "Duration" {
		return appendDuration(b, m)
	}
	fd := m.Descriptor().Fields().ByName("value")
	return e.scalar(b, fd, m.Get(fd))
}

func (e *encoder) field(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch {
	case fd.IsList():
		b = append(b, '[')
		for i := range v.List().Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.scalar(b, fd, v.List().Get(i))
		}
		return append(b, ']')
	case fd.IsMap():
		values := map[string]protoreflect.Value{}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			values[k.String()] = v
			return true
		})
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(values)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, k)
			b = append(b, ':')
			b = e.scalar(b, fd.MapValue(), values[k])
		}
		return append(b, '}')
	}
	return e.scalar(b, fd, v)
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
	default: // 64-bit integers are strings in JSON
		return appendString(b, v.String())
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

func appendStrings(b []byte, m map[string]string) []byte {
	b = append(b, '{')
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k)
		b = append(b, ':')
		b = appendString(b, m[k])
	}
	return append(b, '}')
}

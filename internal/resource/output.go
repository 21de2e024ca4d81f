package resource

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

// fieldInfo is what the walker needs to know about a field. To read an option is slow, so it is done once per decoder.
type fieldInfo struct {
	fd     protoreflect.FieldDescriptor
	path   string // "." and the JSON name
	output bool
	old    bool // deprecated
	// oneof is nil for fields of none and for optional ones.
	oneof protoreflect.OneofDescriptor
}

// fieldTable is the fields of a message by JSON name, and by proto name, which is as unambiguous.
type fieldTable map[string]*fieldInfo

func newFieldTable(desc protoreflect.MessageDescriptor) fieldTable {
	table := fieldTable{}
	for i := range desc.Fields().Len() {
		fd := desc.Fields().Get(i)
		info := &fieldInfo{fd: fd, path: "." + fd.JSONName(), output: isOutput(fd), old: insteadOf(fd) != ""}
		if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
			info.oneof = o
		}
		table[string(fd.Name())] = info
		table[fd.JSONName()] = info
	}
	return table
}

// isOutput says whether the server fills a field in; in input it is accepted and ignored.
func isOutput(fd protoreflect.FieldDescriptor) bool {
	return proto.GetExtension(fd.Options(), typesv2.E_Output).(bool)
}

// insteadOf is the newer spelling of a deprecated field; empty for other fields.
func insteadOf(fd protoreflect.FieldDescriptor) string {
	return proto.GetExtension(fd.Options(), typesv2.E_Instead).(string)
}

// clearOutput empties the output fields of a message and of all messages in it.
func clearOutput(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case isOutput(fd):
			m.Clear(fd)
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					clearOutput(v.Message())
					return true
				})
			}
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				clearOutput(v.List().Get(i).Message())
			}
		default:
			clearOutput(v.Message())
		}
		return true
	})
}

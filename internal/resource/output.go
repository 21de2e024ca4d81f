package resource

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

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

package resource

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// New makes a resource with its etag. The specification's output fields are cleared; spec belongs to the resource
// from now on.
func New(kind *Kind, fqn FQN, spec proto.Message) *Resource {
	clearOutput(spec.ProtoReflect())
	r := &Resource{Kind: kind, FQN: fqn, Spec: spec}
	r.Etag = Etag(r)
	return r
}

// Pack is a resource as it travels. Its fqn and etag are not repeated in the specification.
func Pack(r *Resource) (*isthmusv1.Resource, error) {
	spec, err := anypb.New(r.Spec)
	if err != nil {
		return nil, fmt.Errorf("pack %q: %w", r.FQN, err)
	}
	return &isthmusv1.Resource{Kind: r.Kind.ID(), Fqn: string(r.FQN), Etag: r.Etag, Revision: r.Revision, Spec: spec, Object: r.Object}, nil
}

// Received is a resource as the server sent it, with what the server filled in.
func Received(in *isthmusv1.Resource) (*Resource, error) {
	fqn, kind, err := ParseFQN(in.GetFqn())
	if err != nil {
		return nil, err
	}
	spec := kind.Spec()
	if err := in.GetSpec().UnmarshalTo(spec); err != nil {
		return nil, fmt.Errorf("unpack %q: %w", fqn, err)
	}
	return &Resource{Kind: kind, FQN: fqn, Spec: spec, Object: in.GetObject(), Etag: in.GetEtag()}, nil
}

// Unpack is the inverse of Pack for what comes from outside: the result has a fresh etag and no revision, and only
// its shape was looked at, see Check. With problems the resource is nil.
func Unpack(in *isthmusv1.Resource) (*Resource, []Problem) {
	problem := func(field, format string, args ...any) (*Resource, []Problem) {
		return nil, []Problem{{Resource: FQN(in.GetFqn()), Field: field, Message: fmt.Sprintf(format, args...)}}
	}
	kind := ByID(in.GetKind())
	if kind == nil {
		return problem("kind", "there is no kind %q", in.GetKind())
	}
	fqn, of, err := ParseFQN(in.GetFqn())
	switch {
	case err != nil:
		return problem("fqn", "%v", err)
	case of != kind:
		return problem("fqn", "%q is the name of %s, not of %s", fqn, of.Noun(), kind.Noun())
	}
	spec := kind.Spec()
	if in.GetSpec() != nil {
		if err := in.GetSpec().UnmarshalTo(spec); err != nil {
			return problem("spec", "%v", err)
		}
	}
	clearOutput(spec.ProtoReflect())
	r := &Resource{Kind: kind, FQN: fqn, Spec: spec, Object: in.GetObject()}
	r.Etag = Etag(r)
	return r, nil
}

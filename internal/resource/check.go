package resource

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	extensionv2 "isthmus.dev/isthmus/api/tsb/extension/v2"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	istiointernalv2 "isthmus.dev/isthmus/api/tsb/istiointernal/v2"
	profilev2 "isthmus.dev/isthmus/api/tsb/profile/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
)

// maxFQN bounds full names: they become keys and file names.
const maxFQN = 1024

// Check returns what is wrong with the text of a resource, all of it, in field order; none when it is well formed. It
// looks at no other resource. Every door calls it, so it also refuses what only binary clients can send.
func Check(r *Resource) []Problem {
	var problems []Problem
	fqn, kind, err := ParseFQN(string(r.FQN))
	switch {
	case err != nil:
		problems = append(problems, Problem{Field: "fqn", Message: err.Error()})
	case kind != r.Kind:
		problems = append(problems, Problem{Field: "fqn", Message: fmt.Sprintf("%q is the name of %s, not of %s", fqn, kind.Noun(), r.Kind.Noun())})
	case len(fqn) > maxFQN:
		problems = append(problems, Problem{Field: "fqn", Message: fmt.Sprintf("is longer than %d characters", maxFQN)})
	}
	problems = append(problems, checkSpec(r)...)
	for i := range problems {
		problems[i].Resource = r.FQN
		problems[i].Object = r.Kind.Name + " " + r.FQN.Name()
	}
	return problems
}

// checkSpec checks all but the name.
func checkSpec(r *Resource) []Problem {
	c := &checker{of: r.FQN}
	c.annotated(r.Spec)
	c.message(r.Spec.ProtoReflect(), "spec")
	switch spec := r.Spec.(type) {
	case *tsbv2.Workspace:
		c.selector(spec.GetNamespaceSelector(), "spec.namespaceSelector")
	case *tsbv2.Cluster:
		c.cluster(spec)
	case *tsbv2.WorkspaceSetting:
		for i, m := range spec.GetHostsReachability().GetHostnames() {
			c.stringMatch(m, "spec.hostsReachability.hostnames["+itoa(i)+"]")
		}
	case *tsbv2.OrganizationSetting:
		c.networks(spec.GetNetworkSettings())
	case *gatewayv2.Group:
		c.selector(spec.GetNamespaceSelector(), "spec.namespaceSelector")
	case *gatewayv2.IngressGateway:
		c.gateway(spec)
	case *extensionv2.WasmExtension:
		c.extension(r.FQN, spec)
	case *gatewayv2.Tier1Gateway:
		c.tier1(spec)
	case *gatewayv2.EgressGateway:
		c.egress(spec)
	case *gatewayv2.Gateway:
		c.unified(spec)
		c.unifiedEgress(spec)
	case *trafficv2.Group:
		c.selector(spec.GetNamespaceSelector(), "spec.namespaceSelector")
	case *securityv2.Group:
		c.selector(spec.GetNamespaceSelector(), "spec.namespaceSelector")
		c.securityDomain(spec.GetSecurityDomain(), "spec.securityDomain")
	case *securityv2.ServiceSecuritySetting:
		c.ownService(spec.GetService(), "spec.service")
	case *istiointernalv2.Group:
		c.selector(spec.GetNamespaceSelector(), "spec.namespaceSelector")
	case *trafficv2.ServiceTrafficSetting:
		c.ownService(spec.GetService(), "spec.service")
	case *trafficv2.ServiceRoute:
		c.serviceRoute(spec)
	case *profilev2.Profile:
		c.profile(spec)
	}
	if spec, ok := r.Spec.(Profiled); ok {
		c.profiles(spec.GetProfiles(), "spec.profiles")
	}
	field, list := Attachments(r.Spec)
	c.attachments(list, "spec."+field)
	switch {
	case r.Kind.Istio():
		c.istio(r)
	case r.Object != nil:
		c.at("metadata", "is for objects of Istio's kinds only")
	}
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return strings.Compare(a.Field, b.Field) })
	return c.problems
}

// checker gathers problems.
type checker struct {
	of       FQN
	problems []Problem
	said     map[string]bool // fields of the problems
}

// at reports a problem, once per field: what the annotations said already is not said again in other words.
func (c *checker) at(field, format string, args ...any) {
	if !c.said[field] {
		c.say(field, fmt.Sprintf(format, args...))
	}
}

func (c *checker) say(field, message string) {
	if c.said == nil {
		c.said = map[string]bool{}
	}
	c.said[field] = true
	c.problems = append(c.problems, Problem{Field: field, Message: message})
}

// annotated checks the rules that stand in the protos.
func (c *checker) annotated(m proto.Message) {
	err := protovalidate.Validate(m)
	if err == nil {
		return
	}
	invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		c.at("spec", "%v", err) // a rule that cannot be evaluated is a mistake of ours; a test compiles them all
		return
	}
	for _, v := range invalid.Violations {
		path, field, oneof := jsonPath(m.ProtoReflect().Descriptor(), v.Proto.GetField())
		message := strings.TrimPrefix(v.Proto.GetMessage(), "value ")
		switch rule := v.Proto.GetRuleId(); {
		case oneof != nil:
			message = "needs one of " + oneofNames(oneof)
		case rule == "map.min_pairs":
			message = "must contain at least 1 entry"
		case rule == "enum.not_in" && field != nil:
			message = "must be one of " + strings.Join(enumNames(field.Enum())[1:], ", ") // the first means that none was chosen
		case strings.HasSuffix(rule, ".pattern") && field != nil:
			if shape := proto.GetExtension(field.Options(), typesv2.E_Shape).(string); shape != "" {
				message = "must be " + shape
			}
		}
		c.at(path, "%s", message)
	}
}

// jsonPath spells the path of a violation as people write it. A violation of a oneof is one of its message.
func jsonPath(desc protoreflect.MessageDescriptor, path *validate.FieldPath) (out string, fd protoreflect.FieldDescriptor, oneof protoreflect.OneofDescriptor) {
	out = "spec"
	for _, e := range path.GetElements() {
		if desc == nil {
			break
		}
		fd = desc.Fields().ByName(protoreflect.Name(e.GetFieldName()))
		if fd == nil {
			return out, nil, desc.Oneofs().ByName(protoreflect.Name(e.GetFieldName()))
		}
		out += "." + fd.JSONName()
		switch e.Subscript.(type) {
		case *validate.FieldPathElement_Index:
			out += fmt.Sprintf("[%d]", e.GetIndex())
		case *validate.FieldPathElement_StringKey:
			out = mapPath(out, e.GetStringKey())
		}
		if desc = fd.Message(); fd.IsMap() {
			desc = fd.MapValue().Message()
		}
	}
	return out, fd, nil
}

// Warnings are about what is well formed but should be written in another way.
func Warnings(r *Resource) []Problem {
	var warnings []Problem
	if r.Kind.Instead != "" {
		warnings = append(warnings, Problem{
			Resource: r.FQN, Object: r.Kind.Name + " " + r.FQN.Name(), Field: "kind", Message: "is deprecated: use " + r.Kind.Instead,
		})
	}
	deprecated(r.Spec.ProtoReflect(), "spec", func(field, instead string) {
		warnings = append(warnings, Problem{
			Resource: r.FQN, Object: r.Kind.Name + " " + r.FQN.Name(), Field: field, Message: "is deprecated: use " + instead,
		})
	})
	if r.Kind.Istio() {
		said, _ := istioSays(r, r.Spec)
		for _, words := range said {
			warnings = append(warnings, Problem{Resource: r.FQN, Object: r.Kind.Name + " " + r.FQN.Name(), Field: "spec", Message: words})
		}
	}
	slices.SortStableFunc(warnings, func(a, b Problem) int { return strings.Compare(a.Field, b.Field) })
	return warnings
}

func deprecated(m protoreflect.Message, path string, say func(field, instead string)) {
	eachField(m, path, func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) {
		if instead := insteadOf(fd); instead != "" {
			say(path+"."+fd.JSONName(), instead)
		}
	}, func(sub protoreflect.Message, at string) { deprecated(sub, at, say) })
}

// eachField calls field for every field of a message that is set, and message for every message in it.
func eachField(m protoreflect.Message, path string,
	field func(fd protoreflect.FieldDescriptor, v protoreflect.Value), message func(m protoreflect.Message, at string),
) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		field(fd, v)
		if fd.Message() == nil || fd.IsMap() && fd.MapValue().Message() == nil {
			return true
		}
		at := path + "." + fd.JSONName()
		switch {
		case fd.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				message(v.Message(), mapPath(at, k.String()))
				return true
			})
		case fd.IsList():
			for i := range v.List().Len() {
				message(v.List().Get(i).Message(), at+"["+itoa(i)+"]")
			}
		default:
			message(v.Message(), at)
		}
		return true
	})
}

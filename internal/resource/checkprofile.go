package resource

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	profilev2 "isthmus.dev/isthmus/api/tsb/profile/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
)

// Profiled is the specification of what profiles are attached to.
type Profiled interface {
	GetProfiles() []string
}

// MayAttach says whether a profile may be attached to a resource: to the one below which it stands, and to those below that.
func MayAttach(profile, to FQN) bool { return profile.Parent().Contains(to) }

// profiles checks the names of those that are attached.
func (c *checker) profiles(names []string, path string) {
	seen := map[string]int{}
	for i, name := range names {
		at := path + "[" + itoa(i) + "]"
		fqn, kind, err := ParseFQN(name)
		first, twice := seen[name]
		switch {
		case err != nil:
			c.at(at, "%v", err)
		case kind.Name != "Profile":
			c.at(at, "%q is the name of a %s, not of a Profile", fqn, kind.Name)
		case twice:
			c.at(at, "%q is attached already in profiles[%d]", fqn, first)
		case c.of != "?" && !MayAttach(fqn, c.of):
			c.at(at, "%q may be attached to %q and to what is below it only", fqn, fqn.Parent())
		default:
			seen[name] = i
		}
	}
}

// profile checks both sections.
func (c *checker) profile(p *profilev2.Profile) {
	c.profileConfig(p.GetDefaults(), "spec.defaults", false)
	c.profileConfig(p.GetMandates(), "spec.mandates", true)
}

func (c *checker) profileConfig(s *profilev2.ProfileConfig, path string, mandated bool) {
	if s == nil {
		return
	}
	if t := s.GetTraffic(); t != nil {
		if s.GetTrafficSettings() != nil { //nolint:staticcheck // old input
			c.at(path+".trafficSettings", "stands beside traffic: set one of them")
		}
		c.traffic(&trafficv2.TrafficSetting{Inbound: t.GetInbound(), Outbound: t.GetOutbound()}, path+".traffic")
	}
	c.attachments(s.GetWasmExtensions(), path+".wasmExtensions")
	seen := map[string]int{}
	for i, field := range s.GetUnsetFields() {
		at := path + ".unsetFields[" + itoa(i) + "]"
		first, twice := seen[field]
		switch {
		case field == "unsetFields" || !hasPath(s.ProtoReflect().Descriptor(), field):
			c.at(at, "there is no field %q in %s", field, path[strings.LastIndexByte(path, '.')+1:])
		case twice:
			c.at(at, "%q is there twice, first in unsetFields[%d]", field, first)
		case mandated && !proto.Equal(s, Without(s, field)):
			c.at(at, "%q is set in the same mandates", field)
		default:
			seen[field] = i
		}
	}
}

// hasPath says whether a path such as "traffic.outbound.reachability" leads to a field. It goes into the elements of lists, and into those
// of maps.
func hasPath(desc protoreflect.MessageDescriptor, path string) bool {
	name, rest, more := strings.Cut(path, ".")
	fd := fieldOf(desc, name)
	if fd == nil || !more {
		return fd != nil
	}
	if fd.IsMap() {
		fd = fd.MapValue()
	}
	return fd.Message() != nil && fd.Message().ParentFile().Package() != "google.protobuf" && hasPath(fd.Message(), rest)
}

// fieldOf is the field of a name in JSON, nil when there is none or the server fills it in.
func fieldOf(desc protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	fd := desc.Fields().ByJSONName(name)
	if fd == nil || isOutput(fd) {
		return nil
	}
	return fd
}

// Without is a copy of a message in which the fields that paths lead to have no value. Paths that lead to none are ignored.
func Without[M proto.Message](m M, paths ...string) M {
	out := proto.CloneOf(m)
	for _, path := range paths {
		unset(out.ProtoReflect(), path)
	}
	return out
}

func unset(m protoreflect.Message, path string) {
	name, rest, more := strings.Cut(path, ".")
	fd := fieldOf(m.Descriptor(), name)
	switch {
	case fd == nil || !m.Has(fd):
	case !more:
		m.Clear(fd)
	case fd.IsMap() && fd.MapValue().Message() != nil:
		m.Get(fd).Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			unset(v.Message(), rest)
			return true
		})
	case fd.IsMap() || fd.Message() == nil:
	case fd.IsList():
		for i := range m.Get(fd).List().Len() {
			unset(m.Get(fd).List().Get(i).Message(), rest)
		}
	default:
		unset(m.Get(fd).Message(), rest)
	}
}

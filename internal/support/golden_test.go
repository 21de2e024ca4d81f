package support

import (
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"isthmus.dev/isthmus/internal/compile"
	"isthmus.dev/isthmus/internal/compile/offline"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/testkit/golden"
)

const goldens = "../istio/testdata/golden"

// verdict is what one golden says of a row.
type verdict struct {
	// Works: without the field, other objects are rendered.
	Works bool
	// Refused: the status names the field as not translated.
	Refused bool
}

// readGoldens asks every golden about every row that its input has.
func readGoldens(t *testing.T, s *schema) map[string]map[row]verdict {
	t.Helper()
	out := map[string]map[row]verdict{}
	for _, c := range golden.Cases(t, goldens) {
		in, err := offline.ParseCase(c.Files)
		if err != nil {
			t.Fatalf("%s: %v", c.Path, err)
		}
		out[strings.TrimSuffix(filepath.Base(c.Path), ".txtar")] = judge(t, s, in)
	}
	return out
}

// judge takes one field after the other out of the resources of a case. What is rendered without it is different when it is
// translated.
func judge(t *testing.T, s *schema, in offline.Input) map[row]verdict {
	t.Helper()
	b := newBench(in)
	out := map[row]verdict{}
	for _, r := range in.Resources {
		if r.Kind.Istio() {
			continue
		}
		var refused []string
		for _, c := range b.conditions[r.FQN] {
			if c.Type == compile.Supported && c.Reason == "NotTranslated" {
				refused = append(refused, c.Field)
			}
		}
		var around, left []occurrence
		s.walk(r.Spec.ProtoReflect(), func(o occurrence) {
			v := out[o.row]
			switch stand(o.at, refused) {
			case named:
				v.Refused = true
			case touched:
				around = append(around, o)
			case free:
				left = append(left, o)
				v.Works = v.Works || slices.ContainsFunc(o.others(r.Spec), func(spec proto.Message) bool {
					other := resource.New(r.Kind, r.FQN, spec)
					return b.differs(t, other) || o.isSwitch() && len(resource.Check(other)) > 0
				})
			}
			out[o.row] = v
			if o.row.Value != "" && v.Works {
				field := row{Owner: o.row.Owner, Path: o.row.Path}
				out[field] = verdict{Works: true, Refused: out[field].Refused}
			}
		})
		for _, o := range around {
			if v := out[o.row]; !slices.ContainsFunc(left, func(l occurrence) bool { return under(l.at, o.at) }) {
				v.Refused = true // nothing in it is translated
				out[o.row] = v
			}
		}
	}
	return out
}

// bench translates a case, and then the case with one resource changed, as often as one likes.
type bench struct {
	compiler   *compile.Compiler
	renderer   *istio.Renderer
	snapshot   *store.Snapshot
	objects    map[string]string
	conditions map[resource.FQN][]resource.Condition
}

func newBench(in offline.Input) *bench {
	b := &bench{compiler: compile.New(), renderer: istio.New(), snapshot: offline.Snapshot(in)}
	result := b.compiler.RunAll(b.snapshot)
	b.renderer.Apply(result.Delta)
	b.objects, b.conditions = b.rendered(), result.Conditions
	return b
}

// rendered are the digests of all objects.
func (b *bench) rendered() map[string]string {
	out := map[string]string{}
	for _, cluster := range b.renderer.Clusters() {
		for id, o := range b.renderer.Bundle(cluster).Objects {
			out[cluster+"/"+id] = o.Digest
		}
	}
	return out
}

// differs says whether the objects are others with r in the place of what is there.
func (b *bench) differs(t *testing.T, r *resource.Resource) bool {
	key := store.ResourceKey(r.FQN)
	changed := b.snapshot.With(2, map[store.Key]any{key: r})
	needed, result := b.try(t, r, changed, key)
	if needed {
		return true
	}
	b.renderer.Apply(result.Delta)
	out := !maps.Equal(b.objects, b.rendered())
	b.renderer.Apply(b.compiler.Run(b.snapshot, []store.Key{key}).Delta)
	return out
}

// try translates one change. What cannot be translated at all without a field needs it, if it is never accepted without it.
func (b *bench) try(t *testing.T, r *resource.Resource, s *store.Snapshot, key store.Key) (needed bool, result *compile.Result) {
	defer func() {
		problem := recover()
		if problem == nil {
			return
		}
		if len(resource.Check(r)) == 0 {
			t.Errorf("%s is accepted and cannot be translated: %v\n%s", r.FQN, problem, resource.SpecJSON(r.Spec))
		}
		needed, b.compiler = true, compile.New()
		b.compiler.RunAll(b.snapshot)
	}()
	return false, b.compiler.Run(s, []store.Key{key})
}

// How a field stands to those that are not translated.
const (
	free    = iota
	named   // it is one of them, or in one
	touched // one of them is in it, so that it shows nothing
)

func stand(at string, refused []string) int {
	for _, f := range refused {
		if under(at, f) || under(f, at) && strings.HasPrefix(strings.TrimPrefix(f, at), "[") && strings.HasSuffix(f, "]") {
			return named
		}
	}
	if slices.ContainsFunc(refused, func(f string) bool { return under(f, at) }) {
		return touched
	}
	return free
}

// occurrence is a row that a resource has a value of.
type occurrence struct {
	row row
	// at is the path in the resource, as conditions say it.
	at    string
	steps []step
}

// step goes from a message to one of its fields, and there to an element of the list or the map, if it has to go on.
type step struct {
	fd    protoreflect.FieldDescriptor
	index int
	key   protoreflect.MapKey
}

// isSwitch says whether a field turns something on. Then a text that is not accepted without it says that it means something.
func (o occurrence) isSwitch() bool {
	return o.steps[len(o.steps)-1].fd.Kind() == protoreflect.BoolKind
}

// others are the specification without the field, or with other values in the place of this one.
func (o occurrence) others(spec proto.Message) []proto.Message {
	fd := o.steps[len(o.steps)-1].fd
	switch m := object(fd); {
	case o.row.Value != "":
		var out []proto.Message
		for i := range fd.Enum().Values().Len() {
			if v := fd.Enum().Values().Get(i); string(v.Name()) != o.row.Value {
				other, at := o.reach(spec, len(o.steps)-1)
				at.Set(fd, protoreflect.ValueOfEnum(v.Number()))
				out = append(out, other)
			}
		}
		return out
	case m != nil && m.Fields().Len() == 0 && len(o.steps) > 1:
		// What an object without fields says, the element of a list says that has it.
		other, at := o.reach(spec, len(o.steps)-2)
		at.Clear(o.steps[len(o.steps)-2].fd)
		return []proto.Message{other}
	}
	other, at := o.reach(spec, len(o.steps)-1)
	at.Clear(fd)
	return []proto.Message{other}
}

// reach clones a specification, and goes some steps into it.
func (o occurrence) reach(spec proto.Message, n int) (proto.Message, protoreflect.Message) {
	spec = proto.Clone(spec)
	m := spec.ProtoReflect()
	for _, st := range o.steps[:n] {
		v := m.Mutable(st.fd)
		switch {
		case st.fd.IsList():
			m = v.List().Get(st.index).Message()
		case st.fd.IsMap():
			m = v.Map().Get(st.key).Message()
		default:
			m = v.Message()
		}
	}
	return spec, m
}

// walk visits every field that is set, and every enum value.
func (s *schema) walk(m protoreflect.Message, visit func(occurrence)) {
	s.descend(m, m.Descriptor().FullName(), "", occurrence{}, visit)
}

func (s *schema) descend(m protoreflect.Message, owner protoreflect.FullName, prefix string, from occurrence, visit func(occurrence)) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		o := occurrence{row: row{Owner: owner, Path: prefix + label(fd)}, at: from.at + fd.JSONName()}
		o.steps = append(slices.Clone(from.steps), step{fd: fd})
		visit(o)
		if fd.Kind() == protoreflect.EnumKind && !fd.IsList() {
			if e := fd.Enum().Values().ByNumber(v.Enum()); e != nil && e.Number() != 0 {
				value := o
				value.row.Value = string(e.Name())
				visit(value)
			}
		}
		md := object(fd)
		if md == nil {
			return true
		}
		inner, path := owner, o.row.Path+"."
		if s.shared[md.FullName()] {
			inner, path = md.FullName(), ""
		}
		into := func(m protoreflect.Message, suffix string, st step) {
			next := occurrence{at: o.at + suffix + ".", steps: append(slices.Clone(from.steps), st)}
			s.descend(m, inner, path, next, visit)
		}
		switch {
		case fd.IsList():
			for i := range v.List().Len() {
				into(v.List().Get(i).Message(), "["+strconv.Itoa(i)+"]", step{fd: fd, index: i})
			}
		case fd.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				into(v.Message(), "."+k.String(), step{fd: fd, key: k})
				return true
			})
		default:
			into(v.Message(), "", step{fd: fd})
		}
		return true
	})
}

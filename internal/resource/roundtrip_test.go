package resource

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// TestRoundTrip writes any specification in each form and reads it back: both YAML forms, both as JSON, and REST.
func TestRoundTrip(t *testing.T) {
	forms := map[string]func(*Resource) ([]byte, error){
		"TctlYAML":   func(r *Resource) ([]byte, error) { return Encode([]*Resource{r}) },
		"TctlJSON":   func(r *Resource) ([]byte, error) { return json.Marshal(Envelope(r)) },
		"GitOpsYAML": func(r *Resource) ([]byte, error) { return YAML([]any{GitOps(r)}) },
		"GitOpsJSON": func(r *Resource) ([]byte, error) { return json.Marshal(GitOps(r)) },
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := anyResource(t)
				text, err := form(want)
				if err != nil {
					t.Fatal(err)
				}
				got, problems := decodeUnchecked(text)
				if len(problems) > 0 {
					t.Fatalf("%s\n%v", text, problems)
				}
				if diff := cmp.Diff(want, got, protocmp.Transform(), cmp.Comparer(func(a, b *Kind) bool { return a == b })); diff != "" {
					t.Fatalf("%s\n(-want +got):\n%s", text, diff)
				}
			})
		})
	}
	t.Run("REST", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			want := anyResource(t)
			text := EncodeREST(want)
			d := &document{fqn: want.FQN}
			got, etag := d.flat(want.Kind, d.json(text))
			if len(d.problems) > 0 {
				t.Fatalf("%s\n%v", text, d.problems)
			}
			if diff := cmp.Diff(want, got, protocmp.Transform(), cmp.Comparer(func(a, b *Kind) bool { return a == b })); diff != "" || etag != want.Etag {
				t.Fatalf("%s\netag %q (-want +got):\n%s", text, etag, diff)
			}
		})
	})
}

// decodeUnchecked decodes one document and leaves out what Check says: any value of a field will do here.
func decodeUnchecked(text []byte) (*Resource, []Problem) {
	d := &document{chunk: split(text)[0]}
	root, _, wrong := d.chunk.parse()
	if wrong != "" {
		return nil, []Problem{{Message: wrong}}
	}
	w := newWalker(d)
	e := d.envelope(w, root)
	kind, _ := d.kind(w, e)
	if kind == nil {
		return nil, d.problems
	}
	r := &Resource{Kind: kind, FQN: d.place(w, e, kind), Spec: kind.Spec()}
	if e.spec != nil {
		w.message(e.spec, r.Spec.ProtoReflect(), "spec")
	}
	d.outputs(w, e, r.FQN)
	d.fromMetadata(e, r)
	clearOutput(r.Spec.ProtoReflect())
	r.Etag = Etag(r)
	return r, d.problems
}

// anyResource draws a resource of any kind with any specification.
func anyResource(t *rapid.T) *Resource {
	kind := rapid.SampledFrom(Kinds).Draw(t, "kind")
	fqn := FQN("")
	for _, k := range kind.Lineage() {
		fqn = fqn.Child(k.Plural, rapid.StringMatching(`[a-z]([a-z0-9-]{0,5}[a-z0-9])?`).Draw(t, "name"))
	}
	spec := kind.Spec()
	anyMessage(t, spec.ProtoReflect(), 6)
	r := New(kind, fqn, spec)
	if kind.Istio() {
		r.Object = &isthmusv1.ObjectMeta{
			Namespace: "ns", Labels: map[string]string{"a": anyText(t)}, Annotations: map[string]string{"b": anyText(t)},
		}
		r.Etag = Etag(r)
	}
	return r
}

func anyMessage(t *rapid.T, m protoreflect.Message, depth int) {
	switch m := m.Interface().(type) {
	case *durationpb.Duration:
		m.Seconds = rapid.Int64Range(0, 1e6).Draw(t, "seconds")
		m.Nanos = rapid.Int32Range(0, 999).Draw(t, "millis") * 1e6
		return
	case *timestamppb.Timestamp:
		return
	case *structpb.Struct:
		m.Fields = anyFields(t, 3)
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if isOutput(fd) || depth == 0 || rapid.IntRange(0, 2).Draw(t, "set") > 0 {
			continue
		}
		if o := fd.ContainingOneof(); o != nil && m.WhichOneof(o) != nil {
			continue
		}
		switch {
		case fd.IsMap():
			for range rapid.IntRange(1, 2).Draw(t, "entries") {
				key := anyScalar(t, fd.MapKey()).MapKey()
				if fd.MapValue().Message() != nil {
					anyMessage(t, m.Mutable(fd).Map().Mutable(key).Message(), depth-1)
				} else {
					m.Mutable(fd).Map().Set(key, anyScalar(t, fd.MapValue()))
				}
			}
		case fd.IsList():
			for range rapid.IntRange(1, 2).Draw(t, "items") {
				if fd.Message() != nil {
					anyMessage(t, m.Mutable(fd).List().AppendMutable().Message(), depth-1)
				} else {
					m.Mutable(fd).List().Append(anyScalar(t, fd))
				}
			}
		case fd.Message() != nil:
			anyMessage(t, m.Mutable(fd).Message(), depth-1)
		default:
			m.Set(fd, anyScalar(t, fd))
		}
	}
}

func anyFields(t *rapid.T, depth int) map[string]*structpb.Value {
	fields := map[string]*structpb.Value{}
	for range rapid.IntRange(0, 2).Draw(t, "entries") {
		fields[anyText(t)] = anyValue(t, depth)
	}
	return fields
}

// anyValue draws what a free-form field may hold.
func anyValue(t *rapid.T, depth int) *structpb.Value {
	kind := rapid.IntRange(0, 5).Draw(t, "kind of value")
	if depth == 0 {
		kind %= 4
	}
	switch kind {
	case 0:
		return structpb.NewNullValue()
	case 1:
		return structpb.NewBoolValue(rapid.Bool().Draw(t, "bool"))
	case 2:
		return structpb.NewNumberValue(anyNumber(t))
	case 3:
		return structpb.NewStringValue(anyText(t))
	case 4:
		return structpb.NewStructValue(&structpb.Struct{Fields: anyFields(t, depth-1)})
	}
	list := &structpb.ListValue{}
	for range rapid.IntRange(0, 2).Draw(t, "items") {
		list.Values = append(list.Values, anyValue(t, depth-1))
	}
	return structpb.NewListValue(list)
}

func anyNumber(t *rapid.T) float64 {
	return rapid.OneOf(rapid.SampledFrom([]float64{0, -1, 0.5, 1e6, 1e21, 1e-7, maxExact}), rapid.Float64Range(-1e9, 1e9)).Draw(t, "number")
}

func anyScalar(t *rapid.T, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(fd.Enum().Values().Get(rapid.IntRange(0, fd.Enum().Values().Len()-1).Draw(t, "enum")).Number())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "bytes"))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(anyText(t))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(anyNumber(t))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(rapid.Float32Range(-1e6, 1e6).Draw(t, "float"))
	}
	t.Fatalf("no generator for %v", fd.Kind())
	panic("unreachable")
}

// anyText draws texts that YAML could take for something else.
func anyText(t *rapid.T) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			"yes", "null", "~", "1", "1.10", "0x1", "true", "- a", "a: b", "*x", "&x", "# c", " a", "a ", "\ta", "a\nb", "\n", "\n a\n",
			"'", "\"", "---", "...", "2026-01-02", "<<", "=", "!x", "%", "@", "`", "?", "[", "{", "|", ">", "😀", "é\u2028", "\\u0041", "a\r\nb",
		}),
		rapid.StringMatching(`[ -~\n]{1,12}`),
	).Filter(func(s string) bool { return placeholderProblem("", s) == "" && !template.MatchString(s) }).Draw(t, "text")
}

// TestEncodeIsStable: equal resources give the same bytes and the same etag.
func TestEncodeIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyResource(t)
		again := New(r.Kind, r.FQN, proto.Clone(r.Spec))
		again.Object = proto.CloneOf(r.Object)
		again.Etag = Etag(again)
		a, _ := Encode([]*Resource{r})
		b, _ := Encode([]*Resource{again})
		if diff := cmp.Diff(string(a), string(b)); diff != "" || r.Etag != again.Etag {
			t.Fatalf("etags %s and %s (-first +second):\n%s", r.Etag, again.Etag, diff)
		}
	})
}

// TestSpecJSON: the two ways to JSON agree.
func TestSpecJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyResource(t)
		if diff := cmp.Diff(string(mustJSON(tree(r.Spec.ProtoReflect()))), string(SpecJSON(r.Spec))); diff != "" {
			t.Fatalf("(-tree +append):\n%s", diff)
		}
	})
}

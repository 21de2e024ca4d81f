package compile

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	istiointernalv2 "isthmus.dev/isthmus/api/tsb/istiointernal/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

func itoa[T int | uint32](n T) string { return strconv.FormatInt(int64(n), 10) }

// setFields lists the fields of a message that are set, in JSON spelling, without some; one level deeper for messages, so
// that the path says what it is about.
func setFields(m proto.Message, without ...string) []string {
	var fields []string
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := fd.JSONName()
		switch {
		case slices.Contains(without, name):
		case fd.IsList():
			for i := range v.List().Len() {
				fields = append(fields, name+"["+itoa(i)+"]")
			}
		case fd.Message() != nil && !fd.IsMap() && fd.Message().ParentFile().Package() != "google.protobuf":
			inner := setFields(v.Message().Interface(), "fqn", "displayName", "description", "etag")
			for _, f := range inner {
				fields = append(fields, name+"."+f)
			}
			if len(inner) == 0 {
				fields = append(fields, name)
			}
		default:
			fields = append(fields, name)
		}
		return true
	})
	return fields
}

// What Kubernetes takes as label and annotation keys, and as label values.
var (
	metadataName   = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	metadataPrefix = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
	hostLabel      = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$`)
)

// metadataOf is what a resource wants on the generated objects.
func metadataOf(spec proto.Message) *typesv2.ConfigGenerationMetadata {
	m, _ := spec.(interface {
		GetConfigGenerationMetadata() *typesv2.ConfigGenerationMetadata
	})
	if m == nil {
		return nil
	}
	return m.GetConfigGenerationMetadata()
}

// ownMetadata is what an object of Istio's says of itself, in the place where other resources say it.
func ownMetadata(o *isthmusv1.ObjectMeta) proto.Message {
	return &istiointernalv2.Group{ConfigGenerationMetadata: &typesv2.ConfigGenerationMetadata{Labels: o.GetLabels(), Annotations: o.GetAnnotations()}}
}

// metadataProblems are those of what a resource wants on the generated objects, and of what its parts want.
func metadataProblems(res *resource.Resource) []resource.Condition {
	if res.Kind.Istio() {
		return problemsOf(metadataOf(ownMetadata(res.Object)), "metadata")
	}
	cs := problemsOf(metadataOf(res.Spec), "configGenerationMetadata")
	if s, ok := res.Spec.(*tsbv2.WorkspaceSetting); ok {
		for i, e := range s.GetDefaultEastWestGatewaySettings() {
			cs = append(cs, problemsOf(metadataOf(e), eastWestField+"["+itoa(i)+"].configGenerationMetadata")...)
		}
	}
	return cs
}

// problemsOf metadata that stands at a place in a specification.
func problemsOf(m *typesv2.ConfigGenerationMetadata, field string) []resource.Condition {
	var cs []resource.Condition
	for _, k := range slices.Sorted(maps.Keys(m.GetLabels())) {
		if why := labelProblem(k, m.GetLabels()[k]); why != "" {
			cs = append(cs, no(reasonInvalidMetadata, field+".labels", "Label %q is left out: %s.", k, why))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(m.GetAnnotations())) {
		if why := keyProblem(k); why != "" {
			cs = append(cs, no(reasonInvalidMetadata, field+".annotations", "Annotation %q is left out: %s.", k, why))
		}
	}
	return cs
}

func labelProblem(key, value string) string {
	if value != "" && !metadataName.MatchString(value) {
		return fmt.Sprintf("%q is not a label value", value)
	}
	return keyProblem(key)
}

func keyProblem(key string) string {
	prefix, name, ok := strings.Cut(key, "/")
	if !ok {
		prefix, name = "", key
	}
	switch {
	case !metadataName.MatchString(name) || ok && !metadataPrefix.MatchString(prefix):
		return "it is not a key"
	// istio.io/rev would make istiod ignore the object, and the managed-by label tells ours from others.
	case key == "app.kubernetes.io/managed-by", key == "istio.io/rev", prefix == "isthmus.dev", prefix == "tsb.tetrate.io", prefix == "xcp.tetrate.io":
		return "the key belongs to Isthmus"
	}
	return ""
}

// mergeMetadata combines what several resources want; later ones win.
func mergeMetadata(specs ...proto.Message) intent.Metadata {
	var m intent.Metadata
	for _, s := range specs {
		for k, v := range metadataOf(s).GetLabels() {
			if labelProblem(k, v) == "" {
				if m.Labels == nil {
					m.Labels = map[string]string{}
				}
				m.Labels[k] = v
			}
		}
		for k, v := range metadataOf(s).GetAnnotations() {
			if keyProblem(k) == "" {
				if m.Annotations == nil {
					m.Annotations = map[string]string{}
				}
				m.Annotations[k] = v
			}
		}
	}
	return m
}

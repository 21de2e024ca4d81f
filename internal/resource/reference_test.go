package resource

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

const referenceDir = "../../docs/reference"

// TestReference holds the reference pages against the table, the descriptors and the comments of the protos.
func TestReference(t *testing.T) {
	for name, got := range reference(t) {
		path := filepath.Join(referenceDir, name)
		if *update {
			if err := os.MkdirAll(referenceDir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got, -update writes it):\n%s", path, diff)
		}
	}
}

// page writes one page of the reference.
type page struct {
	strings.Builder
	comments map[string]string
	// todo are the messages that are mentioned on any page, in order of mention, without those that have a section.
	todo *[]protoreflect.MessageDescriptor
	seen map[protoreflect.FullName]bool
}

// reference returns the pages by file name: one of the kinds, and one of the objects inside for each group.
func reference(t *testing.T) map[string]string {
	const how = "Made from the table of kinds and the protos in `api/tsb`: `go test ./internal/resource -run Reference -update`.\n"
	kinds := &page{comments: protoComments(t), seen: map[protoreflect.FullName]bool{}, todo: new([]protoreflect.MessageDescriptor)}
	kinds.WriteString("# Kinds\n\n" + how + "\nFields marked *output* are filled in by the server; in input they are accepted and ignored.\n")
	for _, k := range Kinds {
		if Relatives(k)[0] == k { // one section is for all places
			kinds.kind(k)
		}
	}
	out := map[string]*page{}
	for len(*kinds.todo) > 0 {
		m := (*kinds.todo)[0]
		*kinds.todo = (*kinds.todo)[1:]
		file := pageOf(m)
		p := out[file]
		if p == nil {
			p = &page{comments: kinds.comments, seen: kinds.seen, todo: kinds.todo}
			fmt.Fprintf(p, "# Objects of `%s`\n\n%s", m.ParentFile().Package(), how)
			out[file] = p
		}
		fmt.Fprintf(p, "\n## %s\n\n%s", shortName(m), p.sentence(m))
		p.fields(m)
	}
	texts := map[string]string{"kinds.md": kinds.String()}
	for file, p := range out {
		texts[file] = p.String()
	}
	return texts
}

// pageOf is the file that has the section of a message.
func pageOf(m protoreflect.MessageDescriptor) string {
	group := strings.TrimSuffix(strings.TrimPrefix(string(m.ParentFile().Package()), "tetrateio.api.tsb."), "v2")
	return cmp.Or(strings.TrimSuffix(group, "."), "core") + ".md"
}

// shortName is a message without its package.
func shortName(m protoreflect.MessageDescriptor) string {
	return strings.TrimPrefix(string(m.FullName()), string(m.ParentFile().Package())+".")
}

func (p *page) kind(k *Kind) {
	m := k.Spec().ProtoReflect().Descriptor()
	if !k.Istio() {
		p.seen[m.FullName()] = true
	}
	fmt.Fprintf(p, "\n## %s (%s)\n\n%s", k.Name, titleOf(k), p.sentence(m))
	if k.Istio() {
		_, fqn := placeOf(k)
		p.istioKind(k, fqn)
		return
	}
	fmt.Fprintf(p, "- `apiVersion: %s`, `kind: %s`; for `tctl`: `%s`\n", k.APIVersion, k.Name, strings.Join(append([]string{k.Plural}, k.Short...), "`, `"))
	if k.Instead != "" {
		fmt.Fprintf(p, "- deprecated: use %s\n", k.Instead)
	}
	for _, k := range Relatives(k) {
		parents, fqn := placeOf(k)
		fmt.Fprintf(p, "- metadata: %s\n", strings.Join(append(parents, "`name`"), ", "))
		fmt.Fprintf(p, "- FQN: `%s`\n", fqn)
		fmt.Fprintf(p, "- REST: `/v2/%s`; create with `POST` of `{\"name\": …, %q: {…}}` to the path without the name\n", fqn, k.Singular)
	}
	p.WriteString("\n")
	p.fields(m)
}

// placeOf is how a kind is placed: by keys of metadata, and by its full name.
func placeOf(k *Kind) (parents []string, fqn FQN) {
	for _, l := range k.Lineage() {
		fqn = fqn.Child(l.Plural, "<"+cmp.Or(l.Key, "name")+">")
		if l != k {
			parents = append(parents, "`"+l.Key+"`")
		}
	}
	return parents, fqn
}

// titleOf is what stands behind the name of a kind.
func titleOf(k *Kind) string {
	if k.Istio() {
		return k.APIVersion + ", in " + groupNoun(ByID(k.Parent))
	}
	return k.APIVersion
}

// istioKind says how an object of Istio's is placed; its fields are Istio's.
func (p *page) istioKind(k *Kind, fqn FQN) {
	fmt.Fprintf(p, "An object of [Istio](https://istio.io/latest/docs/reference/config/), which is passed on as it is: [DIRECT mode](../design/direct-mode.md).\n\n")
	fmt.Fprintf(p, "- `apiVersion: %s`, `kind: %s`; for `tctl`: `%s`\n", strings.Join(append([]string{k.APIVersion}, k.Versions...), "` or `"), k.Name, k.Plural)
	var keys []string
	for _, l := range k.Lineage() {
		if l != k {
			keys = append(keys, "`"+annotationPrefix+cmp.Or(l.Annotation, l.Key)+"`")
		}
	}
	fmt.Fprintf(p, "- metadata: `name`, `namespace`, annotations or labels %s\n", strings.Join(keys, ", "))
	fmt.Fprintf(p, "- FQN: `%s`\n", fqn)
	fmt.Fprintf(p, "- REST: `/v2/%s`; create with `POST` of `{\"name\": …, %q: {\"metadata\": {\"namespace\": …}, …}}` to the path without the name\n", fqn, k.Singular)
}

// sentence is the comment of a message as a paragraph.
func (p *page) sentence(m protoreflect.MessageDescriptor) string {
	if c := p.comments[string(m.FullName())]; c != "" {
		return c + "\n\n"
	}
	return ""
}

func (p *page) fields(m protoreflect.MessageDescriptor) {
	if m.Fields().Len() == 0 {
		p.WriteString("It has no fields.\n")
		return
	}
	p.WriteString("| field | type | |\n|---|---|---|\n")
	for i := range m.Fields().Len() {
		fd := m.Fields().Get(i)
		fmt.Fprintf(p, "| `%s` | %s | %s |\n", fd.JSONName(), p.typeOf(fd), strings.Join(p.notes(fd), ". "))
	}
}

func (p *page) typeOf(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.IsMap():
		return "map of " + p.typeOf(fd.MapValue())
	case fd.IsList():
		return "list of " + p.element(fd)
	}
	return p.element(fd)
}

func (p *page) element(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.Kind() == protoreflect.EnumKind:
		return "`" + strings.Join(enumNames(fd.Enum()), "`, `") + "`"
	case fd.Message() == nil:
		return strings.TrimPrefix(want(fd), "a ")
	case fd.Message().FullName() == "google.protobuf.Struct":
		return "object with keys of your choice"
	case fd.Message().FullName().Parent() == "google.protobuf":
		return strings.ToLower(string(fd.Message().Name()))
	}
	m := fd.Message()
	if !p.seen[m.FullName()] {
		p.seen[m.FullName()] = true
		*p.todo = append(*p.todo, m)
	}
	name := shortName(m)
	return fmt.Sprintf("[%s](%s#%s)", name, pageOf(m), strings.ReplaceAll(strings.ToLower(name), ".", ""))
}

// notes are what a reader must know of a field: rules, then the comment.
func (p *page) notes(fd protoreflect.FieldDescriptor) []string {
	var notes []string
	rules, _ := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules)
	if isOutput(fd) {
		notes = append(notes, "*output*")
	}
	if rules.GetRequired() || rules.GetRepeated().GetMinItems() > 0 || rules.GetMap().GetMinPairs() > 0 {
		notes = append(notes, "**required**")
	}
	if instead := insteadOf(fd); instead != "" {
		notes = append(notes, "deprecated: use "+instead)
	}
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		notes = append(notes, "only one of "+oneofNames(o))
	}
	if shape := proto.GetExtension(fd.Options(), typesv2.E_Shape).(string); shape != "" {
		notes = append(notes, shape)
	}
	if u := rules.GetUint32(); u.HasLte() {
		notes = append(notes, fmt.Sprintf("at most %d", u.GetLte()))
	}
	if c := p.comments[string(fd.FullName())]; c != "" {
		c = strings.Replace(strings.TrimSuffix(c, "."), string(fd.Name())+" ", "`"+fd.JSONName()+"` ", 1)
		notes = append(notes, strings.ReplaceAll(c, "|", "\\|"))
	}
	return notes
}

var (
	protoOpen    = regexp.MustCompile(`^(message|enum|oneof) (\w+) \{(\})?`)
	protoField   = regexp.MustCompile(`^(?:repeated |optional )?[\w.<>, ]+ (\w+) = \d+`)
	protoComment = regexp.MustCompile(`^// ?(.*)$`)
)

// protoComments reads the comments above messages and fields, by full name. Descriptors in programs have none.
func protoComments(t *testing.T) map[string]string {
	comments := map[string]string{}
	paths, err := filepath.Glob("../../api/tsb/*/*.proto")
	more, err2 := filepath.Glob("../../api/tsb/*/v2/*.proto")
	if err != nil || err2 != nil || len(more) == 0 {
		t.Fatal("no protos", err, err2)
	}
	for _, path := range append(paths, more...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(comments, commentsOf(string(text)))
	}
	return comments
}

// commentsOf reads one file. It knows the protos of this repository, not all protos.
func commentsOf(text string) map[string]string {
	comments := map[string]string{}
	var scope []string // of messages; "" for oneofs and other braces
	var above []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := protoComment.FindStringSubmatch(line); m != nil {
			above = append(above, m[1])
			continue
		}
		name := func(last string) string {
			return strings.Join(append(slices.DeleteFunc(slices.Clone(scope), func(s string) bool { return s == "" }), last), ".")
		}
		comment := strings.Join(above, " ")
		above = nil
		if rest, ok := strings.CutPrefix(line, "package "); ok {
			scope = []string{strings.TrimSuffix(rest, ";")}
			continue
		}
		if m := protoOpen.FindStringSubmatch(line); m != nil {
			opened := ""
			if m[1] != "oneof" {
				opened = m[2]
				comments[name(opened)] = comment
			}
			if m[3] == "" {
				scope = append(scope, opened)
			}
			continue
		}
		if m := protoField.FindStringSubmatch(line); m != nil && comment != "" {
			comments[name(m[1])] = comment
		}
		for range strings.Count(line, "{") - strings.Count(line, "}") {
			scope = append(scope, "")
		}
		for range strings.Count(line, "}") - strings.Count(line, "{") {
			scope = scope[:len(scope)-1]
		}
	}
	return comments
}

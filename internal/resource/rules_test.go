package resource

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestEveryRuleHasACase looks in the habits for a problem of each rule: those in the code of Check, and those that the
// protos say. A rule without one may refuse the wrong thing, or name the wrong field.
func TestEveryRuleHasACase(t *testing.T) {
	problems, shown := caseProblems(t)
	for _, r := range codeRules(t) {
		if !r.shape.MatchString(problems) && !strings.Contains(shown, r.words) {
			t.Errorf("%s: no case in testdata/habits has a problem like %q", r.at, r.shape)
		}
	}
	said := map[string]bool{} // by message and field, and the beginning of what is said
	for line := range strings.SplitSeq(problems, "\n") {
		noteProblem(line, said)
	}
	for _, want := range protoRules() {
		if !said[want] {
			t.Errorf("no case in testdata/habits has the problem %q", want)
		}
	}
}

// caseProblems are the lines with problems of all habits, and the other tests of this package.
func caseProblems(t *testing.T) (problems, tests string) {
	t.Helper()
	var lines, others strings.Builder
	paths, _ := filepath.Glob("testdata/habits/*.txtar")
	for _, p := range paths {
		ar, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ar.Files {
			if f.Name != "want" {
				continue
			}
			for line := range strings.SplitSeq(string(f.Data), "\n") {
				if strings.HasPrefix(line, "problem: ") {
					lines.WriteString(line + "\n")
				}
			}
		}
	}
	sources, _ := filepath.Glob("*_test.go")
	for _, p := range sources {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		others.Write(data)
	}
	if lines.Len() == 0 {
		t.Fatal("no problems in any case")
	}
	return lines.String(), others.String()
}

// codeRule is one call of checker.at.
type codeRule struct {
	at string
	// shape of the line of a problem, from the field on.
	shape *regexp.Regexp
	// words are the longest part of the message that is always the same.
	words string
}

func codeRules(t *testing.T) []codeRule {
	t.Helper()
	var rules []codeRule
	files := gotoken.NewFileSet()
	paths, _ := filepath.Glob("check*.go")
	for _, p := range paths {
		f, err := parser.ParseFile(files, p, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); !ok || s.Sel.Name != "at" {
				return true
			}
			format, ok := literal(call.Args[1])
			if words := longest(format); ok && words != "" {
				message := strings.ReplaceAll(verbs.ReplaceAllString(regexp.QuoteMeta(format), ".*"), "%%", "%")
				shape := "(?m)" + shapeOf(call.Args[0]) + ": " + message + "$"
				rules = append(rules, codeRule{files.Position(call.Pos()).String(), regexp.MustCompile(shape), words})
			}
			return true
		})
	}
	if len(rules) < 50 {
		t.Fatalf("found only %d rules", len(rules))
	}
	return rules
}

var verbs = regexp.MustCompile(`%[a-z]`)

// longest is the longest part of a format without verbs, empty for one that is nearly nothing else.
func longest(format string) string {
	part := slices.MaxFunc(verbs.Split(format, -1), func(a, b string) int { return len(a) - len(b) })
	if len(part) < 5 {
		return ""
	}
	return part
}

// shapeOf is a pattern for what an expression of a path comes to.
func shapeOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, _ := literal(e)
		return regexp.QuoteMeta(s)
	case *ast.BinaryExpr:
		return shapeOf(e.X) + shapeOf(e.Y)
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.Ident); ok && f.Name == "mapPath" {
			return shapeOf(e.Args[0]) + `\[".*"\]`
		}
	}
	return ".*"
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != gotoken.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// noteProblem notes what a line says of which field of which message.
func noteProblem(line string, said map[string]bool) {
	m := problemLine.FindStringSubmatch(line)
	if m == nil {
		return
	}
	kind := slices.IndexFunc(Kinds, func(k *Kind) bool { return k.Name == m[1] })
	for ; kind >= 0 && kind < len(Kinds); kind++ { // kinds of several groups have one name
		if Kinds[kind].Name != m[1] {
			continue
		}
		if at, ok := fieldAt(Kinds[kind].Spec().ProtoReflect().Descriptor(), m[2]); ok {
			for _, words := range []string{"is required", "must be ", "must contain at least"} {
				if strings.HasPrefix(m[3], words) {
					said[at.field+" "+words] = true
				}
			}
			if strings.HasPrefix(m[3], "needs one of") {
				said[at.message+" needs one of"] = true
			}
		}
	}
}

var (
	problemLine = regexp.MustCompile(`^problem: .*: document \d+: (\S+) \S+: (spec\S*): (.*)$`)
	pathPart    = regexp.MustCompile(`^\.([A-Za-z0-9]+)((?:\[[^\]]*\])*)`)
)

// place is a field, and the message in it.
type place struct{ field, message string }

// fieldAt follows a path from a message to the field at its end.
func fieldAt(d protoreflect.MessageDescriptor, path string) (at place, ok bool) {
	rest := strings.TrimPrefix(path, "spec")
	for rest != "" {
		m := pathPart.FindStringSubmatch(rest)
		if m == nil || d == nil {
			return place{}, false
		}
		fd := d.Fields().ByJSONName(m[1])
		if fd == nil {
			return place{}, false
		}
		rest = rest[len(m[0]):]
		at = place{field: string(fd.FullName())}
		if d = fd.Message(); fd.IsMap() {
			d = fd.MapValue().Message()
		}
		if d != nil {
			at.message = string(d.FullName())
		}
	}
	return at, at.field != ""
}

// protoRules are the rules of all messages that kinds have in them, as noteProblem has them.
func protoRules() []string {
	rules := map[string]bool{}
	seen := map[protoreflect.FullName]bool{}
	var visit func(d protoreflect.MessageDescriptor)
	field := func(fd protoreflect.FieldDescriptor) {
		r, _ := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules)
		add := func(set bool, words string) {
			if set {
				rules[fmt.Sprintf("%s %s", fd.FullName(), words)] = true
			}
		}
		add(r.GetRequired(), "is required")
		add(r.GetRepeated().HasMinItems(), "must contain at least")
		add(r.GetMap().HasMinPairs(), "must contain at least")
		add(r.GetString().HasPattern() || r.GetUint32() != nil || len(r.GetEnum().GetNotIn()) > 0, "must be ")
		d := fd.Message()
		if fd.IsMap() {
			d = fd.MapValue().Message()
		}
		if d == nil {
			return
		}
		visit(d)
	}
	visit = func(d protoreflect.MessageDescriptor) {
		if seen[d.FullName()] || strings.HasPrefix(string(d.FullName()), "google.") {
			return
		}
		seen[d.FullName()] = true
		for i := range d.Fields().Len() {
			field(d.Fields().Get(i))
		}
		for i := range d.Oneofs().Len() {
			if r, _ := proto.GetExtension(d.Oneofs().Get(i).Options(), validate.E_Oneof).(*validate.OneofRules); r.GetRequired() {
				rules[string(d.FullName())+" needs one of"] = true
			}
		}
	}
	for _, k := range Kinds {
		visit(k.Spec().ProtoReflect().Descriptor())
	}
	return slices.Sorted(maps.Keys(rules))
}

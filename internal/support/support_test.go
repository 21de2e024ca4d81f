package support

import (
	"cmp"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var update = flag.Bool("update", false, "rewrite docs/reference/support.md") //nolint:gochecknoglobals // a flag of the test binary

const pagePath = "docs/reference/support.md"

// State of a row. There is no third one: a row with neither fails the test.
const (
	works   = "works"
	refused = "refused"
)

// finding is what is known of a row.
type finding struct {
	State string
	// Test is the test of applied text, Golden that of what is rendered or said; Proof is set for what is not translated.
	Test   *shown
	Golden string
	Proof  *proof
	// Not is a golden that shows a refusal of a kind's field that works elsewhere.
	Not  string
	Note string
}

// evidence is everything that was read.
type evidence struct {
	schema  *schema
	goldens map[string]map[row]verdict
	shown   []*shown
	filled  map[row]bool
	found   map[row]finding
	kinds   map[protoreflect.FullName]string
}

// TestSupport holds the page against the evidence, and every field against having some.
func TestSupport(t *testing.T) {
	s, crds := newSchema(), readCRDs(t)
	e := &evidence{schema: s, goldens: readGoldens(t, s), shown: readShown(t, s, crds), found: map[row]finding{}, kinds: kindNames()}
	e.filled = readFilled(t, s)
	for i := range proofs {
		proofs[i].check(t)
	}
	e.decide()
	for _, sec := range s.sections {
		for _, r := range sec.Rows {
			if e.found[r].State == "" {
				missing(t, sec.Title+" "+r.name())
			}
		}
	}
	install := decideInstalled(t, crds, readInstaller(t, crds), e.shown)
	if t.Failed() {
		t.Log(`Every field works or is refused, and a test shows which.
- It works: set it in a golden (internal/istio/testdata/golden), in which other objects are rendered with it than without it; read them. Then a scenario
  (test/scenarios) with real requests.
- It does not: let the status say so, with the reason NotTranslated (untranslated() and server.refuse() in internal/compile), and set it in a golden.
- It is not for the translation (kept for people, filled in by the server): name its test in internal/support/served_test.go.
Then go test ./internal/support -update, and read what changed in ` + pagePath + ".")
		return
	}
	page := e.page(install)
	if *update {
		if err := os.WriteFile(root+pagePath, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := gocmp.Diff(read(t, pagePath), page); diff != "" {
		t.Errorf("%s says something else than the tests (-page +tests). Read the difference; go test ./internal/support -update accepts it:\n%s", pagePath, diff)
	}
}

func missing(t *testing.T, what string) {
	t.Helper()
	t.Errorf("%s: nothing shows that it works, and nothing that it is refused", what)
}

// name of a row for messages.
func (r row) name() string {
	if r.Value != "" {
		return r.Path + ": " + r.Value
	}
	return r.Path
}

// decide finds the state of every row.
func (e *evidence) decide() {
	for _, sec := range e.schema.sections {
		for _, r := range sec.Rows {
			e.found[r] = e.direct(r)
		}
	}
	for changed := true; changed; {
		changed = false
		for _, sec := range e.schema.sections {
			for i, r := range sec.Rows {
				if e.found[r].State != "" {
					continue
				}
				if f := e.derived(sec, i); f.State != "" {
					e.found[r], changed = f, true
				}
			}
		}
	}
}

// direct is what tests say of the row itself.
func (e *evidence) direct(r row) finding {
	kind := e.kinds[r.Owner]
	if p := proofOf(cmp.Or(kind, string(r.Owner.Name())), kind != "", r); p != nil {
		f := finding{State: works, Proof: p, Note: p.Note}
		if p.Refused {
			f.State = refused
		}
		return f
	}
	if e.schema.output[r] {
		if e.filled[r] {
			return finding{State: works, Proof: &proof{Test: filled}, Note: "filled in"}
		}
		return finding{State: refused, Proof: &proof{Test: habits + "AcceptWhatGetPrinted.txtar"}, Note: "not filled in; ignored in input"}
	}
	golden := e.golden(func(v verdict) bool { return v.Works }, r)
	not := e.golden(func(v verdict) bool { return v.Refused }, r)
	switch {
	case golden != "" && kind != "":
		return finding{State: works, Golden: golden, Test: e.test(r), Not: not}
	case golden != "": // where it is refused, the field of the kind is
		return finding{State: works, Golden: golden, Test: e.test(r)}
	case not != "":
		return finding{State: refused, Golden: not}
	}
	return finding{}
}

// golden is the one that fits and is about the fewest things.
func (e *evidence) golden(fits func(verdict) bool, r row) string {
	best := ""
	for name, rows := range e.goldens {
		if fits(rows[r]) && (best == "" || cmp.Or(cmp.Compare(len(rows), len(e.goldens[best])), cmp.Compare(name, best)) < 0) {
			best = name
		}
	}
	return best
}

// test is the scenario that applies the row and is about the fewest things; without one the guide, without that an
// end-to-end test.
func (e *evidence) test(r row) *shown {
	var best *shown
	for _, x := range e.shown {
		if x.Rows[r] && (best == nil || x.Sort == best.Sort && len(x.Rows) < len(best.Rows)) {
			best = x
		}
	}
	return best
}

// derived is what follows from other rows. An object works when something in it does, and is refused when everything in
// it is; what is in something that is refused is refused with it.
func (e *evidence) derived(sec section, i int) finding {
	r := sec.Rows[i]
	for _, o := range sec.Rows[:i] {
		// "" for the value of a refused field, and for what is below it.
		if f := e.found[o]; f.State == refused && f.Golden != "" && o.Value == "" && under(r.Path, o.Path) {
			return finding{State: refused, Golden: f.Golden}
		}
	}
	var in []finding
	for _, o := range sec.Rows[i+1:] {
		if r.Value == "" && o.Value == "" && o.Path != r.Path && under(o.Path, r.Path) {
			in = append(in, e.found[o])
		}
	}
	if j := slices.IndexFunc(in, func(f finding) bool { return f.State == works }); j >= 0 {
		return finding{State: works, Golden: in[j].Golden, Test: in[j].Test, Proof: in[j].Proof, Note: in[j].Note}
	}
	if len(in) > 0 && !slices.ContainsFunc(in, func(f finding) bool { return f.State != refused }) {
		return finding{State: refused, Golden: in[0].Golden, Proof: in[0].Proof, Note: in[0].Note}
	}
	return e.inherited(sec)
}

// inherited is refused where all fields that have the object are.
func (e *evidence) inherited(sec section) finding {
	var all finding
	for r, owner := range e.schema.links {
		if owner != sec.Owner || e.schema.output[r] {
			continue
		}
		f := e.found[r]
		if f.State != refused || f.Golden == "" {
			return finding{}
		}
		if all.Golden == "" || f.Golden < all.Golden {
			all = finding{State: refused, Golden: f.Golden}
		}
	}
	return all
}

// installed is a row of the kinds of install.tetrate.io.
type installed struct {
	Kind, Field string
	finding
}

// decideInstalled finds the state of the fields of install.tetrate.io. Those that all kinds have are one row, without a kind.
func decideInstalled(t *testing.T, crds []*crd, goldens map[string]map[string]bool, tests []*shown) []installed {
	t.Helper()
	var out []installed
	common := func(field string) bool {
		return !slices.ContainsFunc(crds, func(c *crd) bool { return !slices.Contains(c.Fields, field) })
	}
	add := func(kind, field string, keys []string) {
		x := installed{Kind: kind, Field: field}
		for name, seen := range goldens {
			if containsAny(seen, keys) && (x.Golden == "" || cmp.Or(cmp.Compare(len(seen), len(goldens[x.Golden])), cmp.Compare(name, x.Golden)) < 0) {
				x.Golden = name
			}
		}
		for _, s := range tests {
			if containsAny(s.Install, keys) && (x.Test == nil || x.Test.Sort == s.Sort && len(s.Install) < len(x.Test.Install)) {
				x.Test = s
			}
		}
		switch {
		case strings.HasPrefix(field, "status."):
			x.Proof, x.Note = &proof{Test: "internal/installer/status_test.go", Says: `"` + field[strings.LastIndexByte(field, '.')+1:] + `":`}, "filled in"
			x.Proof.check(t)
		case x.Golden == "":
			missing(t, cmp.Or(kind, "every kind")+" of install.tetrate.io "+field+" (its goldens are in internal/installer)")
		}
		x.State = works
		out = append(out, x)
	}
	for _, c := range crds {
		for _, f := range c.Fields {
			if !common(f) {
				add(c.Kind, f, []string{c.Kind + " " + f})
			}
		}
	}
	for _, f := range crds[0].Fields {
		if common(f) {
			var keys []string
			for _, c := range crds {
				keys = append(keys, c.Kind+" "+f)
			}
			add("", f, keys)
		}
	}
	return out
}

func containsAny(seen map[string]bool, keys []string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return seen[k] })
}

package compile

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite docs/reference/conditions.md") //nolint:gochecknoglobals // a flag of the test binary

// TestConditionsPage holds the page for users against the table.
func TestConditionsPage(t *testing.T) {
	const path = "../../docs/reference/conditions.md"
	var b strings.Builder
	b.WriteString(`# Conditions

What Isthmus says of a resource when only the whole configuration can show it. A mistake in the text of a resource is refused when it is applied;
these are about how it stands to other resources and to what the clusters have. Each names the field that it is about, and the
cluster when it is not true of all. ` + "`tctl x status`" + ` and ` + "`tctl x translate`" + ` show them.

The table is generated from ` + "`internal/compile/reasons.go`" + `.

| type | reason | meaning |
|---|---|---|
`)
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if seen[r.Name] || typeOf(r.Name) != r.Type {
			t.Errorf("reason %s is there twice, or has another type in typeOf", r.Name)
		}
		seen[r.Name] = true
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.Type, r.Name, r.Doc)
	}
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(got)); diff != "" {
		t.Errorf("%s (-want +got, -update accepts):\n%s", path, diff)
	}
}

// TestEveryReasonHasACase looks for each reason in the goldens.
func TestEveryReasonHasACase(t *testing.T) {
	paths, err := filepath.Glob("../istio/testdata/golden/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no goldens (err %v)", err)
	}
	var all strings.Builder
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	for _, r := range Reasons() {
		if !strings.Contains(all.String(), r.Type+"=false "+r.Name) && r.Name != reasonAccepted && r.Name != reasonReservedPort {
			t.Errorf("no golden shows %s", r.Name)
		}
	}
}

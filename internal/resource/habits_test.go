package resource

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestHabits reads YAML as people really write it. Each file says in its first line what it shows; its section
// "want" is what the decoder made of the others: a line per object, warning and problem.
func TestHabits(t *testing.T) {
	paths, err := filepath.Glob("testdata/habits/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var files []File
			want := ""
			kept := ar.Files[:0]
			for _, f := range ar.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				kept = append(kept, f)
				files = append(files, File{Name: f.Name, Data: unescape(f)})
			}
			got := describeAll(Decode(files))
			if *update {
				ar.Files = append(kept, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got, -update accepts):\n%s", path, diff)
			}
		})
	}
}

// unescape writes what an editor would not keep: files whose names end in ".esc" have \t, \r and a final \c for "no
// newline".
func unescape(f txtar.File) []byte {
	if !strings.HasSuffix(f.Name, ".esc") {
		return f.Data
	}
	return []byte(strings.NewReplacer(`\t`, "\t", `\r`, "\r", "\\c\n", "", `\xff`, "\xff").Replace(string(f.Data)))
}

func describeAll(decoded []Decoded, problems []Problem) string {
	var b strings.Builder
	for _, d := range decoded {
		if d.Resource == nil {
			fmt.Fprintf(&b, "foreign: %v\n", d.Refusal())
			continue
		}
		fmt.Fprintf(&b, "%s:%d: document %d: %s", d.File, d.Line, d.Document, d.Resource.FQN)
		if d.Etag != "" {
			fmt.Fprintf(&b, " etag %s", d.Etag)
		}
		fmt.Fprintf(&b, "\n  %s\n", SpecJSON(d.Resource.Spec))
		for _, w := range d.Warnings {
			fmt.Fprintf(&b, "warning: %v\n", w)
		}
	}
	for _, p := range problems {
		fmt.Fprintf(&b, "problem: %v\n", p)
	}
	return b.String()
}

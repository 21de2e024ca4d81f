// Package golden runs cases that are one readable file each: a sentence, what goes in, and what has to come out.
package golden

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// Flags adds -update to the flags of a test binary. It is called once, from a variable of the test package.
func Flags() *bool {
	return flag.Bool("update", false, "rewrite the want/ files of golden cases")
}

// Case is what goes in.
type Case struct {
	// Path of the file.
	Path string
	// Lesson is the text above the files.
	Lesson string
	// Files by name, those below want/ left out.
	Files map[string]string
}

// Run runs f once for each dir/*.txtar. f returns what it made of the case by file name; Run compares that with the files
// under want/, or writes it there.
func Run(t *testing.T, dir string, update bool, f func(t *testing.T, c Case) map[string]string) {
	t.Helper()
	for _, path := range paths(t, dir) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, want := split(path, ar)
			if strings.TrimSpace(c.Lesson) == "" {
				t.Errorf("%s does not say what it shows", path)
			}
			got := f(t, c)
			if update {
				rewrite(t, path, ar, got)
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got, -update accepts):\n%s", path, diff)
			}
		})
	}
}

// Cases are those of dir/*.txtar, for tests that only read them.
func Cases(t *testing.T, dir string) []Case {
	t.Helper()
	var all []Case
	for _, path := range paths(t, dir) {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := split(path, ar)
		all = append(all, c)
	}
	return all
}

func paths(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no cases in %s (err %v)", dir, err)
	}
	return all
}

func split(path string, ar *txtar.Archive) (c Case, want map[string]string) {
	c = Case{Path: path, Lesson: string(ar.Comment), Files: map[string]string{}}
	want = map[string]string{}
	for _, f := range ar.Files {
		if name, ok := strings.CutPrefix(f.Name, "want/"); ok {
			want[name] = string(f.Data)
			continue
		}
		c.Files[f.Name] = string(f.Data)
	}
	return c, want
}

func rewrite(t *testing.T, path string, ar *txtar.Archive, got map[string]string) {
	t.Helper()
	ar.Files = slices.DeleteFunc(ar.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want/") })
	names := make([]string, 0, len(got))
	for name := range got {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		ar.Files = append(ar.Files, txtar.File{Name: "want/" + name, Data: []byte(got[name])})
	}
	now := txtar.Format(ar)
	if was, err := os.ReadFile(path); err == nil && bytes.Equal(was, now) {
		return
	}
	if err := os.WriteFile(path, now, 0o644); err != nil {
		t.Fatal(err)
	}
}

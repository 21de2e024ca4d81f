package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fake is an engine that is made without compiling anything.
func fake(made *int, err error) Engine {
	return Engine{Name: "fake", Version: "1", Sources: []string{"src"}, After: func(_ context.Context, _ *Builder, out string, log io.Writer) error {
		*made++
		fmt.Fprintln(log, "the log's last line")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(out, "program"), nil, 0o755)
	}}
}

func newBuilder(t *testing.T) *Builder {
	t.Helper()
	b := &Builder{Source: t.TempDir(), Cache: filepath.Join(t.TempDir(), "engines"), Progress: func(string, ...any) {}}
	if err := os.WriteFile(filepath.Join(b.Source, "src"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

// An engine is made once, and again when its source changes.
func TestCache(t *testing.T) {
	b, made := newBuilder(t), 0
	places := map[string]bool{}
	for i, want := range []int{1, 1, 2} {
		if i == 2 {
			if err := os.WriteFile(filepath.Join(b.Source, "src"), []byte("2"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		set, err := b.Build(t.Context(), []Engine{fake(&made, nil)})
		if err != nil {
			t.Fatal(err)
		}
		if made != want {
			t.Errorf("build %d: made %d times, want %d", i, made, want)
		}
		places[set["program"]] = true
	}
	if len(places) != 2 {
		t.Errorf("two sources gave %d places", len(places))
	}
}

// What failed half-way is not in the cache, and the error shows the log's end.
func TestFailure(t *testing.T) {
	b, made := newBuilder(t), 0
	boom := errors.New("boom")
	_, err := b.Build(t.Context(), []Engine{fake(&made, boom)})
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "the log's last line") {
		t.Errorf("Build = %v, want %v and the log's last line", err, boom)
	}
	if _, err := b.Build(t.Context(), []Engine{fake(&made, nil)}); err != nil || made != 2 {
		t.Errorf("the next build: made %d times, %v; want it to try again", made, err)
	}
}

// Every engine's sources are in the tree, so that its place can be named.
func TestAll(t *testing.T) {
	source, err := FindSource()
	if err != nil {
		t.Fatal(err)
	}
	b := &Builder{Source: source, Cache: t.TempDir()}
	seen := map[string]string{}
	for _, e := range All() {
		place, err := b.place(e)
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		if other := seen[place]; other != "" {
			t.Errorf("%s and %s share %s", e.Name, other, place)
		}
		seen[place] = e.Name
	}
}

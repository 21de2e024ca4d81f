// Package api holds the protos of the API. The Go code made from them is committed; this test notices when it is older
// than they are, without the generators.
package api

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the hash, after the generators ran")

// TestGenerated compares the hash of the sources at the last generation with that of the sources.
func TestGenerated(t *testing.T) {
	got := hashSources(t)
	if *update {
		if err := os.WriteFile("generated.sha256", []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile("generated.sha256")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(want)) != got {
		t.Errorf("the protos changed after the Go code was made from them: run 'make generate'")
	}
}

// TestEveryProtoHasCode: no generated file is missing, and none is left over.
func TestEveryProtoHasCode(t *testing.T) {
	have := map[string]bool{}
	for _, path := range files(t, ".pb.go") {
		have[strings.TrimSuffix(path, ".pb.go")] = true
	}
	for _, path := range files(t, ".proto") {
		base := strings.TrimSuffix(path, ".proto")
		if strings.HasPrefix(path, "buf/") {
			continue // its Go code is a dependency
		}
		if !have[base] {
			t.Errorf("%s has no Go code: run 'make generate'", path)
		}
		delete(have, base)
	}
	for base := range have {
		t.Errorf("%s.pb.go has no proto", base)
	}
}

// hashSources is a hash of all protos, their names and what generates from them.
func hashSources(t *testing.T) string {
	h := sha256.New()
	for _, path := range append(files(t, ".proto"), "../buf.gen.yaml", "../buf.yaml", "../tools/go.mod") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%s %x\n", filepath.ToSlash(path), sha256.Sum256(text))
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// files below this directory whose names end in suffix, sorted.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, suffix) {
			names = append(names, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

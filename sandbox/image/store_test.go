package image

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestNormalize(t *testing.T) {
	cases := map[string]struct{ in, want string }{
		"Tagged":       {"a.test/b:1", "a.test/b:1"},
		"Untagged":     {"a.test/b", "a.test/b:latest"},
		"PortUntagged": {"a.test:5000/b", "a.test:5000/b:latest"},
		"Digest":       {"a.test/b@sha256:00", "a.test/b@sha256:00"},
		"Short":        {"b", "b:latest"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Normalize(tc.in); got != tc.want {
				t.Errorf("Normalize(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestReadManifest(t *testing.T) {
	cases := map[string]struct {
		json string
		want Manifest
		err  string // part of the message; empty: none
	}{
		"Whole": {
			json: `{"entrypoint":["/a"],"cmd":["b"],"env":["C=d"],"workingDir":"/e","user":"1:2","hostUsr":true}`,
			want: Manifest{Entrypoint: []string{"/a"}, Cmd: []string{"b"}, Env: []string{"C=d"}, WorkingDir: "/e", User: "1:2", HostUsr: true},
		},
		"Empty":        {json: `{}`},
		"UnknownField": {json: `{"entrypont":["/a"]}`, err: `unknown field "entrypont"`},
		"BadEnv":       {json: `{"env":["A=b","C"]}`, err: `env[1]: "C" is not NAME=value`},
		"RelativeDir":  {json: `{"workingDir":"a"}`, err: `workingDir: "a" is not an absolute path`},
		"TwoValues":    {json: `{} {}`, err: "more than one JSON value"},
		"NotJSON":      {json: `entrypoint: /a`, err: "invalid character"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, ManifestName, tc.json, 0o644)
			got, err := ReadManifest(dir)
			if !says(err, tc.err) || tc.err != "" && !says(err, filepath.Join(dir, ManifestName)) {
				t.Fatalf("ReadManifest: %v, want it to name the file and say %q", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); tc.err == "" && diff != "" {
				t.Errorf("ReadManifest (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := ReadManifest(t.TempDir()); !says(err, "an image directory needs this file") {
		t.Errorf("ReadManifest without the file: %v, want it to say what is needed", err)
	}
}

// says reports whether an error contains text; no text means no error.
func says(err error, text string) bool {
	if text == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), text)
}

func put(t *testing.T, dir, name, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// source is an image directory with a program, a link and a manifest.
func source(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, ManifestName, `{"entrypoint":["/bin/app"],"user":"5"}`, 0o644)
	put(t, dir, "bin/app", program, 0o755)
	if err := os.Symlink("app", filepath.Join(dir, "bin/alias")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestStoreAdd(t *testing.T) {
	s := NewStore(filepath.Join(t.TempDir(), "store"))
	dir := source(t, "one")
	added, err := s.Add("a.test/app", dir)
	if err != nil {
		t.Fatalf("Add: %v", err)
	}
	want := Image{Manifest: Manifest{Ref: "a.test/app:latest", Entrypoint: []string{"/bin/app"}, User: "5"}, Size: 3}
	if diff := cmp.Diff(want, added, cmpopts.IgnoreFields(Image{}, "ID", "Root")); diff != "" {
		t.Errorf("Add (-want +got):\n%s", diff)
	}
	for _, ref := range []string{"a.test/app", "a.test/app:latest", added.ID} {
		got, err := s.Get(ref)
		if err != nil {
			t.Errorf("Get(%q): %v", ref, err)
		}
		if diff := cmp.Diff(added, got); diff != "" {
			t.Errorf("Get(%q) (-want +got):\n%s", ref, diff)
		}
	}
	// What is in the store does not depend on the source any more.
	put(t, dir, "bin/app", "changed", 0o755)
	if got, err := os.ReadFile(filepath.Join(added.Root, "bin/alias")); err != nil || string(got) != "one" {
		t.Errorf("the copied program says %q, %v; want what it said when it was added", got, err)
	}
	if fi, err := os.Stat(filepath.Join(added.Root, "bin/app")); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("the copied program: %v, %v; want it executable", fi, err)
	}
	if _, err := os.Stat(filepath.Join(added.Root, ManifestName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the manifest is in the container's root: %v", err)
	}
}

func TestStoreAddAgain(t *testing.T) {
	s := NewStore(t.TempDir())
	first, err := s.Add("a:1", source(t, "one"))
	if err != nil {
		t.Fatal(err)
	}
	same, err := s.Add("a:1", source(t, "one"))
	if err != nil {
		t.Fatalf("Add the same: %v", err)
	}
	if diff := cmp.Diff(first, same); diff != "" {
		t.Errorf("the same files are the same image (-want +got):\n%s", diff)
	}
	second, err := s.Add("a:1", source(t, "two"))
	if err != nil {
		t.Fatalf("Add another: %v", err)
	}
	if second.ID == first.ID || second.Root == first.Root {
		t.Errorf("other files are the same image: %v", second)
	}
	if got, err := s.Get("a:1"); err != nil || got.ID != second.ID {
		t.Errorf("Get: %v, %v; want the one added last", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(first.Root, "bin/app")); err != nil || string(got) != "one" {
		t.Errorf("files of the first: %q, %v; running containers need them", got, err)
	}
}

func TestStoreLink(t *testing.T) {
	s := NewStore(t.TempDir())
	dir := source(t, "one")
	img, err := s.Link("a:1", dir)
	if err != nil {
		t.Fatalf("Link: %v", err)
	}
	if img.Root != dir {
		t.Errorf("root %q, want the directory itself, %q", img.Root, dir)
	}
}

func TestStoreListAndRemove(t *testing.T) {
	s := NewStore(t.TempDir())
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("List of an empty store: %v, %v", all, err)
	}
	for _, ref := range []string{"b:1", "a:1"} {
		if _, err := s.Add(ref, source(t, "one")); err != nil {
			t.Fatal(err)
		}
	}
	refs := func() (out []string) {
		all, err := s.List()
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		for _, img := range all {
			out = append(out, img.Ref)
		}
		return out
	}
	if diff := cmp.Diff([]string{"a:1", "b:1"}, refs()); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	for range 2 { // what is gone may be removed
		if err := s.Remove("a:1"); err != nil {
			t.Fatalf("Remove: %v", err)
		}
	}
	if diff := cmp.Diff([]string{"b:1"}, refs()); diff != "" {
		t.Errorf("List after Remove (-want +got):\n%s", diff)
	}
	if _, err := s.Get("a:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get after Remove: %v, want %v", err, ErrNotFound)
	}
}

func TestStoreRefuses(t *testing.T) {
	fifo := source(t, "one")
	if err := os.Remove(filepath.Join(fifo, "bin/app")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(fifo, "bin/app"), 0o644); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ ref, dir, want string }{
		"NoManifest":  {"a:1", t.TempDir(), "an image directory needs this file"},
		"NoReference": {"", source(t, "one"), `image reference ""`},
		"Spaces":      {"a b", source(t, "one"), `image reference "a b"`},
		"LikeAnID":    {"sha256:00", source(t, "one"), `image reference "sha256:00"`},
		"Pipe":        {"a:1", fifo, "files, directories and links only"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := NewStore(t.TempDir())
			if _, err := s.Add(tc.ref, tc.dir); !says(err, tc.want) {
				t.Errorf("Add(%q): %v, want it to say %q", tc.ref, err, tc.want)
			}
			if left, _ := filepath.Glob(filepath.Join(s.Dir(), "*/*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

package daemon

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"isthmus.dev/sandbox/cluster"
	"isthmus.dev/sandbox/image"
)

// builtin is an image made from the engines' programs.
type builtin struct {
	ref      string
	files    map[string]string // path in the image → program
	manifest image.Manifest
}

// builtins lists what the sandbox itself runs in pods. Istio's images follow
// the ones that its project publishes: users, entry points and tags.
func builtins() []builtin {
	istio := func(name string) string { return cluster.IstioHub + "/" + name + ":" + cluster.IstioTag }
	const dirs = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	return []builtin{
		{
			ref:      cluster.CoreDNSImage,
			files:    map[string]string{"coredns": "coredns"},
			manifest: image.Manifest{Entrypoint: []string{"/coredns"}},
		},
		{
			ref:      istio("pilot"),
			files:    map[string]string{"usr/local/bin/pilot-discovery": "pilot-discovery"},
			manifest: image.Manifest{Entrypoint: []string{"/usr/local/bin/pilot-discovery"}, Env: []string{"PATH=" + dirs}, WorkingDir: "/", User: "1337:1337"},
		},
		{
			// Envoy needs a C library and istio-init needs iptables: both are
			// the machine's, whose /usr hides the image's, so the programs lie elsewhere.
			ref: istio("proxyv2"),
			files: map[string]string{
				"istio/pilot-agent": "pilot-agent", "istio/envoy": "envoy", "istio/envoy_bootstrap.json": "envoy_bootstrap.json",
			},
			manifest: image.Manifest{
				Entrypoint: []string{"/istio/pilot-agent"},
				Env:        []string{"PATH=/istio:" + dirs, "ISTIO_BOOTSTRAP=/istio/envoy_bootstrap.json"},
				WorkingDir: "/", User: "1337:1337", HostUsr: true,
			},
		},
	}
}

// builtinImages fills the image store. The files lie beside the engines, not
// in the state directory: /run is memory on most machines.
func builtinImages(b Boot) error {
	store := image.NewStore(b.Dir.Images())
	for _, img := range builtins() {
		if !b.Plan.Istio && img.ref != cluster.CoreDNSImage {
			continue
		}
		dir, err := img.make(filepath.Join(filepath.Dir(b.Cache), "images"), b.Programs)
		if err != nil {
			return fmt.Errorf("image %s: %w", img.ref, err)
		}
		if _, err := store.Link(img.ref, dir); err != nil {
			return err
		}
	}
	return nil
}

// make returns the image's directory below cache, whose name carries
// everything that decides what is in it.
func (img builtin) make(cache string, programs map[string]string) (string, error) {
	manifest, err := json.Marshal(img.manifest)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n", manifest)
	for _, path := range slices.Sorted(maps.Keys(img.files)) {
		if programs[img.files[path]] == "" {
			return "", fmt.Errorf("%s was not built", img.files[path])
		}
		fmt.Fprintln(sum, path, programs[img.files[path]])
	}
	// Not the tag: overlayfs does not take a colon in a path.
	name, _, _ := strings.Cut(filepath.Base(img.ref), ":")
	dir := filepath.Join(cache, fmt.Sprintf("%s-%x", name, sum.Sum(nil)[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(cache, ".making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for path, program := range img.files {
		if err := place(programs[program], filepath.Join(tmp, path)); err != nil {
			return "", fmt.Errorf("%s: %w", program, err)
		}
	}
	err = errors.Join(os.WriteFile(filepath.Join(tmp, image.ManifestName), manifest, 0o644), os.Chmod(tmp, 0o755))
	if err != nil {
		return "", err
	}
	return dir, os.Rename(tmp, dir)
}

// place puts a program into an image: as a second name of the same file where
// the cache is on the same disk, as a copy otherwise.
func place(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Link(from, to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

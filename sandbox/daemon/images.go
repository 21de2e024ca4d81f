package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"isthmus.dev/sandbox/cluster"
	"isthmus.dev/sandbox/image"
)

// builtinImages fills the image store with what the sandbox itself runs.
func builtinImages(b Boot) error {
	store := image.NewStore(b.Dir.Images())
	dir := b.Dir.Path("builtin", "coredns")
	if err := place(b.Programs["coredns"], filepath.Join(dir, "coredns")); err != nil {
		return err
	}
	manifest := `{"entrypoint": ["/coredns"]}`
	if err := os.WriteFile(filepath.Join(dir, image.ManifestName), []byte(manifest), 0o644); err != nil {
		return err
	}
	_, err := store.Link(cluster.CoreDNSImage, dir)
	return err
}

// place puts a program into an image: as a second name of the same file where
// the cache is on the same disk, as a copy otherwise.
func place(from, to string) error {
	if from == "" {
		return fmt.Errorf("%s: its program was not built", filepath.Base(to))
	}
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
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

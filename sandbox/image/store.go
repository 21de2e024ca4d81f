package image

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNotFound says that the store has no image of that name.
var ErrNotFound = errors.New("image not found")

// Image is one image of a store. It never changes; adding another under the
// same reference leaves running containers with the old one.
type Image struct {
	Manifest
	ID   string // "sha256:…" of reference, manifest and files
	Root string // directory of the files, never written
	Size int64  // bytes
}

// Store is a directory of images. Several processes may use one: what is added
// by one is seen by the others at the next call.
//
//	refs/<hash of the reference>.json   one Image each
//	roots/<hash of the content>/        files
type Store struct{ dir string }

// NewStore returns the store in dir, which need not exist.
func NewStore(dir string) *Store { return &Store{dir: dir} }

// Add copies the image directory dir into the store under ref.
func (s *Store) Add(ref, dir string) (Image, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return Image{}, fmt.Errorf("image %q: %w", ref, err)
	}
	if err := checkRef(ref); err != nil {
		return Image{}, err
	}
	for _, sub := range []string{"refs", "roots"} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o755); err != nil {
			return Image{}, err
		}
	}
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, "roots"), "adding-")
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(tmp)
	sum := sha256.New()
	size, err := copyTree(tmp, dir, sum)
	if err != nil {
		return Image{}, fmt.Errorf("image %q: %w", ref, err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return Image{}, err
	}
	root := filepath.Join(s.dir, "roots", hex.EncodeToString(sum.Sum(nil))[:32])
	if err := os.Rename(tmp, root); err != nil && !errors.Is(err, fs.ErrExist) {
		return Image{}, err // fs.ErrExist: the same files are there already
	}
	return s.record(ref, m, root, size, sum)
}

// Link adds the image directory dir without copying it: the caller promises
// that its files stay as they are.
func (s *Store) Link(ref, dir string) (Image, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return Image{}, fmt.Errorf("image %q: %w", ref, err)
	}
	if err := checkRef(ref); err != nil {
		return Image{}, err
	}
	root, err := filepath.Abs(dir)
	if err != nil {
		return Image{}, err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, root)
	var size int64
	err = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			size += fi.Size()
		}
		return err
	})
	if err != nil {
		return Image{}, fmt.Errorf("image %q: %w", ref, err)
	}
	return s.record(ref, m, root, size, sum)
}

// record writes the entry of a reference, whole or not at all.
func (s *Store) record(ref string, m Manifest, root string, size int64, sum hash.Hash) (Image, error) {
	m.Ref = Normalize(ref)
	manifest, err := json.Marshal(m)
	if err != nil {
		return Image{}, err
	}
	sum.Write(manifest)
	img := Image{Manifest: m, ID: "sha256:" + hex.EncodeToString(sum.Sum(nil)), Root: root, Size: size}
	data, err := json.MarshalIndent(img, "", "  ")
	if err != nil {
		return Image{}, err
	}
	path := s.entry(m.Ref)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return Image{}, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".adding-")
	if err != nil {
		return Image{}, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return Image{}, err
	}
	return img, os.Rename(f.Name(), path)
}

// Get returns the image that ref, or an image's ID, names; else ErrNotFound.
func (s *Store) Get(ref string) (Image, error) {
	img, err := readEntry(s.entry(Normalize(ref)))
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return img, err
	}
	if !strings.HasPrefix(ref, "sha256:") {
		return Image{}, fmt.Errorf("%w: %q", ErrNotFound, ref)
	}
	all, err := s.List()
	if err != nil {
		return Image{}, err
	}
	if i := slices.IndexFunc(all, func(i Image) bool { return i.ID == ref }); i >= 0 {
		return all[i], nil
	}
	return Image{}, fmt.Errorf("%w: %q", ErrNotFound, ref)
}

// List returns every image, by reference.
func (s *Store) List() ([]Image, error) {
	paths, err := filepath.Glob(filepath.Join(s.dir, "refs", "*.json"))
	if err != nil {
		return nil, err
	}
	var out []Image
	for _, p := range paths {
		img, err := readEntry(p)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		out = append(out, img)
	}
	slices.SortFunc(out, func(a, b Image) int { return cmp.Compare(a.Ref, b.Ref) })
	return out, nil
}

// Remove forgets a reference or ID; one that is not there is no error. The
// files stay for the containers that use them and go with the store.
func (s *Store) Remove(ref string) error {
	img, err := s.Get(ref)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(s.entry(img.Ref)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Dir is where the store is.
func (s *Store) Dir() string { return s.dir }

func (s *Store) entry(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	return filepath.Join(s.dir, "refs", hex.EncodeToString(sum[:])[:32]+".json")
}

func readEntry(path string) (Image, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Image{}, err
	}
	var img Image
	if err := json.Unmarshal(data, &img); err != nil {
		return Image{}, fmt.Errorf("%s: %w", path, err)
	}
	return img, nil
}

// checkRef refuses what no pod could name.
func checkRef(ref string) error {
	if ref == "" || strings.ContainsAny(ref, " \t\n") || strings.HasPrefix(ref, "sha256:") {
		return fmt.Errorf("image reference %q: want something like example.test/name:tag", ref)
	}
	return nil
}

// copyTree copies the files of an image, all but the manifest, and adds what
// they are to sum.
func copyTree(to, from string, sum hash.Hash) (int64, error) {
	var size int64
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || rel == "." || rel == ManifestName {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %v\n", rel, fi.Mode())
		n, err := copyEntry(filepath.Join(to, rel), path, fi, sum)
		size += n
		return err
	})
	return size, err
}

// copyEntry copies one file, directory or link.
func copyEntry(to, from string, fi fs.FileInfo, sum hash.Hash) (int64, error) {
	switch {
	case fi.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return 0, err
		}
		return 0, os.Chmod(to, fi.Mode()&(fs.ModePerm|fs.ModeSticky))
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return 0, err
		}
		fmt.Fprintln(sum, target)
		return 0, os.Symlink(target, to)
	case fi.Mode().IsRegular():
		return copyFile(to, from, fi.Mode().Perm(), sum)
	}
	return 0, fmt.Errorf("%s: an image has files, directories and links only", from)
}

func copyFile(to, from string, mode fs.FileMode, sum hash.Hash) (int64, error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.MultiWriter(out, sum), in)
	if err := errors.Join(err, out.Chmod(mode), out.Close()); err != nil {
		return n, fmt.Errorf("copy %s: %w", from, err)
	}
	return n, nil
}

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/resource"
)

// collectFiles reads what -f names: files, all YAML and JSON files of directories, in name order, and standard input.
func (e *env) collectFiles(names []string) ([]resource.File, error) {
	var files []resource.File
	for _, name := range names {
		more, err := e.collect(name)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

func (e *env) collect(name string) ([]resource.File, error) {
	if name == "-" {
		f, err := readLimited("standard input", e.stdin)
		return []resource.File{f}, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		f, err := readFileLimited(name)
		return []resource.File{f}, err
	}
	var files []resource.File
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(path))) {
			return err
		}
		f, err := readFileLimited(path)
		files = append(files, f)
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s has no .yaml, .yml or .json files", name)
	}
	return files, err
}

func readFileLimited(path string) (resource.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return resource.File{}, err
	}
	r, err := readLimited(path, f)
	return r, errors.Join(err, f.Close())
}

// readLimited reads a little more than the decoder takes, so that it refuses what is too large with its own words.
func readLimited(name string, r io.Reader) (resource.File, error) {
	data, err := io.ReadAll(io.LimitReader(r, resource.DefaultLimit+1))
	return resource.File{Name: name, Data: data}, err
}

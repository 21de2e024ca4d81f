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

	"github.com/spf13/cobra"

	"isthmus.dev/isthmus/internal/resource"
)

// filesFlag adds -f to a command.
func filesFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringSliceVarP(files, "file", "f", nil, "file, directory (all .yaml, .yml and .json in it) or - for standard input; may be repeated")
	if err := cmd.MarkFlagFilename("file", "yaml", "yml", "json"); err != nil {
		panic(err) // the flag was added one line above
	}
}

// decodeFiles reads what -f names. All problems go to standard error, one per line, then warnings; with a problem it
// returns errSaid.
func (e *env) decodeFiles(paths []string) ([]resource.Decoded, error) {
	if len(paths) == 0 {
		return nil, &usageError{errors.New("say which files: -f FILE, -f DIR or -f -")}
	}
	files, err := e.readFiles(paths)
	if err != nil {
		return nil, err
	}
	decoded, problems := resource.Decode(files)
	for _, p := range problems {
		fmt.Fprintln(e.stderr, p)
	}
	for _, d := range decoded {
		for _, w := range d.Warnings {
			fmt.Fprintln(e.stderr, "warning:", w)
		}
	}
	if len(problems) > 0 {
		return nil, errSaid
	}
	return decoded, nil
}

// readFiles reads files, the YAML and JSON files below directories in name order, and standard input.
func (e *env) readFiles(paths []string) ([]resource.File, error) {
	var files []resource.File
	for _, path := range paths {
		if path == "-" {
			data, err := readUpToLimit(e.stdin)
			if err != nil {
				return nil, fmt.Errorf("read standard input: %w", err)
			}
			files = append(files, resource.File{Name: "<stdin>", Data: data})
			continue
		}
		names, err := filesBelow(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			f, err := readFile(name)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
	}
	return files, nil
}

func filesBelow(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var names []string
	err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		ext := strings.ToLower(filepath.Ext(name))
		if err == nil && !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			names = append(names, name)
		}
		return err
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("directory %q has no .yaml, .yml or .json file", path)
	}
	return names, err
}

func readFile(name string) (resource.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return resource.File{}, err
	}
	defer f.Close()
	data, err := readUpToLimit(f)
	if err != nil {
		return resource.File{}, fmt.Errorf("read %q: %w", name, err)
	}
	return resource.File{Name: name, Data: data}, nil
}

// readUpToLimit reads one byte more than the limit, so that the decoder can see that it is exceeded.
func readUpToLimit(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, resource.DefaultLimit+1))
}

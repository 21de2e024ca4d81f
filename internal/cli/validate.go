package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"isthmus.dev/isthmus/internal/resource"
)

func newValidate(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate -f FILE|DIR|-",
		Short: "Check files without a server",
		Long: `Check the form of every object in files, without a server: fields, types, values, names.

All problems are shown at once on standard error, one per line: file, line, document, object, field and what is
wrong; then the exit code is 1. What only the whole configuration shows, such as a missing group, is for
"tctl x translate" and the server.`,
		Example: `  tctl validate -f bookinfo.yaml
  tctl validate -f config/ -f more.yaml
  kustomize build . | tctl validate -f -`,
		Args: exactly(0, "only -f"),
	}
	files := fileFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error { return e.validate(*files) }
	return cmd
}

func (e *env) validate(names []string) error {
	if len(names) == 0 {
		return &usageError{errors.New("-f says which file, directory or - for standard input")}
	}
	files, err := e.collectFiles(names)
	if err != nil {
		return err
	}
	decoded, problems := resource.Decode(files)
	for _, p := range problems {
		fmt.Fprintln(e.stderr, p)
	}
	foreign := 0
	for _, d := range decoded {
		for _, w := range d.Warnings {
			fmt.Fprintln(e.stderr, "warning:", w)
		}
		if d.Foreign != "" {
			foreign++
			fmt.Fprintln(e.stderr, "note:", d.Refusal())
		}
	}
	if len(problems) > 0 {
		fmt.Fprintf(e.stderr, "tctl: %s\n", count(len(problems), "problem"))
		return errSaid
	}
	_, err = fmt.Fprintf(e.stdout, "%s of this API, well formed\n", count(len(decoded)-foreign, "object"))
	return err
}

// count is a number and its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newValidate(e *env) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "validate -f FILE|DIR|-",
		Short: "Check files without a server",
		Long: `Check the form of every object in files, without a server: fields, types, values, names.

All problems are shown at once, one per line: file, line, document, object, field and what is wrong.
What only the whole configuration shows, such as a missing group, is for "tctl x translate" and the server.`,
		Example: `  tctl validate -f bookinfo.yaml
  tctl validate -f config/ -f more.yaml
  kustomize build . | tctl validate -f -`,
		Args: exactly(0, "only -f"),
		RunE: func(*cobra.Command, []string) error { return e.validate(files) },
	}
	filesFlag(cmd, &files)
	return cmd
}

func (e *env) validate(paths []string) error {
	decoded, err := e.decodeFiles(paths)
	if err != nil {
		return err
	}
	foreign := 0
	for _, d := range decoded {
		if d.Foreign != "" {
			foreign++
			fmt.Fprintf(e.stderr, "note: %v\n", d.Refusal())
		}
	}
	_, err = fmt.Fprintf(e.stdout, "%d resources are valid", len(decoded)-foreign)
	if foreign > 0 {
		fmt.Fprintf(e.stdout, ", %d objects are for another tool", foreign)
	}
	fmt.Fprintln(e.stdout)
	return err
}

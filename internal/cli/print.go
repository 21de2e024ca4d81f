package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"isthmus.dev/isthmus/internal/resource"
)

// result is what a command shows: a table for people, documents for machines.
type result struct {
	header []string
	rows   [][]string
	// docs are maps, slices and scalars as encoding/json makes them.
	docs []any
	// names for -o name, one per line.
	names []string
	// list makes JSON a list even of one document.
	list bool
}

// outputFlag adds -o to a command and returns where its value will be.
func outputFlag(cmd *cobra.Command) *string {
	o := cmd.Flags().StringP("output", "o", "table", "table, yaml, json or name")
	cmd.Flags().Lookup("output").DefValue = "table"
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"table", "yaml", "json", "name"}, cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc("output", complete); err != nil {
		panic(err) // the flag was added three lines above
	}
	return o
}

// print shows a result on standard output.
func (e *env) print(format string, r result) error {
	switch format {
	case "table", "":
		return writeTable(e.stdout, r.header, r.rows)
	case "name":
		for _, n := range r.names {
			if _, err := fmt.Fprintln(e.stdout, n); err != nil {
				return err
			}
		}
		return nil
	case "yaml":
		return writeYAML(e.stdout, r.docs)
	case "json":
		return writeJSON(e.stdout, r)
	}
	return &usageError{fmt.Errorf("output %q is none of table, yaml, json, name", format)}
}

func writeTable(w io.Writer, header []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return t.Flush()
}

func writeYAML(w io.Writer, docs []any) error {
	text, err := resource.YAML(docs)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

func writeJSON(w io.Writer, r result) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if len(r.docs) == 1 && !r.list {
		return enc.Encode(r.docs[0])
	}
	items := r.docs
	if items == nil {
		items = []any{}
	}
	return enc.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
}

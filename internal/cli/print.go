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
	return choiceFlag(cmd, "output", "o", "", "table", "yaml", "json", "name")
}

// choiceFlag adds a flag that takes one of a few words, the first one if it is not given. A wrong word is a mistake in
// the command line, found before anything is done.
func choiceFlag(cmd *cobra.Command, name, short, text string, words ...string) *string {
	c := &choice{value: words[0], words: words}
	if text != "" {
		text += ": "
	}
	cmd.Flags().VarP(c, name, short, text+strings.Join(words[:len(words)-1], ", ")+" or "+words[len(words)-1])
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
	must(cmd.RegisterFlagCompletionFunc(name, complete))
	return &c.value
}

// choice is the value of a flag that takes one of a few words.
type choice struct {
	value string
	words []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "string" }

// Set implements pflag.Value. Case does not matter.
func (c *choice) Set(s string) error {
	for _, w := range c.words {
		if strings.EqualFold(s, w) {
			c.value = w
			return nil
		}
	}
	return fmt.Errorf("it is none of %s", strings.Join(c.words, ", "))
}

// print shows a result on standard output.
func (e *env) print(format string, r result) error {
	switch format {
	case "table":
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
	return fmt.Errorf("output %q is unknown", format) // flags have checked it
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

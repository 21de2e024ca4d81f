package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// tree is the whole command tree, as Run uses it.
func tree() *cobra.Command {
	e := &env{stdin: strings.NewReader(""), stdout: &strings.Builder{}, stderr: &strings.Builder{}, getenv: func(string) string { return "" }}
	root := newRoot(e)
	finish(e, root)
	return root
}

// TestHelp holds every command to a summary and an example that runs that command or one below it.
func TestHelp(t *testing.T) {
	each(tree(), func(cmd *cobra.Command) {
		if cmd.Short == "" {
			t.Errorf("%s has no summary", cmd.CommandPath())
		}
		if !strings.Contains(cmd.Example, "tctl ") {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
	})
}

// TestReference compares docs/reference/tctl.md with the command tree.
func TestReference(t *testing.T) {
	const path = "../../docs/reference/tctl.md"
	got := reference(tree())
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, -update writes it):\n%s", path, diff)
	}
}

func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# tctl\n\nMade from the command tree: `go test ./internal/cli -run Reference -update`.\n\n")
	fmt.Fprintf(&b, "%s\n\n```\n%s\n```\n\nFlags of all commands:\n\n%s", root.Long, root.Example, flagTable(root.PersistentFlags()))
	each(root, func(cmd *cobra.Command) {
		if cmd == root || cmd.HasAvailableSubCommands() || cmd.Hidden {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n", cmd.CommandPath())
		if cmd.Parent() != nil && len(cmd.Parent().Aliases) > 0 {
			fmt.Fprintf(&b, "`%s` is also called `%s`. ", cmd.Parent().Name(), strings.Join(cmd.Parent().Aliases, "`, `"))
		}
		fmt.Fprintf(&b, "%s.\n\n```\n%s\n\n%s\n```\n", cmd.Short, cmd.UseLine(), cmd.Example)
		if long := strings.TrimSpace(cmd.Long); long != "" && cmd.Parent().Name() != "completion" {
			fmt.Fprintf(&b, "\n%s\n", long)
		}
		if table := flagTable(cmd.LocalNonPersistentFlags()); table != "" {
			b.WriteString("\n" + table)
		}
	})
	return b.String()
}

// flagTable lists flags with their defaults.
func flagTable(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		text := f.Usage
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
			text += " (default `" + f.DefValue + "`)"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", name, strings.ReplaceAll(text, "|", "\\|"))
	})
	if b.Len() == 0 {
		return ""
	}
	return "| flag | meaning |\n|---|---|\n" + b.String()
}

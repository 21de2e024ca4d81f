package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"isthmus.dev/isthmus/internal/version"
)

func newVersion(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which versions these are",
		Args:  exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(e.stdout, "TCTL version:", version.Version)
			return err
		},
	}
	cmd.Flags().Bool("local-only", false, "say the version of tctl only")
	return cmd
}

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/version"
)

func newVersion(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Example: "  tctl version --local-only",
		Short:   "Say which versions these are",
		Args:    exactly(0, "no arguments"),
	}
	local := cmd.Flags().Bool("local-only", false, "say the version of tctl only")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := fmt.Fprintln(e.stdout, "TCTL version:", version.Version); err != nil || *local {
			return err
		}
		s, err := e.settings()
		if err != nil {
			return err
		}
		if len(s.Clusters) == 0 {
			return nil // no server is configured, so there is none to ask
		}
		return e.call(cmd.Context(), func(ctx context.Context, c *client) error {
			res, err := c.Version(ctx, &isthmusv1.VersionRequest{})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.stdout, "TSB version:", res.GetVersion(), "API", res.GetApi())
			return err
		})
	}
	return cmd
}

package cli

import "github.com/spf13/cobra"

// newInstall holds what brings Isthmus into clusters.
func newInstall(e *env) *cobra.Command {
	return group("install", "Bring Isthmus into clusters",
		newClusterServiceAccount(e),
		newInstallManifest(e),
	)
}

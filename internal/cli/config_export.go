package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// newProfilesExport writes a profile with its server and user, secrets included, so that it can be imported elsewhere.
func newProfilesExport(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "export NAME",
		Example: "  tctl config profiles export prod > prod.yaml",
		Short:   "Write a profile with its server and user, secrets included, on standard output",
		Args:    exactly(1, "a name"),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := e.settings()
			if err != nil {
				return err
			}
			p, ok := get(s.Profiles, args[0])
			if !ok {
				return fmt.Errorf("there is no profile %q", args[0])
			}
			out := &settings{Profiles: []profile{p}, CurrentProfile: p.Name}
			if c, ok := get(s.Clusters, p.Cluster); ok {
				out.Clusters = append(out.Clusters, c)
			}
			if u, ok := get(s.Users, p.Username); ok {
				out.Users = append(out.Users, u)
			}
			enc := yaml.NewEncoder(e.stdout)
			return errors.Join(enc.Encode(out), enc.Close())
		},
	}
}

// newProfilesImport takes in what export wrote; elements of the same name are replaced.
func newProfilesImport(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "import FILE",
		Example: "  tctl config profiles import prod.yaml",
		Short:   "Take in what export wrote (- is standard input)",
		Args:    exactly(1, "a file"),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := e.readFile(args[0])
			if err != nil {
				return err
			}
			var in settings
			if err := yaml.Unmarshal(text, &in); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return e.edit(func(s *settings) error {
				for _, c := range in.Clusters {
					s.Clusters = put(s.Clusters, c)
				}
				for _, u := range in.Users {
					s.Users = put(s.Users, u)
				}
				for _, p := range in.Profiles {
					s.Profiles = put(s.Profiles, p)
				}
				return nil
			})
		},
	}
}

// newConfigView shows the file without its secrets.
func newConfigView(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "view",
		Example: "  tctl config view",
		Short:   "Show the configuration file without its secrets",
		Args:    exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			s, err := e.settings()
			if err != nil {
				return err
			}
			for i := range s.Users {
				s.Users[i].Password, s.Users[i].Token = hidden(s.Users[i].Password), hidden(s.Users[i].Token)
			}
			enc := yaml.NewEncoder(e.stdout)
			return errors.Join(enc.Encode(s), enc.Close())
		},
	}
}

// readFile reads a file, or standard input for "-".
func (e *env) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(e.stdin)
	}
	return os.ReadFile(name)
}

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
)

// newClusterServiceAccount makes a key for the edge of a cluster.
func newClusterServiceAccount(e *env) *cobra.Command {
	var cluster string
	var create bool
	cmd := &cobra.Command{
		Use:   "cluster-service-account --cluster NAME",
		Short: "Make a key for the edge of a cluster and print its private half, which cannot be read again",
		Example: "  tctl install cluster-service-account --cluster c1 > c1.jwk\n" +
			"  tctl install manifest control-plane-secrets --cluster c1 --cluster-service-account=\"$(cat c1.jwk)\" … | kubectl apply -f -",
		Args: exactly(0, "--cluster and no arguments"),
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "cluster")
	cmd.Flags().BoolVar(&create, "create-cluster", false, "create the cluster when it does not exist")
	at := orgFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cluster == "" {
			return &usageError{errors.New("--cluster says which cluster the key is for")}
		}
		return e.call(cmd.Context(), func(ctx context.Context, c *client) error {
			fqn, err := e.clusterName(ctx, c, at, cluster)
			if err != nil {
				return err
			}
			if create {
				if err := ensureCluster(ctx, c, fqn); err != nil {
					return err
				}
			}
			res, err := c.CreateServiceAccountKey(ctx, &isthmusv1.CreateServiceAccountKeyRequest{Fqn: string(fqn)})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.stdout, res.GetJwk())
			return err
		})
	}
	return cmd
}

// newServiceAccount holds the verbs for keys that are in use.
func newServiceAccount(e *env) *cobra.Command {
	var cluster, id string
	revoke := &cobra.Command{
		Use:     "revoke-key --cluster NAME --id KEY",
		Example: "  tctl x sa revoke-key --cluster c1 --id \"$(jq -r .kid c1.jwk)\"",
		Short:   "Delete a key of a cluster: whoever uses it is cut off",
		Args:    exactly(0, "flags and no arguments"),
	}
	revoke.Flags().StringVar(&cluster, "cluster", "", "cluster")
	revoke.Flags().StringVar(&id, "id", "", "key")
	at := orgFlag(revoke)
	revoke.RunE = func(cmd *cobra.Command, _ []string) error {
		if cluster == "" || id == "" {
			return &usageError{errors.New("--cluster and --id are needed")}
		}
		return e.call(cmd.Context(), func(ctx context.Context, c *client) error {
			fqn, err := e.clusterName(ctx, c, at, cluster)
			if err != nil {
				return err
			}
			_, err = c.DeleteServiceAccountKey(ctx, &isthmusv1.DeleteServiceAccountKeyRequest{Fqn: string(fqn), KeyId: id})
			return err
		})
	}
	generate := newClusterServiceAccount(e)
	generate.Use = "gen-key --cluster NAME"
	generate.Example = "  tctl x sa gen-key --cluster c1 > c1.jwk"
	cmd := group("service-account", "Keys of service accounts", generate, revoke)
	cmd.Aliases = []string{"sa"}
	return cmd
}

// orgFlag is the scope of what stands directly below the organization.
func orgFlag(cmd *cobra.Command) scope {
	at := scope{"organizations": new(string), "tenants": new(string)}
	cmd.Flags().StringVar(at["organizations"], "org", "", "organization (default that of the user, or the only one there is)")
	return at
}

// clusterName is the full name of a cluster, which may be given already.
func (e *env) clusterName(ctx context.Context, c *client, at scope, name string) (resource.FQN, error) {
	k, err := kindOf("cluster")
	if err != nil {
		return "", err
	}
	return e.named(ctx, c, at, k, name)
}

// ensureCluster creates a cluster unless it exists.
func ensureCluster(ctx context.Context, c *client, fqn resource.FQN) error {
	if _, err := c.Get(ctx, &isthmusv1.GetRequest{Fqn: string(fqn)}); err == nil {
		return nil
	}
	_, kind, err := resource.ParseFQN(string(fqn))
	if err != nil {
		return err
	}
	in, err := resource.Pack(resource.New(kind, fqn, kind.Spec()))
	if err != nil {
		return err
	}
	in.Etag = ""
	_, err = c.Apply(ctx, &isthmusv1.ApplyRequest{Resources: []*isthmusv1.Resource{in}, Why: "tctl install cluster-service-account --create-cluster"})
	return err
}

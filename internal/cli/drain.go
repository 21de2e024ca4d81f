package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/anypb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/compile"
	"isthmus.dev/isthmus/internal/resource"
)

// newDrain has the gateways of a cluster called by nobody.
func newDrain(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain CLUSTER",
		Short: "Have nobody call the gateways of a cluster, before work on it",
		Long: `Take the gateways of a cluster away from all callers: their endpoints leave every cluster, and the cluster's share of
weighted routes goes to the others. No request is lost. A host that can be called nowhere else stays, and is named here and in the
status of the cluster. Clients from outside that come to the cluster's own gateways are still served there.

It sets the label ` + resource.DrainedLabel + ` on the Cluster, which a file may do as well. "tctl x undrain" is the way back.`,
		Example: "  tctl x drain c2\n  tctl status cluster c2 -o yaml\n  tctl x undrain c2",
	}
	return drainCommand(e, cmd, true)
}

// newUndrain is the way back.
func newUndrain(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "undrain CLUSTER",
		Short:   "Have the gateways of a cluster called again",
		Example: "  tctl x undrain c2",
	}
	return drainCommand(e, cmd, false)
}

func drainCommand(e *env, cmd *cobra.Command, drained bool) *cobra.Command {
	cmd.Args = exactly(1, "the name of a cluster")
	at := scopeFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return e.call(cmd.Context(), func(ctx context.Context, c *client) error {
			fqn, err := e.named(ctx, c, at, resource.ByID("api.tsb.tetrate.io/v2/Cluster"), args[0])
			if err != nil {
				return err
			}
			return e.drain(ctx, c, fqn, drained)
		})
	}
	return cmd
}

func (e *env) drain(ctx context.Context, c *client, fqn resource.FQN, drained bool) error {
	is := map[bool]string{true: "drained", false: "in service"}[drained]
	res, err := c.Get(ctx, &isthmusv1.GetRequest{Fqn: string(fqn)})
	if err != nil {
		return err
	}
	r, spec := res.GetResource(), &tsbv2.Cluster{}
	if err := r.GetSpec().UnmarshalTo(spec); err != nil {
		return fmt.Errorf("%s: %w", fqn, err)
	}
	if (spec.GetLabels()[resource.DrainedLabel] == "true") == drained {
		_, err := fmt.Fprintf(e.stdout, "%s is %s already\n", fqn.Name(), is)
		return err
	}
	if spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	if drained {
		spec.Labels[resource.DrainedLabel] = "true"
	} else {
		delete(spec.Labels, resource.DrainedLabel)
	}
	if r.Spec, err = anypb.New(spec); err != nil {
		return err
	}
	// The etag is the one that was read: somebody else's change in between is not lost.
	applied, err := c.Apply(ctx, &isthmusv1.ApplyRequest{Resources: []*isthmusv1.Resource{r}, Why: "tctl x " + map[bool]string{true: "drain", false: "undrain"}[drained]})
	if err != nil {
		return err
	}
	etag := applied.GetResults()[0].GetResource().GetEtag()
	if _, err := fmt.Fprintf(e.stdout, "%s is %s\n", fqn.Name(), is); err != nil || !drained {
		return err
	}
	return e.sayStaying(ctx, c, fqn, etag)
}

// sayStaying names the hosts that a drained cluster keeps, once that is known.
func (e *env) sayStaying(ctx context.Context, c *client, fqn resource.FQN, etag string) error {
	for {
		res, err := c.Status(ctx, &isthmusv1.StatusRequest{Fqn: string(fqn)})
		if err != nil {
			return err
		}
		for _, s := range res.GetStatuses() {
			if len(s.GetEvents()) == 0 || s.GetEvents()[0].GetEtag() != etag {
				continue
			}
			for _, condition := range s.GetConditions() {
				if condition.GetReason() == compile.NowhereElse {
					fmt.Fprintf(e.stderr, "warning: %s\n", condition.GetMessage())
				}
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("which hosts stay in %s is not known yet; \"tctl status cluster %[1]s -o yaml\" says it later: %w", fqn.Name(), context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

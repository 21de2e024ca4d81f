package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// newPlan says what an apply would change in each cluster.
func newPlan(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "plan -f FILE",
		Short:   "Say what an apply of the same files would change in each cluster, and store nothing",
		Example: "  tctl x plan -f gateways.yaml",
		Args:    exactly(0, "-f FILE and no arguments"),
	}
	files := fileFlag(cmd)
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		docs, err := e.readDocs(*files, "nothing was stored")
		if err != nil {
			return err
		}
		req := &isthmusv1.PlanRequest{}
		if req.Resources, err = packAll(docs); err != nil {
			return err
		}
		c, err := e.connect()
		if err != nil {
			return err
		}
		ctx, cancel := c.bounded(cmd.Context())
		defer cancel()
		res, err := c.Plan(ctx, req)
		if err != nil {
			return e.refused(ctx, err, docs)
		}
		return e.showPlan(*format, res)
	}
	return cmd
}

// showPlan lists objects; what the configuration as a whole has against it goes to standard error.
func (e *env) showPlan(format string, res *isthmusv1.PlanResponse) error {
	for _, s := range res.GetStatuses() {
		for _, c := range s.GetConditions() {
			if c.GetStatus() == "False" {
				fmt.Fprintf(e.stderr, "%s: %s\n", s.GetFqn(), strings.TrimPrefix(c.GetField()+": "+c.GetMessage(), ": "))
			}
		}
	}
	r := result{header: []string{"CLUSTER", "OPERATION", "OBJECT"}, list: true}
	for _, o := range res.GetObjects() {
		r.rows = append(r.rows, []string{o.GetCluster(), o.GetOperation(), o.GetId()})
		r.names = append(r.names, o.GetCluster()+"/"+o.GetId())
		r.docs = append(r.docs, map[string]any{
			"cluster": o.GetCluster(), "operation": o.GetOperation(), "object": o.GetId(),
			"before": o.GetBefore(), "after": o.GetAfter(),
		})
	}
	if len(r.rows) == 0 {
		fmt.Fprintln(e.stderr, "tctl: no object would change in any cluster")
	}
	return e.print(format, r)
}

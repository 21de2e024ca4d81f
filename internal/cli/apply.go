package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
)

// newApply creates or updates what files say, all of it or nothing.
func newApply(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or update resources: all of the files, or nothing",
		Long: "Create or update resources. Everything is checked first, and all mistakes are shown at once with file, line and\n" +
			"field. What remains is one transaction: either all of it is stored, or nothing.",
		Example: "  tctl apply -f workspace.yaml\n  cat *.yaml | tctl apply -f -\n  tctl apply -f config/ --dry-run",
		Args:    exactly(0, "-f FILE and no arguments"),
	}
	files := fileFlag(cmd)
	format := outputFlag(cmd)
	dryRun := cmd.Flags().Bool("dry-run", false, "check everything at the server, store nothing")
	why := cmd.Flags().String("why", "", "reason, kept in the history")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		docs, err := e.readDocs(*files, "nothing was stored")
		if err != nil {
			return err
		}
		req := &isthmusv1.ApplyRequest{Why: *why, DryRun: *dryRun}
		if req.Resources, err = packAll(docs); err != nil {
			return err
		}
		c, err := e.connect()
		if err != nil {
			return err
		}
		ctx, cancel := c.bounded(cmd.Context())
		defer cancel()
		res, err := c.Apply(ctx, req)
		if err != nil {
			return e.refused(ctx, err, docs)
		}
		return e.showApplied(*format, res)
	}
	return cmd
}

// fileFlag adds -f.
func fileFlag(cmd *cobra.Command) *[]string {
	files := cmd.Flags().StringArrayP("file", "f", nil, "file, directory, or - for standard input; may be repeated")
	return files
}

// readDocs reads all resources of the files. Mistakes are shown, all of them, with the outcome, and end the command.
func (e *env) readDocs(names []string, outcome string) ([]resource.Decoded, error) {
	if len(names) == 0 {
		return nil, &usageError{errors.New("-f says which file, directory or - for standard input")}
	}
	files, err := e.collectFiles(names)
	if err != nil {
		return nil, err
	}
	docs, problems := resource.Decode(files)
	for _, d := range docs {
		for _, w := range d.Warnings {
			fmt.Fprintln(e.stderr, "warning:", w)
		}
		if d.Resource == nil {
			problems = append(problems, d.Refusal())
		}
	}
	if len(problems) > 0 {
		return nil, e.showProblems(problems, outcome)
	}
	return docs, nil
}

// packAll makes what travels of what was read. The etag of the text goes along: who wrote one means it.
func packAll(docs []resource.Decoded) ([]*isthmusv1.Resource, error) {
	out := make([]*isthmusv1.Resource, 0, len(docs))
	for _, d := range docs {
		r, err := resource.Pack(d.Resource)
		if err != nil {
			return nil, err
		}
		r.Etag = d.Etag
		out = append(out, r)
	}
	return out, nil
}

// refused shows what the server found, at the places of the files where it is.
func (e *env) refused(ctx context.Context, err error, docs []resource.Decoded) error {
	return e.refusedTo(ctx, err, docs, "nothing was stored")
}

func (e *env) refusedTo(ctx context.Context, err error, docs []resource.Decoded, outcome string) error {
	err, problems := explain(ctx, err)
	if len(problems) == 0 {
		return err
	}
	var placed []resource.Problem
	for _, p := range problems {
		at := resource.Problem{Resource: resource.FQN(p.GetFqn()), Field: p.GetField(), Message: p.GetMessage()}
		if i := int(p.GetIndex()); i >= 0 && i < len(docs) {
			at.File, at.Line, at.Document, at.Object = docs[i].File, docs[i].Line, docs[i].Document, docs[i].Object
		}
		placed = append(placed, at)
	}
	return e.showProblems(placed, outcome)
}

// showProblems writes one line per problem.
func (e *env) showProblems(problems []resource.Problem, outcome string) error {
	for _, p := range problems {
		fmt.Fprintln(e.stderr, p)
	}
	fmt.Fprintf(e.stderr, "tctl: %s; %s\n", count(len(problems), "problem"), outcome)
	return errSaid
}

func (e *env) showApplied(format string, res *isthmusv1.ApplyResponse) error {
	r := result{header: []string{"NAME", "KIND", "RESULT"}}
	for _, one := range res.GetResults() {
		for _, w := range one.GetWarnings() {
			fmt.Fprintf(e.stderr, "warning: %s: %s\n", one.GetResource().GetFqn(), w)
		}
		shown, err := show(one.GetResource())
		if err != nil {
			return err
		}
		what := strings.ToLower(strings.TrimPrefix(one.GetOutcome().String(), "OUTCOME_"))
		r.rows = append(r.rows, []string{shown.fqn.Name(), shown.kind.Name, what})
		r.names, r.docs = append(r.names, shown.name()), append(r.docs, shown.doc)
	}
	return e.print(format, r)
}

// newDelete removes resources and everything below them.
func newDelete(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete (-f FILE | KIND NAME…)",
		Short:   "Delete resources and everything below them, in one transaction",
		Example: "  tctl delete workspace bookinfo --tenant test\n  tctl delete -f workspace.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return &usageError{errors.New("delete needs a kind and a name, or -f FILE")}
			}
			return nil
		},
		ValidArgsFunction: completeKind,
	}
	files := fileFlag(cmd)
	at := scopeFlags(cmd)
	force := cmd.Flags().Bool("force", false, "also what has deletion protection")
	why := cmd.Flags().String("why", "", "reason, kept in the history")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 0) == (len(*files) == 0) {
			return &usageError{errors.New("delete needs either a kind and a name, or -f FILE")}
		}
		var docs []resource.Decoded
		var err error
		if len(*files) > 0 {
			if docs, err = e.readDocs(*files, "nothing was deleted"); err != nil {
				return err
			}
		}
		c, err := e.connect()
		if err != nil {
			return err
		}
		ctx, cancel := c.bounded(cmd.Context())
		defer cancel()
		req := &isthmusv1.DeleteRequest{Force: *force, Why: *why}
		for _, d := range docs {
			req.Fqns = append(req.Fqns, string(d.Resource.FQN))
		}
		if err := e.addNamed(ctx, c, at, args, req); err != nil {
			err, _ = explain(ctx, err)
			return err
		}
		res, err := c.Delete(ctx, req)
		if err != nil {
			return e.notDeleted(ctx, err, docs)
		}
		for _, name := range res.GetDeleted() {
			fmt.Fprintln(e.stdout, name, "deleted")
		}
		return nil
	}
	return cmd
}

// notDeleted shows why the server refused.
func (e *env) notDeleted(ctx context.Context, err error, docs []resource.Decoded) error {
	if len(docs) > 0 {
		return e.refusedTo(ctx, err, docs, "nothing was deleted")
	}
	err, _ = explain(ctx, err)
	return err
}

// addNamed adds what KIND NAME… names.
func (e *env) addNamed(ctx context.Context, c *client, at scope, args []string, req *isthmusv1.DeleteRequest) error {
	if len(args) == 0 {
		return nil
	}
	k, err := at.kind(args)
	if err != nil {
		return err
	}
	for _, name := range args[1:] {
		fqn, err := e.named(ctx, c, at, k, name)
		if err != nil {
			return err
		}
		req.Fqns = append(req.Fqns, string(fqn))
	}
	return nil
}

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
)

// newEdit changes a resource in the user's editor. Its etag makes sure that nobody else's change is lost.
func newEdit(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "edit KIND NAME",
		Short:             "Change a resource in $EDITOR",
		Example:           "  EDITOR=nano tctl edit workspace bookinfo --tenant test",
		Args:              exactly(2, "a kind and a name"),
		ValidArgsFunction: completeKind,
	}
	at := scopeFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, err := at.kind(args)
		if err != nil {
			return err
		}
		var before []byte
		err = e.call(cmd.Context(), func(ctx context.Context, c *client) error {
			fqn, err := e.named(ctx, c, at, k, args[1])
			if err != nil {
				return err
			}
			res, err := c.Get(ctx, &isthmusv1.GetRequest{Fqn: string(fqn)})
			if err != nil {
				return err
			}
			s, err := show(res.GetResource())
			if err != nil {
				return err
			}
			var text bytes.Buffer
			err = writeYAML(&text, []any{s.doc})
			before = text.Bytes()
			return err
		})
		if err != nil {
			return err
		}
		return e.editText(cmd.Context(), before)
	}
	return cmd
}

// editText runs the editor until what it leaves is accepted or unchanged. What was refused stays in the file, whose
// name is said.
func (e *env) editText(ctx context.Context, before []byte) error {
	dir, err := os.MkdirTemp("", "tctl-edit-")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "resource.yaml")
	if err := os.WriteFile(path, before, 0o600); err != nil {
		return err
	}
	if err := e.runEditor(ctx, path); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	after, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if bytes.Equal(before, after) {
		fmt.Fprintln(e.stdout, "Nothing was changed.")
		return os.RemoveAll(dir)
	}
	if err := e.applyText(ctx, path, after); err != nil {
		fmt.Fprintln(e.stderr, "Your text is kept: tctl apply -f", path, "tries it again")
		return err
	}
	return os.RemoveAll(dir)
}

// runEditor runs $EDITOR, which may have arguments.
func (e *env) runEditor(ctx context.Context, path string) error {
	editor := e.getenv("EDITOR")
	if editor == "" {
		editor = "vi"
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.stdin, e.stdout, e.stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("editor %q: %w", editor, err)
	}
	return nil
}

func (e *env) applyText(ctx context.Context, path string, text []byte) error {
	docs, problems := resource.Decode([]resource.File{{Name: path, Data: text}})
	for _, d := range docs {
		if d.Resource == nil {
			problems = append(problems, d.Refusal())
		}
	}
	if len(problems) > 0 {
		return e.showProblems(problems, "nothing was stored")
	}
	c, err := e.connect()
	if err != nil {
		return err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	req := &isthmusv1.ApplyRequest{Why: "tctl edit"}
	if req.Resources, err = packAll(docs); err != nil {
		return err
	}
	res, err := c.Apply(ctx, req)
	if err != nil {
		return e.refused(ctx, err, docs)
	}
	return e.showApplied("table", res)
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// env is all that commands take from outside, so that tests can give them something else.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time

	// Global flags.
	configFile string
	profile    string
	debug      bool
}

// Config says what Run needs from its surroundings.
type Config struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
}

// Run runs one command line and returns the exit code.
func Run(ctx context.Context, c Config) int {
	e := &env{stdin: c.Stdin, stdout: c.Stdout, stderr: c.Stderr, getenv: c.Getenv, now: c.Now}
	root := newRoot(e)
	root.SetArgs(c.Args)
	root.SetIn(c.Stdin)
	root.SetOut(c.Stdout)
	root.SetErr(c.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errSaid) {
		fmt.Fprintln(c.Stderr, "tctl:", err)
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return 2
	}
	return 1
}

// errSaid ends a command that has already told the user on standard error what is wrong.
var errSaid = errors.New("see above")

// usageError is a mistake in the command line.
type usageError struct{ error }

func (u *usageError) Unwrap() error { return u.error }

// newRoot builds the whole command tree: one line per verb.
func newRoot(e *env) *cobra.Command {
	root := group("tctl", "Manage Isthmus: many Istio clusters from one place",
		newValidate(e),
		newVersion(e),
		newLogin(e),
		newWhoAmI(e),
		newConfig(e),
		newApply(e),
		newGet(e),
		newEdit(e),
		newDelete(e),
		newStatus(e),
		newInstall(e),
		newX(e),
	)
	root.Long = "tctl speaks to an Isthmus server, and checks and translates configuration without one."
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%w; see %q", err, cmd.CommandPath()+" --help")}
	})
	f := root.PersistentFlags()
	f.StringVarP(&e.configFile, "config", "c", "", "configuration file (default $TCTL_CONFIG, else ~/.tctl/config)")
	f.StringVarP(&e.profile, "profile", "p", "", "profile of the configuration file (default the current one)")
	f.BoolVar(&e.debug, "debug", false, "say what is sent and received")
	f.Bool("disable-tctl-version-warn", false, "accepted for compatibility; there is no such warning")
	return root
}

// newX holds the commands whose form may still change.
func newX(e *env) *cobra.Command {
	x := group("experimental", "Commands whose form may still change",
		newStatus(e),
		newWait(e),
		newAudit(e),
		newPlan(e),
		newServiceAccount(e),
		newTranslate(e),
	)
	x.Aliases = []string{"x"}
	return x
}

// group is a command that only holds others. Called by itself it shows its help; with an unknown word it fails, so
// that scripts can try one spelling after the other.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("there is no command %q; see %q", cmd.CommandPath()+" "+args[0], cmd.CommandPath()+" --help")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// exactly demands n arguments that usage names.
func exactly(n int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return &usageError{fmt.Errorf("%s needs %s; see %q", cmd.CommandPath(), usage, cmd.CommandPath()+" --help")}
		}
		return nil
	}
}

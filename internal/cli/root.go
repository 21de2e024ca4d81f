package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"isthmus.dev/isthmus/internal/version"
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

	running bool // the command line was understood
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
	finish(e, root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[*usageError](err); !ok && !e.running && !errors.Is(err, errSaid) {
		err = &usageError{err} // cobra's own words about flags that are missing or exclude each other
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
	root.Long = `tctl speaks to an Isthmus server, and checks and translates configuration without one.

Results go to standard output, everything else to standard error. Exit codes: 0 done; 1 refused or failed, and standard
error says why; 2 the command line itself is wrong.

Environment: TCTL_CONFIG is the configuration file, TCTL_LOGIN_ORG, TCTL_LOGIN_TENANT, TCTL_LOGIN_USERNAME and
TCTL_LOGIN_PASSWORD answer "tctl login", EDITOR is for "tctl edit", TCTL_TRANSPORT=rest speaks REST instead of gRPC.`
	root.Example = `  tctl config clusters set default --bridge-address tsb.example.com:8443 --tls-custom-ca-file ca.crt
  tctl login --org tetrate --username admin
  tctl validate -f bookinfo.yaml
  tctl apply -f bookinfo.yaml
  tctl status workspace bookinfo --tenant test`
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
		newDrain(e),
		newUndrain(e),
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
				return noCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// noCommand says what may have been meant.
func noCommand(cmd *cobra.Command, word string) error {
	hint := ""
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		hint = fmt.Sprintf(" did you mean %q?", near[0])
	}
	return &usageError{fmt.Errorf("there is no command %q;%s see %q", cmd.CommandPath()+" "+word, hint, cmd.CommandPath()+" --help")}
}

// finish adds what all commands have in common.
func finish(e *env, root *cobra.Command) {
	root.Version = version.Version
	root.SetVersionTemplate("TCTL version: {{.Version}}\n")
	root.SuggestionsMinimumDistance = 2
	root.InitDefaultCompletionCmd("completion")
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			shells := group("", "")
			cmd.Args, cmd.RunE = shells.Args, shells.RunE
			cmd.Long = "Print what gives a shell completion for tctl. The help of each shell says how to load it."
			for _, shell := range cmd.Commands() {
				shell.Example = "  tctl completion " + shell.Name()
			}
		case "help":
			cmd.Run, cmd.RunE = nil, func(_ *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				if err != nil || found == nil {
					return err
				}
				if len(rest) > 0 {
					return noCommand(found, rest[0])
				}
				return found.Help()
			}
			cmd.Example = "  tctl help apply"
		}
	}
	each(root, func(cmd *cobra.Command) {
		cmd.SuggestionsMinimumDistance = root.SuggestionsMinimumDistance
		if cmd.Example == "" { // of a command that only holds others, the examples of the first one
			cmd.Example = exampleBelow(cmd)
		}
		run := cmd.RunE
		if run == nil {
			return
		}
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			e.running = true
			return run(cmd, args)
		}
	})
}

func exampleBelow(cmd *cobra.Command) string {
	for _, c := range cmd.Commands() {
		if text := cmp.Or(c.Example, exampleBelow(c)); text != "" {
			return text
		}
	}
	return ""
}

// each calls f for a command and all below it.
func each(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		each(c, f)
	}
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

package cli

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// newLogin signs in and keeps the session in the configuration file.
func newLogin(e *env) *cobra.Command {
	var org, tenant, username, password string
	cmd := &cobra.Command{
		Use:     "login",
		Short:   "Sign in with a name and password; what is missing is asked for",
		Example: "  tctl login --org tetrate --username admin",
		Args:    exactly(0, "no arguments"),
	}
	f := cmd.Flags()
	f.StringVar(&org, "org", "", "organization ($TCTL_LOGIN_ORG)")
	f.StringVar(&tenant, "tenant", "", "tenant, may be empty ($TCTL_LOGIN_TENANT)")
	f.StringVar(&username, "username", "", "name ($TCTL_LOGIN_USERNAME)")
	f.StringVar(&password, "password", "", "password ($TCTL_LOGIN_PASSWORD)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := e.connect()
		if err != nil {
			return err
		}
		u := c.account
		ask := newPrompt(e)
		for _, q := range []struct {
			flag, text string
			given      string
			into       *string
		}{{"org", "Organization", org, &u.Org}, {"tenant", "Tenant", tenant, &u.Tenant}, {"username", "Username", username, &u.Username}} {
			v := cmp.Or(q.given, e.getenv("TCTL_LOGIN_"+strings.ToUpper(q.flag)))
			if v == "" && *q.into == "" && !f.Changed(q.flag) {
				if v, err = ask.line(q.text); err != nil {
					return err
				}
			}
			if v != "" || f.Changed(q.flag) { // an empty --tenant takes away the one of last time
				*q.into = v
			}
		}
		password = cmp.Or(password, e.getenv("TCTL_LOGIN_PASSWORD"))
		if password == "" {
			if password, err = ask.secret("Password"); err != nil {
				return err
			}
		}
		return e.login(cmd.Context(), c, u, password)
	}
	return cmd
}

// login asks for a session and stores it.
func (e *env) login(ctx context.Context, c *client, u account, password string) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	res, err := c.Login(ctx, &isthmusv1.LoginRequest{Username: u.Username, Password: password, Organization: u.Org, Tenant: u.Tenant})
	if err != nil {
		err, _ = explain(ctx, err)
		return fmt.Errorf("sign in as %q: %w", u.Username, err)
	}
	s, p := c.settings, c.profile
	u.Name = cmp.Or(u.Name, p.Username, defaultName)
	u.Token, u.Expires, u.Password = res.GetToken(), res.GetExpires().AsTime(), ""
	p.Username, p.Cluster = u.Name, cmp.Or(p.Cluster, defaultName)
	s.Users, s.Profiles = put(s.Users, u), put(s.Profiles, p)
	s.CurrentProfile = cmp.Or(s.CurrentProfile, p.Name)
	if err := s.save(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "Login Successful!\n  Configured user: %s\n  User %q enabled in profile: %s\n", u.Name, u.Username, p.Name)
	return err
}

// prompt asks on standard error and reads from standard input.
type prompt struct {
	e  *env
	in *bufio.Reader
}

func newPrompt(e *env) *prompt { return &prompt{e, bufio.NewReader(e.stdin)} }

// line reads one line; the end of the input is an empty answer.
func (p *prompt) line(what string) (string, error) {
	fmt.Fprint(p.e.stderr, what+": ")
	text, err := p.in.ReadString('\n')
	if err != nil && text == "" {
		fmt.Fprintln(p.e.stderr)
	}
	return strings.TrimSpace(text), nil
}

// secret reads a line that is not shown when somebody types it.
func (p *prompt) secret(what string) (string, error) {
	f, ok := p.e.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return p.line(what)
	}
	fmt.Fprint(p.e.stderr, what+": ")
	text, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(p.e.stderr)
	return string(text), err
}

// newWhoAmI says who the server takes the caller for.
func newWhoAmI(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Example: "  tctl whoami",
		Short:   "Say who you are for the server, and what you may do",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.call(cmd.Context(), func(ctx context.Context, c *client) error {
				res, err := c.WhoAmI(ctx, &isthmusv1.WhoAmIRequest{})
				if err != nil {
					return err
				}
				fmt.Fprintln(e.stdout, res.GetSubject())
				for _, r := range res.GetRoles() {
					fmt.Fprintln(e.stdout, "  "+r)
				}
				return nil
			})
		},
	}
}

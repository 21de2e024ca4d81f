package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// newConfig holds the verbs for the configuration file.
func newConfig(e *env) *cobra.Command {
	config := group("config", "Change which servers and users tctl knows",
		group("clusters", "Servers: where they are and how to trust them", newClustersSet(e),
			newConfigList(e, showClusters), newConfigDelete(e, deleteCluster), newConfigRename(e, renameCluster)),
		group("users", "Users: who signs in", newUsersSet(e),
			newConfigList(e, showUsers), newConfigDelete(e, deleteUser), newConfigRename(e, renameUser)),
		group("profiles", "Profiles: a server and a user of it", newProfilesSet(e), newProfilesSetCurrent(e), newProfilesGetCurrent(e),
			newConfigList(e, showProfiles), newConfigDelete(e, deleteProfile), newConfigRename(e, renameProfile), newProfilesExport(e), newProfilesImport(e)),
		newConfigView(e),
	)
	more := map[string]string{"list": " -o yaml", "delete": " old", "rename": " old new"}
	each(config, func(cmd *cobra.Command) { // the verbs that all three lists have
		if args, ok := more[cmd.Name()]; ok && cmd.Example == "" {
			cmd.Example = "  tctl " + cmd.CommandPath() + args
		}
	})
	return config
}

// edit runs f over the configuration file and saves it.
func (e *env) edit(f func(*settings) error) error {
	s, err := e.settings()
	if err != nil {
		return err
	}
	if err := f(s); err != nil {
		return err
	}
	return s.save()
}

func newClustersSet(e *env) *cobra.Command {
	var c endpoint
	cmd := &cobra.Command{
		Use:     "set NAME",
		Short:   "Add a server or change it; flags that are not given stay as they were",
		Example: "  tctl config clusters set default --bridge-address tsb.example.com:8443 --tls-custom-ca-file ca.crt",
		Args:    exactly(1, "a name"),
	}
	f := cmd.Flags()
	f.StringVar(&c.BridgeAddress, "bridge-address", "", "host:port of the server")
	f.DurationVar(&c.Timeout, "timeout", 30*time.Second, "how long a request may take")
	f.BoolVar(&c.TLSDisabled, "tls-disabled", false, "speak plain text")
	f.BoolVar(&c.TLSInsecure, "tls-insecure", false, "do not check the server's certificate")
	f.StringVar(&c.TLSCustomCAFile, "tls-custom-ca-file", "", "PEM file of the CA to trust")
	f.IntVar(&c.MaxMessage, "max-grpc-msg-size", 20971520, "largest answer in bytes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return e.edit(func(s *settings) error {
			old, _ := get(s.Clusters, args[0])
			old.Name = args[0]
			if err := c.check(f); err != nil {
				return err
			}
			for name, set := range map[string]func(){
				"bridge-address":     func() { old.BridgeAddress = c.BridgeAddress },
				"timeout":            func() { old.Timeout = c.Timeout },
				"tls-disabled":       func() { old.TLSDisabled = c.TLSDisabled },
				"tls-insecure":       func() { old.TLSInsecure = c.TLSInsecure },
				"tls-custom-ca-file": func() { old.TLSCustomCAFile = c.TLSCustomCAFile },
				"max-grpc-msg-size":  func() { old.MaxMessage = c.MaxMessage },
			} {
				setIfGiven(f, name, set)
			}
			if old.BridgeAddress == "" {
				return &usageError{fmt.Errorf("cluster %q needs --bridge-address", args[0])}
			}
			s.Clusters = put(s.Clusters, old)
			return nil
		})
	}
	return cmd
}

// check finds what could never work, and makes the name of a file independent of the directory.
func (c *endpoint) check(f *pflag.FlagSet) error {
	if f.Changed("bridge-address") {
		c.BridgeAddress = strings.TrimPrefix(strings.TrimPrefix(c.BridgeAddress, "https://"), "http://")
		if host, port, err := net.SplitHostPort(c.BridgeAddress); err != nil || host == "" || !isPort(port) {
			return &usageError{fmt.Errorf("--bridge-address %q is not HOST:PORT, for example tsb.example.com:8443", c.BridgeAddress)}
		}
	}
	if c.TLSCustomCAFile == "" {
		return nil
	}
	if _, err := readPool(c.TLSCustomCAFile); err != nil {
		return fmt.Errorf("--tls-custom-ca-file: %w", err)
	}
	path, err := filepath.Abs(c.TLSCustomCAFile)
	c.TLSCustomCAFile = path
	return err
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func setIfGiven(f *pflag.FlagSet, name string, set func()) {
	if f.Changed(name) {
		set()
	}
}

func newUsersSet(e *env) *cobra.Command {
	var u account
	cmd := &cobra.Command{
		Use:     "set NAME",
		Example: "  tctl config users set default --username admin --org tetrate --tenant test",
		Short:   "Add a user or change it; flags that are not given stay as they were",
		Args:    exactly(1, "a name"),
	}
	f := cmd.Flags()
	f.StringVar(&u.Username, "username", "", "name to sign in with (default NAME)")
	f.StringVar(&u.Password, "password", "", "password; it is stored in the file")
	f.StringVar(&u.Org, "org", "", "organization, which --org of other commands then defaults to")
	f.StringVar(&u.Tenant, "tenant", "", "tenant, which --tenant of other commands then defaults to")
	f.StringVar(&u.Token, "token", "", "session token, instead of a password")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return e.edit(func(s *settings) error {
			old, _ := get(s.Users, args[0])
			old.Name = args[0]
			setIfGiven(f, "username", func() { old.Username = u.Username })
			setIfGiven(f, "org", func() { old.Org = u.Org })
			setIfGiven(f, "tenant", func() { old.Tenant = u.Tenant })
			setIfGiven(f, "password", func() { old.Password, old.Token, old.Expires = u.Password, "", time.Time{} })
			setIfGiven(f, "token", func() { old.Token, old.Expires = u.Token, time.Time{} })
			old.Username = cmp.Or(old.Username, old.Name)
			s.Users = put(s.Users, old)
			return nil
		})
	}
	return cmd
}

func newProfilesSet(e *env) *cobra.Command {
	var p profile
	cmd := &cobra.Command{
		Use:     "set NAME",
		Example: "  tctl config profiles set prod --cluster prod --username default",
		Short:   "Add a profile or change it; the first one becomes the current one",
		Args:    exactly(1, "a name"),
	}
	f := cmd.Flags()
	f.StringVar(&p.Cluster, "cluster", "", "name of the server")
	f.StringVar(&p.Username, "username", "", "name of the user")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return e.edit(func(s *settings) error {
			old, _ := get(s.Profiles, args[0])
			old.Name = args[0]
			setIfGiven(f, "cluster", func() { old.Cluster = p.Cluster })
			setIfGiven(f, "username", func() { old.Username = p.Username })
			s.Profiles = put(s.Profiles, old)
			s.CurrentProfile = cmp.Or(s.CurrentProfile, old.Name)
			return nil
		})
	}
	return cmd
}

func newProfilesSetCurrent(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "set-current NAME",
		Example: "  tctl config profiles set-current prod",
		Short:   "Use a profile from now on",
		Args:    exactly(1, "a name"),
		RunE: func(_ *cobra.Command, args []string) error {
			return e.edit(func(s *settings) error {
				if find(s.Profiles, args[0]) < 0 {
					return fmt.Errorf("there is no profile %q in %s; 'tctl config profiles list' shows them", args[0], s.path)
				}
				s.CurrentProfile = args[0]
				return nil
			})
		},
	}
}

func newProfilesGetCurrent(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "get-current",
		Example: "  tctl config profiles get-current",
		Short:   "Say which profile is used",
		Args:    exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			s, err := e.settings()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.stdout, cmp.Or(s.CurrentProfile, defaultName))
			return err
		},
	}
}

// newConfigList shows one of the three lists.
func newConfigList(e *env, show func(*settings) result) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List them", Args: exactly(0, "no arguments")}
	format := outputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := e.settings()
		if err != nil {
			return err
		}
		return e.print(*format, show(s))
	}
	return cmd
}

func showClusters(s *settings) result {
	r := result{header: []string{"NAME", "BRIDGE ADDRESS", "TLS"}, list: true}
	for _, c := range s.Clusters {
		tls := "checked"
		switch {
		case c.TLSDisabled:
			tls = "disabled"
		case c.TLSInsecure:
			tls = "insecure"
		case c.TLSCustomCAFile != "":
			tls = c.TLSCustomCAFile
		}
		r.add(c, c.Name, c.BridgeAddress, tls)
	}
	return r
}

func showUsers(s *settings) result {
	r := result{header: []string{"NAME", "USERNAME", "ORG", "TENANT"}, list: true}
	for _, u := range s.Users {
		u.Password, u.Token = hidden(u.Password), hidden(u.Token)
		r.add(u, u.Name, u.Username, u.Org, u.Tenant)
	}
	return r
}

// hidden stands for a secret.
func hidden(s string) string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

func showProfiles(s *settings) result {
	r := result{header: []string{"CURRENT", "NAME", "CLUSTER", "ACCOUNT"}, list: true}
	for _, p := range s.Profiles {
		mark := ""
		if p.Name == s.CurrentProfile {
			mark = "*"
		}
		r.add(p, p.Name, p.Cluster, p.Username)
		r.rows[len(r.rows)-1] = []string{mark, p.Name, p.Cluster, p.Username}
	}
	return r
}

// add adds an element of the configuration file to what is shown.
func (r *result) add(v any, name string, cells ...string) {
	r.rows = append(r.rows, append([]string{name}, cells...))
	r.names = append(r.names, name)
	var doc any
	text, err := yaml.Marshal(v)
	if err == nil {
		err = yaml.Unmarshal(text, &doc)
	}
	if err == nil {
		if text, err = json.Marshal(doc); err == nil { // times as text
			err = json.Unmarshal(text, &doc)
		}
	}
	if err != nil {
		doc = map[string]any{"name": name}
	}
	r.docs = append(r.docs, doc)
}

func newConfigDelete(e *env, remove func(*settings, string) bool) *cobra.Command {
	cmd := &cobra.Command{Use: "delete NAME", Short: "Remove one", Args: exactly(1, "a name")}
	cmd.Flags().BoolP("recursive", "r", false, "accepted for compatibility")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		return e.edit(func(s *settings) error {
			if !remove(s, args[0]) {
				return fmt.Errorf("%q is not in %s", args[0], s.path)
			}
			return nil
		})
	}
	return cmd
}

func without[T named](list []T, name string) ([]T, bool) {
	n := len(list)
	list = slices.DeleteFunc(list, func(t T) bool { return t.name() == name })
	return list, len(list) < n
}

func deleteCluster(s *settings, name string) (ok bool) {
	s.Clusters, ok = without(s.Clusters, name)
	return ok
}

func deleteUser(s *settings, name string) (ok bool) {
	s.Users, ok = without(s.Users, name)
	return ok
}

func deleteProfile(s *settings, name string) (ok bool) {
	s.Profiles, ok = without(s.Profiles, name)
	if s.CurrentProfile == name {
		s.CurrentProfile = ""
	}
	return ok
}

func newConfigRename(e *env, rename func(s *settings, from, to string) error) *cobra.Command {
	return &cobra.Command{
		Use:   "rename OLD NEW",
		Short: "Give one another name; what refers to it follows",
		Args:  exactly(2, "the old and the new name"),
		RunE: func(_ *cobra.Command, args []string) error {
			return e.edit(func(s *settings) error { return rename(s, args[0], args[1]) })
		},
	}
}

// canRename checks a renaming and returns the place of the element.
func canRename[T named](list []T, from, to string) (int, error) {
	i := find(list, from)
	switch {
	case i < 0:
		return 0, fmt.Errorf("there is no %q", from)
	case find(list, to) >= 0:
		return 0, fmt.Errorf("there is a %q already", to)
	}
	return i, nil
}

func renameCluster(s *settings, from, to string) error {
	i, err := canRename(s.Clusters, from, to)
	if err != nil {
		return err
	}
	s.Clusters[i].Name = to
	for j := range s.Profiles {
		if s.Profiles[j].Cluster == from {
			s.Profiles[j].Cluster = to
		}
	}
	return nil
}

func renameUser(s *settings, from, to string) error {
	i, err := canRename(s.Users, from, to)
	if err != nil {
		return err
	}
	s.Users[i].Name = to
	for j := range s.Profiles {
		if s.Profiles[j].Username == from {
			s.Profiles[j].Username = to
		}
	}
	return nil
}

func renameProfile(s *settings, from, to string) error {
	i, err := canRename(s.Profiles, from, to)
	if err != nil {
		return err
	}
	s.Profiles[i].Name = to
	if s.CurrentProfile == from {
		s.CurrentProfile = to
	}
	return nil
}

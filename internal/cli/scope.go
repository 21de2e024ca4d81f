package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
)

// scope says where in the tree a name on the command line is. Keys are plurals of kinds.
type scope map[string]*string

// scopeFlags adds the flags that place a resource, one per kind of owner.
func scopeFlags(cmd *cobra.Command) scope {
	f := cmd.Flags()
	s := scope{}
	add := func(plural, flag, short, text string) {
		v := new(string)
		f.StringVarP(v, flag, short, "", text)
		s[plural] = v
	}
	add("organizations", "org", "", "organization (default that of the user, or the only one there is)")
	add("tenants", "tenant", "", "tenant (default that of the user)")
	add("workspaces", "workspace", "w", "workspace")
	add("gatewaygroups", "gatewaygroup", "l", "gateway group")
	add("trafficgroups", "trafficgroup", "t", "traffic group")
	add("securitygroups", "securitygroup", "s", "security group")
	add("istiointernalgroups", "istiointernalgroup", "i", "group of Istio's own objects")
	f.VarP(groupAlias{s["gatewaygroups"], s["trafficgroups"], s["securitygroups"], s["istiointernalgroups"]}, "group", "g", "group")
	return s
}

// groupAlias sets the group of any type: the kind that is asked for says which one is meant.
type groupAlias []*string

func (a groupAlias) String() string { return "" }
func (a groupAlias) Type() string   { return "string" }

func (a groupAlias) Set(s string) error {
	for _, v := range a {
		*v = s
	}
	return nil
}

// fill puts in what the user of the profile has as defaults, and the organization when there is only one.
func (s scope) fill(ctx context.Context, c *client) error {
	*s["organizations"] = cmp.Or(*s["organizations"], c.account.Org)
	*s["tenants"] = cmp.Or(*s["tenants"], c.account.Tenant)
	if *s["organizations"] != "" {
		return nil
	}
	res, err := c.List(ctx, &isthmusv1.ListRequest{Plural: "organizations"})
	if err != nil {
		return err
	}
	if n := len(res.GetResources()); n != 1 {
		return &usageError{fmt.Errorf("there are %d organizations: say which with --org", n)}
	}
	*s["organizations"] = resource.FQN(res.GetResources()[0].GetFqn()).Name()
	return nil
}

// parent is the FQN of the owner of resources of a kind. With some owners left out it is the closest one that is
// known, and partly is true.
func (s scope) parent(k *resource.Kind) (fqn resource.FQN, partly bool, missing string) {
	line := k.Lineage()
	for _, owner := range line[:len(line)-1] {
		v := s[owner.Plural]
		if v == nil || *v == "" {
			return fqn, true, flagOf(owner)
		}
		fqn = fqn.Child(owner.Plural, *v)
	}
	return fqn, false, ""
}

func flagOf(k *resource.Kind) string {
	switch k.Plural {
	case "organizations":
		return "--org"
	case "gatewaygroups":
		return "--gatewaygroup"
	case "trafficgroups":
		return "--trafficgroup"
	case "securitygroups":
		return "--securitygroup"
	case "istiointernalgroups":
		return "--istiointernalgroup"
	}
	return "--" + strings.ToLower(k.Name)
}

// fqn is the full name of a resource on the command line, which may be an FQN already.
func (s scope) fqn(k *resource.Kind, name string) (resource.FQN, error) {
	if strings.Contains(name, "/") {
		fqn, of, err := resource.ParseFQN(name)
		if err == nil && of != k {
			err = fmt.Errorf("%q is the name of %s", name, of.Noun())
		}
		if err != nil {
			return "", &usageError{err}
		}
		return fqn, nil
	}
	parent, partly, missing := s.parent(k)
	if partly {
		return "", &usageError{fmt.Errorf("%s %q needs %s; \"tctl get %s\" shows where there are some", k.Name, name, missing, strings.ToLower(k.Name))}
	}
	fqn, _, err := resource.ParseFQN(string(parent.Child(k.Plural, name)))
	if err != nil {
		return "", &usageError{err}
	}
	return fqn, nil
}

// kindOf finds the kind that a word means.
func kindOf(word string) (*resource.Kind, error) {
	found := resource.Lookup(word)
	switch len(found) {
	case 0:
		var all []string
		for _, k := range resource.Kinds {
			short := ""
			if len(k.Short) > 0 {
				short = " (" + k.Short[0] + ")"
			}
			if word := strings.ToLower(k.Name) + short; !slices.Contains(all, word) {
				all = append(all, word)
			}
		}
		return nil, &usageError{fmt.Errorf("there is no kind %q; there are %s", word, strings.Join(all, ", "))}
	case 1:
		return found[0], nil
	}
	var ids []string
	for _, k := range found {
		ids = append(ids, k.ID())
	}
	return nil, &usageError{fmt.Errorf("%q can be %s", word, strings.Join(ids, " or "))}
}

// kind is what the first argument means, given the names that may follow and where they are: of kinds of one name below groups of
// several types, the one of a full name, or the one below the group that is named.
func (s scope) kind(args []string) (*resource.Kind, error) {
	word := args[0]
	var there []*resource.Kind
	for _, k := range resource.Lookup(word) {
		if len(args) > 1 {
			if _, of, err := resource.ParseFQN(args[1]); err == nil && of == k {
				return k, nil
			}
		}
		if v := s[k.Within]; v != nil && *v != "" {
			there = append(there, k)
		}
	}
	if len(there) == 1 {
		return there[0], nil
	}
	if found := resource.Lookup(word); len(found) > 1 {
		if k := resource.Nearest(found, func(owner *resource.Kind) bool {
			return slices.ContainsFunc(there, func(k *resource.Kind) bool { return k.Within == owner.Plural })
		}); k != nil {
			return k, nil
		}
	}
	return kindOf(word)
}

// completeKind offers kinds as the first argument.
func completeKind(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	for _, k := range resource.Kinds {
		if word := strings.ToLower(k.Name); !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
)

// newGet shows resources.
func newGet(e *env) *cobra.Command {
	var filter getFilter
	cmd := &cobra.Command{
		Use:   "get (KIND [NAME] | all)",
		Short: "Show resources",
		Long: "Show a resource, those of a kind, or all. An owner that is not given stands for all of them: without -w,\n" +
			"\"get gatewaygroups --tenant test\" shows those of all workspaces of the tenant.",
		Example:           "  tctl get workspaces --tenant test\n  tctl get ig bookinfo --tenant test -w bookinfo -l gw -o yaml\n  tctl get all --kind Cluster",
		ValidArgsFunction: completeKind,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 || len(args) == 2 && args[0] == "all" {
				return &usageError{errors.New("get needs a kind and perhaps a name, or all alone; see \"tctl get --help\"")}
			}
			return nil
		},
	}
	at := scopeFlags(cmd)
	format := outputFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&filter.kind, "kind", "", "with all: only this kind")
	f.StringVar(&filter.apiVersion, "api-version", "", "with all: only this API version")
	f.StringVar(&filter.fqdn, "fqdn", "", "with all: only what exposes this host name")
	f.Int("max-concurrent-requests", 1, "accepted for compatibility; one request is enough")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := filter.check(args[0]); err != nil {
			return err
		}
		return e.call(cmd.Context(), func(ctx context.Context, c *client) error {
			all, list, err := e.find(ctx, c, at, args)
			if err != nil {
				return err
			}
			r, err := filter.show(all, args[0] == "all")
			if err != nil {
				return err
			}
			r.list = list
			return e.print(*format, r)
		})
	}
	return cmd
}

// find gets what the arguments name; list says that it may be many.
func (e *env) find(ctx context.Context, c *client, at scope, args []string) (all []*isthmusv1.Resource, list bool, err error) {
	if args[0] == "all" {
		all, err = e.everything(ctx, c, at)
		return all, true, err
	}
	k, err := at.kind(args)
	if err != nil {
		return nil, false, err
	}
	if len(args) == 2 {
		fqn, err := e.named(ctx, c, at, k, args[1])
		if err != nil {
			return nil, false, err
		}
		res, err := c.Get(ctx, &isthmusv1.GetRequest{Fqn: string(fqn)})
		if err != nil {
			return nil, false, err
		}
		return []*isthmusv1.Resource{res.GetResource()}, false, nil
	}
	if k.Parent != "" {
		if err := at.fill(ctx, c); err != nil {
			return nil, true, err
		}
	}
	parent, partly, _ := at.parent(k)
	kinds := resource.Relatives(k) // which stand below owners that are not given
	res, err := c.List(ctx, &isthmusv1.ListRequest{Parent: string(parent), Plural: k.Plural, Recursive: partly || len(kinds) > 1})
	for _, r := range res.GetResources() {
		if slices.ContainsFunc(kinds, func(k *resource.Kind) bool { return r.GetKind() == k.ID() }) { // a plural may stand below several kinds
			all = append(all, r)
		}
	}
	return all, true, err
}

// everything below the closest owner that is given, that one included.
func (e *env) everything(ctx context.Context, c *client, at scope) ([]*isthmusv1.Resource, error) {
	if err := at.fill(ctx, c); err != nil {
		return nil, err
	}
	var root resource.FQN
	for _, plural := range []string{"organizations", "tenants", "workspaces", "gatewaygroups", "trafficgroups", "securitygroups", "istiointernalgroups"} {
		if v := *at[plural]; v != "" && !strings.HasSuffix(root.Plural(), "groups") {
			root = root.Child(plural, v)
		}
	}
	own, err := c.Get(ctx, &isthmusv1.GetRequest{Fqn: string(root)})
	if err != nil {
		return nil, err
	}
	res, err := c.List(ctx, &isthmusv1.ListRequest{Parent: string(root), Recursive: true})
	if err != nil {
		return nil, err
	}
	return append([]*isthmusv1.Resource{own.GetResource()}, res.GetResources()...), nil
}

// getFilter picks from all; its conditions must all hold.
type getFilter struct{ kind, apiVersion, fqdn string }

// check refuses kinds that do not exist: an empty list would look like an answer. Short names work as elsewhere.
func (f *getFilter) check(word string) error {
	for _, kind := range []string{word, f.kind} {
		if kind == "" || kind == "all" || len(resource.Lookup(kind)) > 0 {
			continue
		}
		_, err := kindOf(kind)
		return err
	}
	return nil
}

func (f *getFilter) wants(s shown) bool {
	if f.kind != "" && !slices.Contains(resource.Lookup(f.kind), s.kind) {
		return false
	}
	if f.apiVersion != "" && f.apiVersion != s.kind.APIVersion {
		return false
	}
	if f.fqdn == "" {
		return true
	}
	for _, h := range resource.Hosts(&resource.Resource{Kind: s.kind, FQN: s.fqn, Spec: s.spec}) {
		if strings.EqualFold(h, f.fqdn) {
			return true
		}
	}
	return false
}

// show makes a table of one kind, or of all.
func (f *getFilter) show(all []*isthmusv1.Resource, kinds bool) (result, error) {
	r := result{header: []string{"NAME", "DISPLAY NAME", "PARENT"}}
	if kinds {
		r.header = []string{"NAME", "KIND", "PARENT"}
	}
	for _, in := range all {
		s, err := show(in)
		if err != nil {
			return r, err
		}
		if !f.wants(s) {
			continue
		}
		second := s.display
		if kinds {
			second = s.kind.Name
		}
		r.rows = append(r.rows, []string{s.fqn.Name(), second, string(s.fqn.Parent())})
		r.names, r.docs = append(r.names, s.name()), append(r.docs, s.doc)
	}
	return r, nil
}

// shown is a resource of the server in the forms that commands print.
type shown struct {
	fqn     resource.FQN
	kind    *resource.Kind
	spec    proto.Message
	display string
	doc     map[string]any
}

// name is what -o name prints; other commands take it with the kind.
func (s shown) name() string { return s.kind.Plural + "/" + s.fqn.Name() }

// show makes the document that can be applied again, with what the server filled in.
func show(in *isthmusv1.Resource) (shown, error) {
	r, err := resource.Received(in)
	if err != nil {
		return shown{}, err
	}
	doc := resource.Envelope(r)
	fields, _ := doc["spec"].(map[string]any)
	display, _ := fields["displayName"].(string)
	return shown{fqn: r.FQN, kind: r.Kind, spec: r.Spec, display: display, doc: doc}, nil
}

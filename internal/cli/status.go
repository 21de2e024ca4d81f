package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
)

// newStatus says what became of a resource.
func newStatus(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status KIND NAME",
		Short: "Say what became of a resource: accepted, delivered, applied, and where",
		Example: "  tctl status cluster c1 -o json\n" +
			"  tctl status ingressgateway bookinfo --tenant test -w bookinfo -l bookinfo-gw",
		Args:              exactly(2, "a kind and a name"),
		ValidArgsFunction: completeKind,
	}
	at := scopeFlags(cmd)
	format := outputFlag(cmd)
	recursive := cmd.Flags().BoolP("recursive", "r", false, "also what is below it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, err := at.kind(args)
		if err != nil {
			return err
		}
		return e.call(cmd.Context(), func(ctx context.Context, c *client) error {
			fqn, err := e.named(ctx, c, at, k, args[1])
			if err != nil {
				return err
			}
			res, err := c.Status(ctx, &isthmusv1.StatusRequest{Fqn: string(fqn), Recursive: *recursive})
			if err != nil {
				return err
			}
			shown, err := showStatuses(res.GetStatuses())
			if err != nil {
				return err
			}
			return e.print(*format, shown)
		})
	}
	return cmd
}

// named is the FQN of a resource on the command line, with the defaults of the profile.
func (e *env) named(ctx context.Context, c *client, at scope, k *resource.Kind, name string) (resource.FQN, error) {
	if !strings.Contains(name, "/") {
		if err := at.fill(ctx, c); err != nil {
			return "", err
		}
	}
	return at.fqn(k, name)
}

func showStatuses(all []*isthmusv1.ResourceStatus) (result, error) {
	r := result{header: []string{"NAME", "STATUS", "LAST EVENT", "MESSAGE"}}
	for _, s := range all {
		fqn := resource.FQN(s.GetFqn())
		last := ""
		if len(s.GetEvents()) > 0 {
			last = s.GetEvents()[0].GetType()
		}
		r.rows = append(r.rows, []string{fqn.Name(), s.GetStatus(), last, s.GetMessage()})
		r.names = append(r.names, fqn.Plural()+"/"+fqn.Name())
		doc, err := statusDoc(s)
		if err != nil {
			return r, err
		}
		r.docs = append(r.docs, doc)
	}
	return r, nil
}

// statusDoc is a status in TSB's form, with what Isthmus knows besides.
func statusDoc(s *isthmusv1.ResourceStatus) (map[string]any, error) {
	fqn, kind, err := resource.ParseFQN(s.GetFqn())
	if err != nil {
		return nil, err
	}
	metadata := map[string]any{"name": fqn.Name()}
	for _, owner := range kind.Lineage() {
		if name := fqn.Ancestor(owner.Plural); owner != kind && owner.Key != "" {
			metadata[owner.Key] = name.Name()
		}
	}
	spec := map[string]any{"status": s.GetStatus(), "message": s.GetMessage()}
	if events, err := asJSON(s.GetEvents()); err != nil {
		return nil, err
	} else if len(events) > 0 {
		spec["configEvents"] = map[string]any{"events": events}
	}
	conditions, err := asJSON(s.GetConditions())
	if err != nil {
		return nil, err
	}
	if len(conditions) > 0 {
		spec["conditions"] = conditions
	}
	if len(s.GetClusters()) > 0 {
		clusters := map[string]any{}
		for name, c := range s.GetClusters() {
			one, err := asJSON([]*isthmusv1.ResourceStatus_ClusterState{c})
			if err != nil {
				return nil, err
			}
			clusters[name] = one[0]
		}
		spec["clusters"] = clusters
	}
	if len(s.GetChildren()) > 0 {
		children := map[string]any{}
		for name, status := range s.GetChildren() {
			children[name] = map[string]any{"status": status}
		}
		spec["aggregatedStatus"] = map[string]any{"children": children}
	}
	return map[string]any{"apiVersion": "api.tsb.tetrate.io/v2", "kind": "ResourceStatus", "metadata": metadata, "spec": spec}, nil
}

// asJSON is a list of messages as maps.
func asJSON[T proto.Message](list []T) ([]any, error) {
	var out []any
	for _, m := range list {
		text, err := protojson.Marshal(m)
		if err != nil {
			return nil, err
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// newWait waits until a resource has a status.
func newWait(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "wait KIND NAME",
		Short:             "Wait until a resource has a status or an event",
		Example:           "  tctl x wait cluster c1 --timeout 2m\n  tctl x wait workspace bookinfo --tenant test --event XCP_APPLIED",
		Args:              exactly(2, "a kind and a name"),
		ValidArgsFunction: completeKind,
	}
	at := scopeFlags(cmd)
	status := choiceFlag(cmd, "status", "", "status to wait for", "READY", "ACCEPTED", "FAILED", "DIRTY", "PARTIAL")
	event := cmd.Flags().String("event", "", "event to wait for, instead of a status")
	timeout := cmd.Flags().Duration("timeout", 2*time.Minute, "how long to wait")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, err := at.kind(args)
		if err != nil {
			return err
		}
		c, err := e.connect()
		if err != nil {
			return err
		}
		fqn, err := e.named(cmd.Context(), c, at, k, args[1])
		if err != nil {
			err, _ = explain(cmd.Context(), err)
			return err
		}
		return e.wait(cmd.Context(), c, fqn, *timeout, cmp.Or(*event, *status), func(s *isthmusv1.ResourceStatus) bool {
			if *event == "" {
				return s.GetStatus() == *status
			}
			return len(s.GetEvents()) > 0 && s.GetEvents()[0].GetType() == *event
		})
	}
	return cmd
}

// wait asks until ok holds, and says how it ended.
func (e *env) wait(ctx context.Context, c *client, fqn resource.FQN, timeout time.Duration, goal string, ok func(*isthmusv1.ResourceStatus) bool) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last, known := "nothing is known", false
	start := e.now()
	said := start
	for {
		res, err := c.Status(ctx, &isthmusv1.StatusRequest{Fqn: string(fqn)})
		if err != nil && ctx.Err() == nil {
			// A server that has answered once may be starting anew.
			lost := connect.CodeOf(err) == connect.CodeUnavailable
			if err, _ = explain(ctx, err); !known || !lost {
				return err
			}
			last = err.Error()
		}
		known = known || err == nil
		if now := e.now(); now.Sub(said) >= slow {
			said = now
			fmt.Fprintf(e.stderr, "tctl: waiting for %s to be %s, %v: %s\n", fqn.Name(), goal, now.Sub(start).Round(time.Second), last)
		}
		if err == nil && len(res.GetStatuses()) > 0 {
			s := res.GetStatuses()[0]
			last = s.GetStatus() + " " + s.GetMessage()
			if ok(s) {
				_, err := fmt.Fprintln(e.stdout, last)
				return err
			}
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("%s is not %s after %v: %s", fqn, goal, timeout, last)
			}
			return ctx.Err()
		}
	}
}

// newAudit shows the history.
func newAudit(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "audit [KIND NAME]",
		Short:             "Show who changed what, when and why, newest first",
		Example:           "  tctl x audit --since \"2026/01/02 15:04:05\" --user admin\n  tctl x audit workspace bookinfo --tenant test --recursive",
		ValidArgsFunction: completeKind,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exactly(2, "a kind and a name, or nothing")(cmd, args)
		},
	}
	at := scopeFlags(cmd)
	format := outputFlag(cmd)
	f := cmd.Flags()
	q := auditQuery{}
	f.BoolVar(&q.recursive, "recursive", false, "also what is below it")
	f.StringVar(&q.since, "since", "", "not older than this, as 2006/01/02 15:04:05")
	f.StringVar(&q.user, "user", "", "only changes of this user")
	operation := choiceFlag(cmd, "operation", "", "only these", "all", "CREATE", "UPDATE", "DELETE")
	f.StringVar(&q.kind, "kind", "", "only this kind")
	f.StringVar(&q.text, "text", "", "only changes that contain this")
	f.Int32Var(&q.max, "max-logs", 100, "at most so many")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *operation != "all" {
			q.operation = *operation
		}
		if q.kind != "" {
			if _, err := kindOf(q.kind); err != nil {
				return err
			}
		}
		return e.call(cmd.Context(), func(ctx context.Context, c *client) error {
			fqn, err := e.auditTarget(ctx, c, at, args)
			if err != nil {
				return err
			}
			res, err := c.History(ctx, &isthmusv1.HistoryRequest{Fqn: string(fqn), Recursive: q.recursive || len(args) == 0, Limit: 1000})
			if err != nil {
				return err
			}
			r, err := q.show(res.GetChanges())
			if err != nil {
				return err
			}
			return e.print(*format, r)
		})
	}
	return cmd
}

// auditTarget is the named resource, else the organization.
func (e *env) auditTarget(ctx context.Context, c *client, at scope, args []string) (resource.FQN, error) {
	if len(args) == 0 {
		if err := at.fill(ctx, c); err != nil {
			return "", err
		}
		return resource.FQN("").Child("organizations", *at["organizations"]), nil
	}
	k, err := at.kind(args)
	if err != nil {
		return "", err
	}
	return e.named(ctx, c, at, k, args[1])
}

// auditQuery picks changes.
type auditQuery struct {
	recursive                          bool
	since, user, operation, kind, text string
	max                                int32
}

func (q *auditQuery) show(changes []*isthmusv1.Change) (result, error) {
	r := result{header: []string{"TIME", "USER", "OPERATION", "KIND", "NAME", "WHY"}, list: true}
	var since time.Time
	if q.since != "" {
		var err error
		if since, err = time.ParseInLocation("2006/01/02 15:04:05", q.since, time.Local); err != nil {
			return r, &usageError{fmt.Errorf("--since: %q is not a time like 2006/01/02 15:04:05", q.since)}
		}
	}
	for _, c := range changes {
		if int32(len(r.rows)) >= q.max || c.GetTime().AsTime().Before(since) {
			break
		}
		if !q.wants(c) {
			continue
		}
		kind := c.GetKind()[strings.LastIndexByte(c.GetKind(), '/')+1:]
		at := c.GetTime().AsTime().Local().Format("2006/01/02 15:04:05")
		r.rows = append(r.rows, []string{at, resource.FQN(c.GetWho()).Name(), c.GetOperation(), kind, c.GetFqn(), c.GetWhy()})
		r.names = append(r.names, c.GetFqn())
		r.docs = append(r.docs, auditDoc(c))
	}
	return r, nil
}

func (q *auditQuery) wants(c *isthmusv1.Change) bool {
	who := resource.FQN(c.GetWho())
	text := strings.Join([]string{c.GetFqn(), c.GetWho(), c.GetWhy(), c.GetBefore(), c.GetAfter()}, "\n")
	return (q.user == "" || q.user == who.Name() || q.user == string(who)) &&
		(q.operation == "" || strings.EqualFold(q.operation, c.GetOperation())) &&
		(q.kind == "" || slices.ContainsFunc(resource.Lookup(q.kind), func(k *resource.Kind) bool { return k.ID() == c.GetKind() })) &&
		strings.Contains(text, q.text)
}

// auditDoc is a change as a document.
func auditDoc(c *isthmusv1.Change) map[string]any {
	spec := map[string]any{
		"time": c.GetTime().AsTime().Format(time.RFC3339Nano), "user": c.GetWho(), "operation": c.GetOperation(),
		"fqn": c.GetFqn(), "kind": c.GetKind(), "revision": c.GetRevision(),
	}
	for name, text := range map[string]string{"before": c.GetBefore(), "after": c.GetAfter()} {
		var v any
		if text != "" && json.Unmarshal([]byte(text), &v) == nil {
			spec[name] = v
		}
	}
	if c.GetWhy() != "" {
		spec["why"] = c.GetWhy()
	}
	return map[string]any{"apiVersion": "audit.tetrate.io/v1", "kind": "AuditLog",
		"metadata": map[string]any{"name": cmp.Or(resource.FQN(c.GetFqn()).Name(), c.GetFqn())}, "spec": spec}
}

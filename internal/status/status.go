// Package status says what became of a resource: refused, accepted, delivered or applied, and where. It is pure: the
// same configuration, conditions and answers of the edges give the same words.
package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// The statuses, which are TSB's.
const (
	Accepted = "ACCEPTED" // stored; nothing is known to be in place yet
	Ready    = "READY"    // in place wherever it belongs
	Failed   = "FAILED"   // its author has to do something
	Dirty    = "DIRTY"    // on its way
	Partial  = "PARTIAL"  // in place in some clusters, or in some parts
)

// The states of a resource in one cluster.
const (
	Pending      = "PENDING"      // not sent yet
	Delivered    = "DELIVERED"    // sent, not answered yet
	Applied      = "APPLIED"      // every object is as wanted
	FailedThere  = "FAILED"       // an object was refused
	Waiting      = "WAITING"      // a namespace or a kind does not exist there yet
	Disconnected = "DISCONNECTED" // its edge is not connected, so nobody knows
)

// Cluster is what is known of one cluster's edge. It is shared and never changes.
type Cluster struct {
	// Connected says that an edge holds a stream now.
	Connected bool
	// Reported says that a first full report of the cluster is stored.
	Reported bool
	// LastSync is when the edge was heard last; zero for never.
	LastSync time.Time
	// Unsent and Unanswered are objects that were not sent in their wanted form, or not answered since.
	Unsent, Unanswered map[string]bool
	// NotOK are objects of the last answer that are not as wanted.
	NotOK map[string]*isthmusv1.ObjectOutcome
}

// View is everything that a status is made from.
type View struct {
	Snapshot *store.Snapshot
	// Compiled is the revision that the conditions and objects below were made from.
	Compiled int64
	// Conditions of a resource, in their order.
	Conditions func(resource.FQN) []resource.Condition
	// Objects made from a resource: their IDs by cluster.
	Objects func(resource.FQN) map[string][]string
	// Cluster by name; the zero value for one that nobody heard of.
	Cluster func(name string) Cluster

	// Cache remembers answers, for those who ask about everything; nil remembers nothing. They must not be changed then.
	Cache map[resource.FQN]*isthmusv1.ResourceStatus
}

// Of returns the status of a resource, nil when it does not exist. Events are not part of it.
func (v View) Of(fqn resource.FQN) *isthmusv1.ResourceStatus {
	if s, ok := v.Cache[fqn]; ok {
		return s
	}
	r := v.Snapshot.Resource(fqn)
	if r == nil {
		return nil
	}
	s := v.whole(r)
	if v.Cache != nil {
		v.Cache[fqn] = s
	}
	return s
}

// whole is the status of a resource with those of its children.
func (v View) whole(r *resource.Resource) *isthmusv1.ResourceStatus {
	s := v.own(r)
	if r.Kind.Name == "Cluster" {
		v.cluster(s, r)
		return s
	}
	s.Children = map[string]string{}
	for _, c := range v.children(r.FQN) {
		child := v.Of(c.FQN)
		if !v.passive(c) {
			s.Children[string(c.FQN)] = child.GetStatus()
		}
	}
	aggregate(s)
	return s
}

// children returns the direct children of all kinds, in name order.
func (v View) children(fqn resource.FQN) []*resource.Resource {
	var out []*resource.Resource
	for _, x := range v.Snapshot.Prefix(store.ResourceKey(fqn) + "/") {
		if c, ok := x.(*resource.Resource); ok && c.FQN.Parent() == fqn {
			out = append(out, c)
		}
	}
	return out
}

// passive says that a resource has nothing to put into place, so that its parent does not wait for it: settings, profiles,
// people, and containers of nothing else. One that is wrong is never passive.
func (v View) passive(r *resource.Resource) bool {
	if len(failures(v.Conditions(r.FQN))) > 0 || len(v.Objects(r.FQN)) > 0 {
		return false
	}
	switch r.FQN.Plural() {
	case "settings", "servicesettings", "profiles", "users":
		return true
	case "organizations", "tenants", "workspaces", "gatewaygroups", "trafficgroups", "securitygroups", "istiointernalgroups":
		for _, c := range v.children(r.FQN) {
			if !v.passive(c) {
				return false
			}
		}
		return true
	}
	return false
}

// own is the status of a resource without its children.
func (v View) own(r *resource.Resource) *isthmusv1.ResourceStatus {
	s := &isthmusv1.ResourceStatus{Fqn: string(r.FQN), Kind: r.Kind.ID(), Etag: r.Etag}
	if r.Revision > v.Compiled {
		s.Status, s.Message = Accepted, notCompiled
		return s
	}
	conditions := v.Conditions(r.FQN)
	for _, c := range conditions {
		s.Conditions = append(s.Conditions, wire(c))
	}
	s.Clusters = v.clusters(r.FQN)
	s.Status, s.Message = judge(s.Clusters, conditions)
	return s
}

// clusters says how far a resource is in each cluster that has objects made from it.
func (v View) clusters(fqn resource.FQN) map[string]*isthmusv1.ResourceStatus_ClusterState {
	out := map[string]*isthmusv1.ResourceStatus_ClusterState{}
	for name, ids := range v.Objects(fqn) {
		out[name] = v.Cluster(name).state(ids)
	}
	return out
}

// state of a set of objects in the cluster.
func (c Cluster) state(ids []string) *isthmusv1.ResourceStatus_ClusterState {
	s := &isthmusv1.ResourceStatus_ClusterState{State: Applied, Objects: int32(len(ids))}
	worst := 0
	for _, id := range slices.Sorted(slices.Values(ids)) {
		state, problem := c.object(id)
		if state == Applied {
			s.Applied++
		}
		if problem != "" {
			s.Problems = append(s.Problems, problem)
		}
		if n := slices.Index([]string{Applied, Delivered, Pending, Waiting, FailedThere}, state); n > worst {
			worst, s.State = n, state
		}
	}
	if !c.Connected && s.State != FailedThere {
		s.State = Disconnected
	}
	return s
}

// object says how far one object is, and what is wrong with it.
func (c Cluster) object(id string) (state, problem string) {
	switch {
	case c.Unsent[id]:
		return Pending, ""
	case c.Unanswered[id]:
		return Delivered, ""
	}
	o := c.NotOK[id]
	if o == nil {
		return Applied, ""
	}
	switch o.GetOutcome() {
	case isthmusv1.ObjectOutcome_OUTCOME_FOREIGN:
		return FailedThere, fmt.Sprintf("%s belongs to somebody else and is left alone", id)
	case isthmusv1.ObjectOutcome_OUTCOME_REJECTED:
		return FailedThere, fmt.Sprintf("%s was refused: %s", id, o.GetReason())
	case isthmusv1.ObjectOutcome_OUTCOME_WAITING:
		return Waiting, fmt.Sprintf("%s waits: %s", id, o.GetReason())
	}
	return Delivered, fmt.Sprintf("%s is tried again: %s", id, o.GetReason())
}

// judge makes one word and one sentence of conditions and clusters.
func judge(clusters map[string]*isthmusv1.ResourceStatus_ClusterState, conditions []resource.Condition) (status, message string) {
	if bad := failures(conditions); len(bad) > 0 {
		return Failed, sentence(bad)
	}
	by := byState(clusters)
	if len(by[FailedThere]) > 0 {
		return Failed, failedIn(by[FailedThere], clusters)
	}
	if less := notOK(conditions, "Supported"); len(less) > 0 {
		return Partial, sentence(less)
	}
	quiet, notes := split(notOK(conditions, "Effective"))
	switch n := len(clusters); {
	case n == 0 && len(quiet)+len(notes) > 0:
		return Accepted, sentence(append(quiet, notes...))
	case n == 0:
		return Accepted, "Nothing to apply yet"
	case len(by[Pending])+len(by[Delivered]) > 0:
		return Dirty, "On its way to " + list(append(by[Pending], by[Delivered]...))
	case len(by[Applied]) == n && len(quiet) > 0:
		return Accepted, sentence(quiet)
	case len(by[Applied]) == n && len(notes) > 0:
		return Ready, "Applied in " + list(by[Applied]) + "; " + sentence(notes)
	case len(by[Applied]) == n:
		return Ready, "Applied in " + list(by[Applied])
	case len(by[Applied]) > 0:
		return Partial, "Applied in " + list(by[Applied]) + "; " + reasons(by)
	}
	return Accepted, upper(reasons(by))
}

// reasons says what keeps the other clusters.
func reasons(by map[string][]string) string {
	var parts []string
	if names := by[Disconnected]; len(names) > 0 {
		parts = append(parts, "not connected: "+list(names))
	}
	if names := by[Waiting]; len(names) > 0 {
		parts = append(parts, "waiting for a namespace or kind: "+list(names))
	}
	return strings.Join(parts, "; ")
}

func failedIn(names []string, clusters map[string]*isthmusv1.ResourceStatus_ClusterState) string {
	var all []string
	for _, n := range names {
		all = append(all, "In "+n+": "+strings.Join(clusters[n].GetProblems(), "; "))
	}
	return strings.Join(all, ". ")
}

// byState groups cluster names, in name order.
func byState(clusters map[string]*isthmusv1.ResourceStatus_ClusterState) map[string][]string {
	by := map[string][]string{}
	for name, c := range clusters {
		by[c.GetState()] = append(by[c.GetState()], name)
	}
	for _, names := range by {
		slices.Sort(names)
	}
	return by
}

// failures are the conditions that its author has to do something about.
func failures(cs []resource.Condition) []resource.Condition {
	return append(notOK(cs, "Accepted"), notOK(cs, "Resolved")...)
}

func notOK(cs []resource.Condition, kind string) []resource.Condition {
	var out []resource.Condition
	for _, c := range cs {
		if !c.OK && c.Type == kind {
			out = append(out, c)
		}
	}
	return out
}

// split tells conditions that keep a resource from serving anybody from those that are only worth knowing.
func split(cs []resource.Condition) (quiet, notes []resource.Condition) {
	for _, c := range cs {
		switch c.Reason {
		case "NotGlobal", "NoDNSCapture", "AmbiguousService", "NetworkMismatch", "Unreachable", "TrustDomainAliases", "OrderedByLocality":
			notes = append(notes, c)
		default:
			quiet = append(quiet, c)
		}
	}
	return quiet, notes
}

// sentence is the first condition, and how many more there are.
func sentence(cs []resource.Condition) string {
	s := cs[0].Message
	if cs[0].Field != "" && !strings.Contains(s, cs[0].Field) {
		s = cs[0].Field + ": " + s
	}
	if cs[0].Cluster != "" && !strings.Contains(s, cs[0].Cluster) {
		s += " (in " + cs[0].Cluster + ")"
	}
	if n := len(cs) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}

func list(names []string) string {
	slices.Sort(names)
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// cluster is the status of a Cluster resource: whether its edge is there.
func (v View) cluster(s *isthmusv1.ResourceStatus, r *resource.Resource) {
	if s.Status == Failed || r.Revision > v.Compiled {
		return
	}
	switch c := v.Cluster(r.FQN.Name()); {
	case c.Connected && c.Reported:
		s.Status, s.Message = Ready, "Cluster onboarded"
	case c.Connected:
		s.Status, s.Message = Dirty, "Edge connected, its first report is not complete"
	case c.Reported:
		s.Status, s.Message = Dirty, "Edge not connected; the cluster keeps its last configuration"
	default:
		s.Status, s.Message = Accepted, "Waiting for the edge to connect"
	}
}

// aggregate widens the status of a container by those of its children.
func aggregate(s *isthmusv1.ResourceStatus) {
	if len(s.Children) == 0 || s.Status == Failed {
		return
	}
	by := map[string][]string{}
	for fqn, status := range s.Children {
		by[status] = append(by[status], fqn)
	}
	if len(s.Clusters) > 0 || s.Status == Partial {
		by[s.Status] = append(by[s.Status], s.Fqn)
	}
	total := 0
	for _, names := range by {
		total += len(names)
	}
	for _, one := range []string{Failed, Partial, Dirty} {
		if names := by[one]; len(names) > 0 {
			s.Status, s.Message = one, fmt.Sprintf("%s: %s", strings.ToLower(one), list(short(names)))
			return
		}
	}
	switch ready := len(by[Ready]); {
	case ready == total:
		s.Status, s.Message = Ready, cmp.Or(plural(ready), "Ready")
	case ready == 0:
		s.Status, s.Message = Accepted, "Accepted, not in place yet: "+list(short(by[Accepted]))
	default:
		s.Status, s.Message = Partial, "Not in place yet: "+list(short(by[Accepted]))
	}
}

func plural(n int) string {
	if n == 1 {
		return "1 child ready"
	}
	return fmt.Sprintf("%d children ready", n)
}

// short names the last two segments of FQNs.
func short(fqns []string) []string {
	out := make([]string, len(fqns))
	for i, f := range fqns {
		fqn := resource.FQN(f)
		out[i] = fqn.Plural() + "/" + fqn.Name()
	}
	return out
}

// wire is a condition as the API shows it.
func wire(c resource.Condition) *isthmusv1.Condition {
	out := &isthmusv1.Condition{Type: c.Type, Status: "False", Reason: c.Reason, Message: c.Message, Field: c.Field, Cluster: c.Cluster}
	if c.OK {
		out.Status = "True"
	}
	return out
}

// StoredEvent is the type of the first event of every content.
const StoredEvent = "TSB_ACCEPTED"

// Event is the type of the transition that led to a status, in TSB's words.
func Event(s *isthmusv1.ResourceStatus) string {
	switch s.GetStatus() {
	case Failed:
		for _, c := range s.GetClusters() {
			if c.GetState() == FailedThere {
				return "XCP_ERRORED"
			}
		}
		return "XCP_REJECTED"
	case Ready:
		if len(s.GetClusters()) > 0 {
			return "XCP_APPLIED"
		}
	case Partial:
		return "XCP_PARTIALLY_APPLIED"
	}
	if s.GetMessage() == notCompiled {
		return StoredEvent
	}
	return "XCP_ACCEPTED"
}

// notCompiled is the message of a resource that was stored a moment ago.
const notCompiled = "Stored; not compiled yet"

package compile

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	profilev2 "isthmus.dev/isthmus/api/tsb/profile/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

const intentOutgoing = "u/intent/outgoing/"

// trafficScope is that of the traffic groups of a workspace.
func trafficScope(workspace resource.FQN) string { return "u/trafficgroups/" + string(workspace) }

// outgoing is how services call others - those of a traffic group, those of a workspace that are in no group, or one - before
// any cluster was looked at. It is shared by the clusters and never changes.
type outgoing struct {
	// FQN of the group, the workspace or the setting of one service.
	FQN, Workspace resource.FQN
	// Owners are the settings that say so, the nearest one first.
	Owners   []resource.FQN
	Metadata intent.Metadata
	// Scope is where it holds, and Owned what the workspace owns, where that is asked for.
	Scope, Owned *scope
	// Service in Namespace is the one whose calls these are; empty for those of all.
	Namespace, Service string
	manners
}

// manners are the parts of a setting. What is not said is nil.
type manners struct {
	Exit     *wayOut
	Reach    *trafficv2.Reachability
	Calls    *callsWanted
	Received *intent.Received
}

// wayOut is where unknown hosts are sent to, and which field of which setting says so.
type wayOut struct {
	By          resource.FQN
	Field, Host string
}

// over is what is said nearby, and what is not said there from further away.
func (w manners) over(far manners) manners {
	return manners{Exit: cmp.Or(w.Exit, far.Exit), Reach: cmp.Or(w.Reach, far.Reach), Calls: cmp.Or(w.Calls, far.Calls), Received: cmp.Or(w.Received, far.Received)}
}

// trafficLevel is a setting of traffic in a resource.
type trafficLevel struct {
	FQN resource.FQN
	// Field is what stands before the fields of the setting.
	Field   string
	Setting *trafficv2.TrafficSetting
}

// trafficDefaults are the settings of organizations, tenants and workspaces.
type trafficDefaults interface {
	GetDefaultTrafficSetting() *trafficv2.TrafficSetting
}

// trafficOf is the setting of traffic in a resource, nil when there is none.
func trafficOf(res *resource.Resource) *trafficLevel {
	switch spec := res.Spec.(type) {
	case *trafficv2.TrafficSetting:
		return &trafficLevel{FQN: res.FQN, Setting: spec}
	case *trafficv2.ServiceTrafficSetting:
		return &trafficLevel{FQN: res.FQN, Field: "settings.", Setting: spec.GetSettings()}
	case trafficDefaults:
		if s := spec.GetDefaultTrafficSetting(); s != nil {
			return &trafficLevel{FQN: res.FQN, Field: "defaultTrafficSetting.", Setting: s}
		}
	}
	return nil
}

// settingAt is the setting below an owner that says something: of several, the first one in the order of names.
func settingAt[L any](r *Reads, owner resource.FQN, of func(*resource.Resource) *L) *L {
	for _, v := range r.prefix(string(store.ChildPrefix(owner, "settings"))) {
		if res, ok := v.(*resource.Resource); ok {
			if l := of(res); l != nil {
				return l
			}
		}
	}
	return nil
}

// manners that a setting wants.
func (l *trafficLevel) manners() manners {
	s := l.Setting
	out := manners{Reach: s.GetOutbound().GetReachability(), Calls: l.calls(), Received: received(s)}
	if out.Reach == nil {
		out.Reach = s.GetReachability()
	}
	if out.Reach.GetMode() == trafficv2.Reachability_UNSET {
		out.Reach = nil
	}
	if host := s.GetOutbound().GetEgress().GetHost(); host != "" {
		out.Exit = &wayOut{l.FQN, l.Field + "outbound.egress.host", host}
	} else if host := s.GetEgress().GetHost(); host != "" {
		out.Exit = &wayOut{l.FQN, l.Field + "egress.host", host}
	}
	return out
}

// trafficLayer decides which settings hold for whom, and in which clusters.
func trafficLayer() *layer {
	return &layer{
		name: "traffic",
		unitOf: func(key string) string {
			switch fqn := store.Key(key).FQN(); fqn.Plural() {
			case "trafficgroups", "workspaces", "settings", "servicesettings", "profiles":
				return string(fqn)
			}
			return ""
		},
		root:   func(unit string) string { return string(store.ResourceKey(resource.FQN(unit))) },
		derive: deriveTraffic,
	}
}

func deriveTraffic(r *Reads, unit string, out *output) {
	fqn := resource.FQN(unit)
	if fqn.Plural() == "profiles" {
		spec, _ := specOf(r, fqn).(*profilev2.Profile)
		for _, s := range sectionsOf(fqn, spec) {
			if l := s.traffic(); l != nil {
				sayCalls(r, l, nil, out)
			}
		}
		return
	}
	if strings.HasSuffix(fqn.Plural(), "settings") && !sayTraffic(r, fqn, out) || fqn.Plural() == "settings" {
		return
	}
	o := outgoingOf(r, fqn)
	if o == nil {
		return
	}
	for _, name := range clustersIn(r, fqn, o.Scope.Patterns) {
		out.put(outPrefix(name)+unit, o)
	}
}

// outgoingOf is nil when nothing is said.
func outgoingOf(r *Reads, fqn resource.FQN) *outgoing {
	o := &outgoing{FQN: fqn, Workspace: fqn.Ancestor("workspaces")}
	owners := []resource.FQN{fqn.Ancestor("organizations"), fqn.Ancestor("tenants"), o.Workspace}
	if group := fqn.Ancestor("trafficgroups"); group != "" {
		spec, _ := specOf(r, group).(*trafficv2.Group)
		if spec == nil || spec.GetConfigMode() == typesv2.ConfigMode_DIRECT {
			return nil
		}
		owners = append(owners, group)
	}
	if specOf(r, o.Workspace) == nil {
		return nil
	}
	o.Scope = scopeOf(r, owners[len(owners)-1])
	profiles := profilesOf(r, owners...)
	mandates, defaults, by := mannersOf(profiles)
	unset := mandatedUnset(profiles)
	var wanted []proto.Message
	for _, l := range by {
		wanted = append([]proto.Message{l.Setting}, wanted...)
	}
	for _, owner := range owners {
		wanted = append(wanted, specOf(r, owner))
		if l := settingAt(r, owner, trafficOf); l != nil {
			o.Owners = append([]resource.FQN{l.FQN}, o.Owners...)
			wanted = append(wanted, l.Setting)
			o.manners = l.without(unset).manners().over(o.manners)
		}
	}
	o.manners = mandates.mandating(o.manners.over(defaults))
	if service, _ := specOf(r, fqn).(*trafficv2.ServiceTrafficSetting); service != nil {
		wanted = append(wanted, service, service.GetSettings())
		l := &trafficLevel{FQN: o.FQN, Field: "settings.", Setting: service.GetSettings()}
		o.aim(service.GetService(), l.without(unset).manners(), mandates)
	}
	for _, l := range by {
		if !slices.Contains(o.Owners, l.FQN) {
			o.Owners = append(o.Owners, l.FQN)
		}
	}
	o.Metadata = mergeMetadata(wanted...)
	if o.Exit == nil && o.Reach == nil && o.Calls == nil && o.Received == nil {
		return nil
	}
	if o.Reach.GetMode() == trafficv2.Reachability_WORKSPACE {
		o.Owned = scopeOf(r, o.Workspace)
	}
	return o
}

// aim makes ways those of one service, with what is said of it and what is mandated. What is said of its group, and not of it, is not said
// again: a Sidecar takes the place of that of the namespace, and a filter adds to that.
func (o *outgoing) aim(service string, own, mandates manners) {
	namespace, host, _ := strings.Cut(service, "/")
	o.Namespace = namespace
	o.Service, _, _ = strings.Cut(host, ".")
	all := mandates.mandating(own.over(o.manners))
	if own.Exit == nil && own.Reach == nil {
		all.Exit, all.Reach = nil, nil
	}
	all.Calls, all.Received = nil, nil
	if own.Calls != nil {
		all.Calls = mandates.Calls.mandating(own.Calls).beside(o.Calls)
	}
	if own.Received != nil {
		all.Received = mandatingReceived(mandates.Received, own.Received)
	}
	o.manners, o.Owners = all, append([]resource.FQN{o.FQN}, o.Owners...)
}

// clustersIn are the clusters of an organization of which any of the patterns may select namespaces, sorted; all without patterns.
func clustersIn(r *Reads, fqn resource.FQN, patterns []pattern) []string {
	var names []string
	for name := range clustersOf(r, fqn) {
		if len(patterns) == 0 || slices.ContainsFunc(patterns, func(p pattern) bool { return p.Cluster == "*" || p.Cluster == name }) {
			names = append(names, name)
		}
	}
	return names
}

// sayTraffic says what a setting of traffic cannot do, wherever it stands. False means that it does nothing at all.
func sayTraffic(r *Reads, fqn resource.FQN, out *output) bool {
	res, _ := r.get(string(store.ResourceKey(fqn))).(*resource.Resource)
	l := trafficOf(res)
	if l == nil {
		return false
	}
	group, _ := specOf(r, fqn.Parent()).(*trafficv2.Group)
	if group.GetConfigMode() == typesv2.ConfigMode_DIRECT {
		out.say(fqn, no(reasonDirectGroup, "", "Group %q is in DIRECT mode.", fqn.Parent()))
		return false
	}
	patterns := selectorPatterns(group.GetNamespaceSelector().GetNames())
	if service, ok := res.Spec.(*trafficv2.ServiceTrafficSetting); ok {
		for _, v := range r.prefix(trafficServicePrefix(fqn.Parent(), service.GetService())) {
			if first := v.(resource.FQN); first != fqn {
				out.say(fqn, no(reasonNoEffect, "service", "A service has one traffic setting, and %q comes first.", first))
				return false
			}
			break
		}
		ns, host, _ := strings.Cut(service.GetService(), "/")
		if group != nil && !slices.ContainsFunc(patterns, func(q pattern) bool { return matchName(q.Namespace, ns) }) {
			out.say(fqn, no(reasonNamespaceForeign, "service", "Namespace %q is not selected by group %q.", ns, fqn.Parent()))
			return false
		}
		sayUnknownHost(r, fqn, "service", host, patterns, out)
	} else if first := settingAt(r, fqn.Parent(), trafficOf); first != nil && first.FQN != fqn {
		whose := "A group has one traffic setting"
		if l.Field != "" {
			whose = "One default traffic setting holds"
		}
		out.say(fqn, no(reasonNoEffect, strings.TrimSuffix(l.Field, "."), "%s, and %q comes first.", whose, first.FQN))
		return false
	}
	sayCalls(r, l, patterns, out)
	sayMandatedTraffic(r, l, out)
	return true
}

// trafficServicePrefix is where the settings of one service of a group are.
func trafficServicePrefix(group resource.FQN, service string) string {
	return "u/trafficservice/" + string(group) + "/" + service + "/"
}

func outPrefix(cluster string) string { return "u/out/" + cluster + "/" }

// outgoingLayer looks at how calls leave in one cluster: which namespaces are there, and where their calls can go.
func outgoingLayer() *layer {
	return &layer{
		name: "outgoing",
		unitOf: func(key string) string {
			rest, _ := strings.CutPrefix(key, "u/out/")
			if rest == key {
				return ""
			}
			return rest
		},
		root:   func(unit string) string { return "u/out/" + unit },
		derive: deriveOutgoing,
	}
}

func deriveOutgoing(r *Reads, unit string, out *output) {
	o, _ := r.get("u/out/" + unit).(*outgoing)
	name, _, _ := strings.Cut(unit, "/")
	c, known := r.get(clustersPrefix + name).(cluster)
	if o == nil || !known {
		return
	}
	made := &intent.Outgoing{
		Key:       intent.GatewayKey{Cluster: name, FQN: o.FQN},
		Workspace: o.Workspace.Name(), Owners: o.Owners, Metadata: o.Metadata, Namespaces: o.namespaces(r, c), Service: o.Service, Received: o.Received,
	}
	if o.Service != "" && len(made.Namespaces) > 0 {
		if made.Selector = o.pods(r, c, out); made.Selector == nil {
			return
		}
	}
	if len(made.Namespaces) == 0 {
		return
	}
	if o.Exit != nil || o.Reach != nil && (o.Service != "" || o.Reach.GetMode() != trafficv2.Reachability_CLUSTER) {
		made.Visible = o.visible(r, name)
	}
	if o.Exit != nil {
		to, ref := o.Exit.service()
		made.Egress = to.Host
		if c.Known {
			sayExit(r, o.Exit, name, cmp.Or(ref.Service, to.Host), ref.Namespace, out)
		}
	}
	if o.Calls != nil {
		for _, w := range o.Calls.Calls {
			call := o.asGlobal(r, c, w, out)
			made.Calls = append(made.Calls, call)
			for _, ns := range made.Namespaces {
				if call.Global != nil && call.NeedsRule() {
					out.put(ruledKey(name, ns, call.Host), true)
				}
			}
		}
	}
	if len(made.Visible) > 0 || len(made.Calls) > 0 || made.Received != nil {
		out.put(intentOutgoing+unit, made)
	}
}

// namespaces of a cluster in which they hold.
func (o *outgoing) namespaces(r *Reads, c cluster) []string {
	var all []string
	switch {
	case o.Service == "":
		all = o.Scope.namespaces(r, c.Name)
	case o.Scope.owns(r, c.Name, o.Namespace):
		all = []string{o.Namespace}
	}
	return slices.DeleteFunc(all, func(ns string) bool {
		if o.Scope.Index == "" && ownerOf(r, trafficScope(o.Workspace), c.Name, ns) != "" {
			return true // of a group, which has what the workspace says too
		}
		return c.Known && !remains(r, c.Name, ns)
	})
}

// pods is what selects those of the service in a cluster, nil when there are none that call with a sidecar.
func (o *outgoing) pods(r *Reads, c cluster, out *output) map[string]string {
	f, _ := r.get(string(store.FactKey(c.Name, "service/"+o.Namespace+"/"+o.Service))).(*isthmusv1.Fact)
	selector := f.GetService().GetSelector()
	if f.GetService() != nil && len(selector) == 0 {
		out.say(o.FQN, in(c.Name, no(reasonNoEffect, "service", "Service %q in namespace %q selects no pods whose calls these could be.", o.Service, o.Namespace)))
	}
	if len(selector) == 0 {
		return nil // which would be everybody
	}
	return selector
}

// ruledKey says that a namespace has a rule of its own for a global host.
func ruledKey(cluster, namespace, host string) string {
	return "u/ruled/" + cluster + "/" + namespace + "/" + host
}

// service is the one that unknown hosts are sent to.
func (e *wayOut) service() (intent.Destination, destinationRef) {
	return destination(&gatewayv2.Route{Host: e.Host})
}

// sayExit says why calls that are sent to a gateway come to nothing there.
func sayExit(r *Reads, e *wayOut, cluster, service, namespace string, out *output) {
	f, _ := r.get(string(store.FactKey(cluster, "service/"+namespace+"/"+service))).(*isthmusv1.Fact)
	say := func(reason, format string, args ...any) {
		out.say(e.By, in(cluster, no(reason, e.Field, format+" Calls of unknown hosts are refused.", args...)))
	}
	switch {
	case f.GetService() == nil:
		say(reasonUnknownService, "Service %q does not exist in namespace %q.", service, namespace)
	case portOf(f.GetService(), wellknown.MTLSPort) == nil:
		say(reasonUnknownPort, "Service %q in namespace %q has no port %d.", service, namespace, wellknown.MTLSPort)
	default:
		for range r.prefix(wayPrefix(cluster, namespace, service)) {
			return
		}
		say(reasonNoEgress, "Service %q in namespace %q leads to no gateway with an EgressGateway, or a Gateway with egressAuthorization.", service, namespace)
	}
}

// wayPrefix is where the gateways behind a Service are that let calls out.
func wayPrefix(cluster, namespace, service string) string {
	return "u/way/" + cluster + "/" + namespace + "/" + service + "/"
}

package compile

import (
	"cmp"
	"slices"
	"strings"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

const intentOutgoing = "u/intent/outgoing/"

// trafficScope is that of the traffic groups of a workspace.
func trafficScope(workspace resource.FQN) string { return "u/trafficgroups/" + string(workspace) }

// outgoing is what a traffic setting says of calls that leave their namespace, before any cluster was looked at.
type outgoing struct {
	FQN, Workspace resource.FQN
	// Field and Host are where unknown hosts are sent to, empty when nothing is said.
	Field, Host string
	// Reach is what is known of, nil for everything.
	Reach    *trafficv2.Reachability
	Calls    []wanted
	Metadata intent.Metadata
	// Group is where the setting holds, and Owned what the workspace owns, where that is asked for.
	Group, Owned *scope
}

// trafficLayer decides which traffic settings hold, and in which clusters they may.
func trafficLayer() *layer {
	return &layer{
		name: "traffic",
		unitOf: func(key string) string {
			if fqn := store.Key(key).FQN(); fqn.Plural() == "settings" && fqn.Parent().Plural() == "trafficgroups" {
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
	spec, _ := specOf(r, fqn).(*trafficv2.TrafficSetting)
	group, _ := specOf(r, fqn.Parent()).(*trafficv2.Group)
	workspace, _ := specOf(r, fqn.Ancestor("workspaces")).(*tsbv2.Workspace)
	if spec == nil || group == nil || workspace == nil {
		return // the resource layer says what is missing
	}
	if group.GetConfigMode() == typesv2.ConfigMode_DIRECT {
		out.say(fqn, no(reasonDirectGroup, "", "Group %q is in DIRECT mode.", fqn.Parent()))
		return
	}
	for _, v := range r.prefix(string(store.ChildPrefix(fqn.Parent(), "settings"))) {
		if first, ok := v.(*resource.Resource); ok {
			if first.FQN != fqn {
				out.say(fqn, no(reasonNoEffect, "", "A group has one traffic setting, and %q comes first.", first.FQN))
				return
			}
			break
		}
	}
	o := &outgoing{
		FQN: fqn, Workspace: fqn.Ancestor("workspaces"), Metadata: mergeMetadata(workspace, group, spec),
		Group: scopeOf(r, fqn.Parent()),
		Field: "outbound.egress.host", Host: spec.GetOutbound().GetEgress().GetHost(), Reach: reachability(spec), Calls: calls(spec),
	}
	sayCalls(r, o, spec, out)
	if o.Reach.GetMode() == trafficv2.Reachability_WORKSPACE {
		o.Owned = scopeOf(r, o.Workspace)
	}
	if o.Host == "" {
		o.Field, o.Host = "egress.host", spec.GetEgress().GetHost()
	}
	if o.Host == "" && o.Reach == nil && len(o.Calls) == 0 {
		return
	}
	for _, name := range o.clusters(r) {
		out.put(outPrefix(name)+unit, o)
	}
}

func outPrefix(cluster string) string { return "u/out/" + cluster + "/" }

// outgoingLayer looks at a traffic setting in one cluster: which namespaces are there, and where their calls can go.
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
	namespaces := slices.DeleteFunc(o.Group.namespaces(r, name), func(ns string) bool {
		f, _ := r.get(string(store.FactKey(name, "namespace//"+ns))).(*isthmusv1.Fact)
		return c.Known && (f == nil || f.GetNamespace().GetTerminating())
	})
	if len(namespaces) == 0 {
		return
	}
	made := &intent.Outgoing{
		Key:       intent.GatewayKey{Cluster: name, FQN: o.FQN},
		Workspace: o.Workspace.Name(), Metadata: o.Metadata, Namespaces: namespaces,
	}
	if o.Host != "" || o.Reach != nil {
		made.Visible = o.visible(r, name)
	}
	for _, w := range o.Calls {
		call := o.asGlobal(r, c, w, out)
		made.Calls = append(made.Calls, call)
		for _, ns := range namespaces {
			if call.Global != nil && call.NeedsRule() {
				out.put(ruledKey(name, ns, call.Host), true)
			}
		}
	}
	if o.Host != "" {
		to, ref := o.exit()
		made.Egress = to.Host
		if c.Known {
			sayExit(r, o, name, cmp.Or(ref.Service, to.Host), ref.Namespace, out)
		}
	}
	out.put(intentOutgoing+unit, made)
}

// ruledKey says that a namespace has a rule of its own for a global host.
func ruledKey(cluster, namespace, host string) string {
	return "u/ruled/" + cluster + "/" + namespace + "/" + host
}

// exit is the Service that unknown hosts are sent to.
func (o *outgoing) exit() (intent.Destination, destinationRef) {
	return destination(&gatewayv2.Route{Host: o.Host})
}

// sayExit says why calls that are sent to a gateway come to nothing there.
func sayExit(r *Reads, o *outgoing, cluster, service, namespace string, out *output) {
	f, _ := r.get(string(store.FactKey(cluster, "service/"+namespace+"/"+service))).(*isthmusv1.Fact)
	say := func(reason, format string, args ...any) {
		out.say(o.FQN, in(cluster, no(reason, o.Field, format+" Calls of unknown hosts are refused.", args...)))
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

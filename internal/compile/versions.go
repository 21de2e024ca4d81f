package compile

import (
	"cmp"
	"slices"
	"strings"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

const intentRoutes = "u/intent/route/"

// subsetsKey is where the intent.Versions of a service in a cluster are, for whoever makes a DestinationRule for callers of the
// service: it hides the one beside the service, and has to say the same.
func subsetsKey(cluster, namespace, service string) string {
	return "u/subsets/" + cluster + "/" + namespace + "/" + service
}

// splitKey is where the *intent.Route of a service in a cluster is, for gateways that lead to it.
func splitKey(cluster, namespace, service string) string {
	return "u/split/" + cluster + "/" + namespace + "/" + service
}

// versionLayer looks at a route of a service in one cluster: what it leads to, and whether it can be followed.
func versionLayer() *layer {
	return &layer{
		name: "version",
		unitOf: func(key string) string {
			rest, ok := strings.CutPrefix(key, servicesPrefix)
			if !ok {
				return ""
			}
			at := strings.SplitN(rest, "/", 4) // cluster, namespace, service, and whose route it is
			return strings.Join(at[:3], "/")
		},
		root:   func(unit string) string { return servicesPrefix + unit + "/" },
		derive: deriveVersions,
	}
}

// versioning is a route of a service in a cluster while it is derived.
type versioning struct {
	r       *Reads
	out     *output
	plan    *servicePlan
	cluster cluster
	route   intent.Route
}

func deriveVersions(r *Reads, unit string, out *output) {
	p := planOf(r, servicesPrefix+unit+"/")
	name, _, _ := strings.Cut(unit, "/")
	c, known := r.get(clustersPrefix + name).(cluster)
	if p == nil || !known {
		return
	}
	v := &versioning{r: r, out: out, plan: p, cluster: c, route: p.Route}
	v.route.Key = intent.ServiceKey{Cluster: name, Namespace: p.Service.Namespace, Name: p.Service.Name}
	v.resolve()
	if c.Known {
		v.checkService()
	}
	out.put(intentRoutes+unit, &v.route)
	out.put(splitKey(name, p.Service.Namespace, p.Service.Name), &v.route)
	out.put(subsetsKey(name, p.Service.Namespace, p.Service.Name), p.Route.Versions)
}

func (v *versioning) say(reason, field, format string, args ...any) {
	v.out.say(v.plan.FQN, in(v.cluster.Name, no(reason, field, format, args...)))
}

func (v *versioning) service(namespace, name string) *isthmusv1.Service {
	f, _ := v.r.get(string(store.FactKey(v.cluster.Name, "service/"+namespace+"/"+name))).(*isthmusv1.Fact)
	return f.GetService()
}

// resolve looks at the services that routes lead to, and takes away what may not be called, or cannot.
func (v *versioning) resolve() {
	own := false
	for _, ref := range v.plan.Refs {
		if v.leads(ref) {
			continue
		}
		if !own {
			v.route.HTTP, v.route.TCP, own = slices.Clone(v.route.HTTP), slices.Clone(v.route.TCP), true // the plan's are shared
		}
		v.refuse(ref)
	}
	for i := range v.route.HTTP {
		if own && slices.ContainsFunc(v.route.HTTP[i].Mirrors, isNowhere) {
			v.route.HTTP[i].Mirrors = slices.DeleteFunc(slices.Clone(v.route.HTTP[i].Mirrors), isNowhere)
		}
	}
}

// leads says whether requests may go where a route says; whether the service is there is another matter.
func (v *versioning) leads(ref serviceRef) bool {
	if ref.ServiceRef == v.plan.Service {
		v.checkPort(ref)
		return true
	}
	if !v.plan.Privileged && !owns(v.r, v.plan.Workspace, v.cluster.Name, ref.Namespace) {
		v.say(reasonNamespaceForeign, ref.HostField, "Namespace %q does not belong to workspace %q; %s.", ref.Namespace, v.plan.Workspace, ref.consequence())
		return false
	}
	v.checkPort(ref)
	if ref.Subset == "" {
		return true
	}
	if other := planOf(v.r, servicePrefix(v.cluster.Name, ref.Namespace, ref.Name)); !other.hasSubset(ref.Subset) {
		v.say(reasonUnknownSubset, ref.Field+".subset", "No ServiceRoute of service %q in namespace %q has a subset %q; %s.", ref.Name, ref.Namespace, ref.Subset, ref.consequence())
		return false
	}
	return true
}

// consequence of a destination that may not be called.
func (ref *serviceRef) consequence() string {
	switch {
	case ref.Mirror >= 0:
		return "no copies are sent there"
	case ref.Kind == kindHTTP:
		return "requests are answered with 503"
	}
	return "connections are closed"
}

// checkPort says whether a service that a route leads to exists and has the port. The route's own is looked at once.
func (v *versioning) checkPort(ref serviceRef) {
	if !v.cluster.Known {
		return
	}
	svc := v.service(ref.Namespace, ref.Name)
	switch {
	case svc == nil && ref.ServiceRef == v.plan.Service:
	case svc == nil:
		v.say(reasonUnknownService, ref.HostField, "Service %q does not exist in namespace %q.", ref.Name, ref.Namespace)
	case portNumbered(svc, ref.Port) == nil:
		v.say(reasonUnknownPort, ref.Field+".port", "Service %q in namespace %q has no port %d.", ref.Name, ref.Namespace, ref.Port)
	}
}

func portNumbered(svc *isthmusv1.Service, number uint32) *isthmusv1.Service_Port {
	if i := slices.IndexFunc(svc.GetPorts(), func(p *isthmusv1.Service_Port) bool { return p.GetNumber() == number }); i >= 0 {
		return svc.GetPorts()[i]
	}
	return nil
}

// nowhere is a host that nobody has: what leads there is answered with 503, or closed.
const nowhere = "nowhere.isthmus.internal"

func isNowhere(m intent.Mirror) bool { return m.Host == nowhere }

// refuse keeps a route's match, so that its requests do not fall to a later route, and takes its destinations away; a mirror
// is left out.
func (v *versioning) refuse(ref serviceRef) {
	switch {
	case ref.Mirror >= 0:
		route := &v.route.HTTP[ref.Index]
		if route.Direct != nil {
			return // its destinations went first
		}
		route.Mirrors = slices.Clone(route.Mirrors)
		route.Mirrors[ref.Mirror].Destination = intent.Destination{Host: nowhere}
	case ref.Kind == kindHTTP:
		route := &v.route.HTTP[ref.Index]
		route.To, route.Fault, route.Mirrors, route.Direct = nil, nil, nil, &intent.Direct{Status: 503}
	default:
		v.route.TCP[ref.Index].To = intent.All(intent.Destination{Host: nowhere, Port: ref.Port})
	}
}

// checkService says what is wrong with the service as the cluster has it.
func (v *versioning) checkService() {
	ref := v.plan.Service
	svc := v.service(ref.Namespace, ref.Name)
	if svc == nil {
		v.say(reasonUnknownService, "service", "Service %q does not exist in namespace %q.", ref.Name, ref.Namespace)
		return
	}
	v.checkPorts(svc)
	f, _ := v.r.get(string(store.FactKey(v.cluster.Name, "routed/"+ref.Namespace+"/"+ref.Name))).(*isthmusv1.Fact)
	if f == nil {
		return // the edge has not looked
	}
	v.checkPods(svc, f.GetRouted())
	v.checkRules(f.GetRouted())
}

// checkPods names the subsets that no ready pod is in.
func (v *versioning) checkPods(svc *isthmusv1.Service, has *isthmusv1.Routed) {
	if len(svc.GetSelector()) == 0 {
		return // whose endpoints somebody writes
	}
	for i, s := range v.plan.Route.Subsets {
		own := slices.ContainsFunc(wellknown.PodNameLabels, func(k string) bool { _, ok := s.Labels[k]; return ok })
		if !own && !slices.ContainsFunc(has.GetPods(), func(p *isthmusv1.Routed_Labels) bool { return subset(s.Labels, p.GetLabels()) }) {
			v.say(reasonNoPods, "subsets["+itoa(i)+"].labels", "No ready pod of Service %q in namespace %q has the labels of subset %q; what is sent there is answered with 503.", svc.GetName(), svc.GetNamespace(), s.Name)
		}
	}
}

// checkRules names what others have written about the service.
func (v *versioning) checkRules(has *isthmusv1.Routed) {
	ref := v.plan.Service
	for _, r := range has.GetRules() {
		how := "callers that have both follow the older one"
		switch {
		case r.GetKind() == "DestinationRule" && r.GetNamespace() != ref.Namespace:
			how = "it hides the subsets from callers in that namespace, whose requests are answered with 503"
		case r.GetKind() == "DestinationRule":
			how = "Istio joins both, and follows the older one where they differ"
		}
		v.say(reasonRuleForeign, "service", "%s %q in namespace %q is about the service too: %s.", r.GetKind(), r.GetName(), r.GetNamespace(), how)
	}
}

// checkPorts says what is wrong with the ports of the service that something is said of.
func (v *versioning) checkPorts(svc *isthmusv1.Service) {
	ref := v.plan.Service
	for _, p := range v.plan.Ports {
		port := portNumbered(svc, p.Port)
		if port == nil {
			v.say(reasonUnknownPort, p.Field+".port", "Service %q in namespace %q has no port %d.", ref.Name, ref.Namespace, p.Port)
			continue
		}
		if is := protocolOf(port); is != p.Protocol && (is != "" || p.Protocol == kindTLS) {
			v.say(reasonPortProtocol, p.Field+".port", "Istio takes port %d of Service %q in namespace %q for %s, and what is said here is for %s: its name is %q.",
				p.Port, ref.Name, ref.Namespace, cmp.Or(is, "one that it has to look into"), p.Protocol, port.GetName())
		}
	}
}

// protocolOf is what Istio takes a port for, by the kinds of routes that it follows there; "" when it looks into what is sent.
func protocolOf(p *isthmusv1.Service_Port) string {
	name, _, _ := strings.Cut(strings.ToLower(cmp.Or(strings.TrimPrefix(p.GetAppProtocol(), "kubernetes.io/"), p.GetName())), "-")
	switch name {
	case "http", "http2", "grpc", "h2c", "ws":
		return kindHTTP
	case "https", "tls", "wss":
		return kindTLS
	case "tcp", "mongo", "redis", "mysql", "postgres":
		return kindTCP
	}
	return ""
}

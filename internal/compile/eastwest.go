package compile

import (
	"cmp"
	"slices"
	"strings"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

const (
	intentEastWest = "u/intent/eastwest/"
	eastWestField  = "defaultEastWestGatewaySettings"
)

// eastWest says through which gateways of a cluster other clusters call the services of a workspace that have no host.
type eastWest struct {
	FQN, Workspace resource.FQN
	// Elements that have a place in the cluster, in the order of the setting: the first one that has a service wins.
	Elements []element
	Owned    *scope
}

// element is one of the list: a gateway, and what is behind it.
type element struct {
	Plan *plan
	// Services by their labels, which match when all of one do; none for all services.
	Services []map[string]string
}

func (e *element) has(svc *isthmusv1.Service) bool {
	return len(e.Services) == 0 || slices.ContainsFunc(e.Services, func(labels map[string]string) bool { return subset(labels, svc.GetLabels()) })
}

// eastWestLayer decides which settings of workspaces hold for calls between clusters, and where.
func eastWestLayer() *layer {
	return &layer{
		name: "eastwest",
		unitOf: func(key string) string {
			if fqn := store.Key(key).FQN(); fqn.Plural() == "settings" && fqn.Parent().Plural() == "workspaces" {
				return string(fqn)
			}
			return ""
		},
		root:   func(unit string) string { return string(store.ResourceKey(resource.FQN(unit))) },
		derive: deriveEastWest,
	}
}

func deriveEastWest(r *Reads, unit string, out *output) {
	fqn := resource.FQN(unit)
	spec, _ := specOf(r, fqn).(*tsbv2.WorkspaceSetting)
	workspace, _ := specOf(r, fqn.Parent()).(*tsbv2.Workspace)
	if len(spec.GetDefaultEastWestGatewaySettings()) == 0 || workspace == nil {
		return // the resource layer says what is missing
	}
	if first := firstEastWest(r, fqn.Parent()); first != fqn {
		out.say(fqn, no(reasonNoEffect, eastWestField, "A workspace has one list of gateways between clusters, and that of %q comes first.", first))
		return
	}
	byCluster := map[string][]element{}
	for i, s := range spec.GetDefaultEastWestGatewaySettings() {
		e := element{Plan: &plan{
			FQN: fqn, Workspace: fqn.Parent(), Name: wellknown.DoorGatewayPrefix + fqn.Parent().Name() + "-" + itoa(i), At: eastWestField + "[" + itoa(i) + "].",
			Namespace: s.GetWorkloadSelector().GetNamespace(), Labels: s.GetWorkloadSelector().GetLabels(),
			Metadata: mergeMetadata(specOf(r, fqn.Ancestor("organizations")), specOf(r, fqn.Ancestor("tenants")), workspace, s),
		}}
		for _, x := range s.GetExposedServices() {
			e.Services = append(e.Services, x.GetServiceLabels())
		}
		for _, name := range placesOf(r, e.Plan, out) {
			byCluster[name] = append(byCluster[name], e)
		}
	}
	owned := scopeOf(r, fqn.Parent())
	for name, elements := range byCluster {
		out.put("u/eastwest/"+name+"/"+unit, &eastWest{FQN: fqn, Workspace: fqn.Parent(), Elements: elements, Owned: owned})
	}
}

// firstEastWest is the first setting of a workspace that has such a list, in name order.
func firstEastWest(r *Reads, workspace resource.FQN) resource.FQN {
	first := settingAt(r, workspace, func(res *resource.Resource) *resource.FQN {
		if spec, _ := res.Spec.(*tsbv2.WorkspaceSetting); len(spec.GetDefaultEastWestGatewaySettings()) > 0 {
			return &res.FQN
		}
		return nil
	})
	if first == nil {
		return ""
	}
	return *first
}

// placesOf are the clusters where the workspace owns the namespace of a gateway, which is there.
func placesOf(r *Reads, p *plan, out *output) []string {
	field := p.At + "workloadSelector.namespace"
	if isSystem(r, p.FQN, p.Namespace) {
		out.say(p.FQN, no(reasonSystemNamespace, field, "Namespace %q is a system namespace, which no workspace can own.", p.Namespace))
		return nil
	}
	var places []string
	owned := false
	for name := range clustersOf(r, p.FQN) {
		if ownerOf(r, workspaceScope, name, p.Namespace) != p.Workspace {
			continue
		}
		owned = true
		if namespaceThere(r, name, p.Namespace) {
			places = append(places, name)
		}
	}
	switch {
	case len(places) > 0:
	case owned:
		out.say(p.FQN, no(reasonNotPlaced, field, "No cluster that the workspace selects has a namespace %q.", p.Namespace))
	default:
		out.say(p.FQN, no(reasonNamespaceForeign, field, "Namespace %q does not belong to workspace %q.", p.Namespace, p.Workspace))
	}
	return places
}

// doorLayer looks at the gateways between clusters in one cluster, and at the services behind them.
func doorLayer() *layer {
	return &layer{
		name: "door",
		unitOf: func(key string) string {
			if rest, ok := strings.CutPrefix(key, "u/eastwest/"); ok {
				return rest
			}
			return ""
		},
		root:   func(unit string) string { return "u/eastwest/" + unit },
		derive: deriveDoors,
	}
}

// services of the workspace in a cluster, by the element that they are behind, which is the first one that has them. Those of gateways are
// left out: gateways are called by the hosts that they expose.
func (w *eastWest) services(r *Reads, cluster string) [][]*isthmusv1.Service {
	behind := make([][]*isthmusv1.Service, len(w.Elements))
	s := &scene{r: r}
	s.cluster.Name = cluster
	for _, ns := range w.Owned.namespaces(r, cluster) {
		workloads := s.facts("workload/" + ns + "/")
		for _, f := range s.facts("service/" + ns + "/") {
			svc := f.GetService()
			ofGateway := len(svc.GetSelector()) > 0 && slices.ContainsFunc(workloads, func(w *isthmusv1.Fact) bool {
				return subset(svc.GetSelector(), w.GetWorkload().GetLabels())
			})
			if i := slices.IndexFunc(w.Elements, func(e element) bool { return e.has(svc) }); i >= 0 && !ofGateway {
				behind[i] = append(behind[i], svc)
			}
		}
	}
	return behind
}

// door is a gateway between clusters in one of them.
type door struct {
	*scene
	selector map[string]string
	// open says that the gateway may be configured.
	open bool
	// remote is how other clusters call it.
	remote []intent.Endpoint
	passed []intent.Passed
}

func deriveDoors(r *Reads, unit string, out *output) {
	w, _ := r.get("u/eastwest/" + unit).(*eastWest)
	name, _, _ := strings.Cut(unit, "/")
	c, known := r.get(clustersPrefix + name).(cluster)
	if w == nil || !known {
		return
	}
	behind := w.services(r, name)
	made := &intent.EastWest{Key: intent.GatewayKey{Cluster: name, FQN: w.FQN}, Workspace: w.Workspace.Name()}
	for i := range w.Elements {
		if len(behind[i]) == 0 {
			continue // a gateway that nothing is behind need not be there
		}
		d := &door{scene: &scene{r: r, out: out, plan: w.Elements[i].Plan, cluster: c}}
		d.look()
		for _, svc := range behind[i] {
			d.share(svc)
		}
		if d.open && len(d.passed) > 0 {
			made.Doors = append(made.Doors, intent.Door{
				Namespace: d.plan.Namespace, Name: d.plan.Name, Selector: d.selector, Metadata: d.plan.Metadata, Services: d.passed,
			})
		}
	}
	if len(made.Doors) > 0 {
		out.put(intentEastWest+unit, made)
		for i := range made.Doors {
			out.put(madePrefix(name, made.Doors[i].Namespace)+string(w.FQN), made)
		}
	}
}

// look finds the gateway's pods, and how it is called.
func (d *door) look() {
	d.findPods()
	d.findServices()
	if d.cluster.Known && len(d.pods) > 0 && len(d.services) == 0 {
		d.say(no(reasonNoService, "workloadSelector", "No Service in namespace %q selects the gateway's pods.", d.plan.Namespace))
	}
	d.selector, d.open = d.scene.selector()
	d.remote = slices.DeleteFunc(d.called(), d.isName)
}

// called is how other clusters call the gateway: not at all while no pod is ready, so that they get an answer at once.
func (d *door) called() []intent.Endpoint {
	if !d.offers() {
		return nil
	}
	p := portOf(d.main, wellknown.MTLSPort)
	if p == nil {
		d.say(no(reasonNoMTLSPort, "workloadSelector", "Service %q in namespace %q has no port %d: services behind it cannot be called from other clusters.", d.main.GetName(), d.plan.Namespace, wellknown.MTLSPort))
		return nil
	}
	_, remote := d.endpointsAt(map[string]*isthmusv1.Service_Port{"mtls": p}, d.say)
	return remote
}

// isName says that an address is a host name: among the pods of a Service, Envoy takes addresses only.
func (d *door) isName(e intent.Endpoint) bool {
	if isAddress(e.Address) {
		return false
	}
	d.say(no(reasonNoAddress, "workloadSelector", "Address %q of Service %q is a host name; services of other clusters can be called at IP addresses only.", e.Address, e.Service))
	return true
}

// shared is what a cluster has of a service that other clusters may call.
type shared struct {
	Setting  resource.FQN
	Metadata intent.Metadata
	Cluster  cluster
	Ports    []intent.HostPort
	// Accounts of the pods, and Addresses at which they can be called: none while no pod is ready.
	Accounts  []string
	Addresses []intent.Endpoint
}

func sharedPrefix(workspace resource.FQN, ns, service string) string {
	return "u/shared/" + string(workspace) + "/" + ns + "/" + service + "/"
}

// share lets other clusters call a service through the gateway, unless they cannot.
func (d *door) share(svc *isthmusv1.Service) {
	ns, name := svc.GetNamespace(), svc.GetName()
	host := name + "." + ns + ".svc.cluster.local"
	for range d.r.prefix(exposePrefix(host)) {
		d.say(no(reasonNotShared, "exposedServices", "Service %q in namespace %q is left out: a gateway exposes its name as a host, which callers use.", name, ns))
		return
	}
	backing := d.fact("backing/" + ns + "/" + name).GetBacking()
	switch {
	case !isAddress(svc.GetClusterIp()):
		d.say(no(reasonNotShared, "exposedServices", "Service %q in namespace %q is left out: it has no address of its own.", name, ns))
		return
	case len(svc.GetSelector()) == 0:
		d.say(no(reasonNotShared, "exposedServices", "Service %q in namespace %q is left out: it selects no pods.", name, ns))
		return
	case backing.GetPlain():
		d.say(no(reasonNoSidecar, "exposedServices", "Service %q in namespace %q is left out: some of its pods have no sidecar.", name, ns))
		return
	}
	offer := shared{Setting: d.plan.FQN, Metadata: d.plan.Metadata, Cluster: d.cluster, Ports: sharedPorts(svc)}
	if len(offer.Ports) == 0 {
		d.say(no(reasonNotShared, "exposedServices", "Service %q in namespace %q is left out: none of its ports is one of TCP.", name, ns))
		return
	}
	passed := intent.Passed{Host: host, Name: name + "." + ns, Address: svc.GetClusterIp()}
	for _, p := range offer.Ports {
		passed.Ports = append(passed.Ports, p.Number)
	}
	d.passed = append(d.passed, passed)
	if backing.GetMesh() && d.open {
		for _, e := range d.remote {
			e.Labels = failoverLabels(e.Labels, svc.GetLabels(), svc.GetAnnotations())
			offer.Addresses = append(offer.Addresses, e)
		}
		offer.Accounts = backing.GetServiceAccounts()
	}
	// While one setting takes the place of another, both speak of the service.
	d.out.put(sharedPrefix(d.plan.Workspace, ns, name)+d.cluster.Name+"@"+d.plan.FQN.Name(), offer)
}

// sharedPorts are the ports of a Service that Istio carries, by number.
func sharedPorts(svc *isthmusv1.Service) []intent.HostPort {
	var ports []intent.HostPort
	for _, p := range svc.GetPorts() {
		if p.GetProtocol() == "" || p.GetProtocol() == "TCP" {
			ports = append(ports, intent.HostPort{Name: p.GetName(), Number: p.GetNumber(), Protocol: portProtocol(p), MTLS: true})
		}
	}
	slices.SortFunc(ports, func(a, b intent.HostPort) int { return int(a.Number) - int(b.Number) })
	return ports
}

// portProtocol is that of a port as Istio understands it, "" where Istio finds out by itself.
func portProtocol(p *isthmusv1.Service_Port) intent.Protocol {
	name := strings.ToLower(cmp.Or(p.GetAppProtocol(), p.GetName()))
	if name == "kubernetes.io/h2c" {
		return "HTTP2"
	}
	if strings.HasPrefix(name, "grpc-web") {
		return "GRPC-WEB"
	}
	name, _, _ = strings.Cut(name, "-")
	switch name {
	case "http", "http2", "https", "grpc", "tls", "tcp", "mongo", "redis", "mysql":
		return intent.Protocol(strings.ToUpper(name))
	}
	return ""
}

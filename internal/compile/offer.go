package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// offered is what a gateway in a cluster does for the callers of a host.
type offered struct {
	Cluster string
	// Network from which the addresses can be called, and Reach of the cluster's own callers.
	Network, Reach string
	// Drained says that the cluster is, and Leaving that it is to be called no more, because others are there.
	Drained, Leaving bool
	// Identities of the pods.
	Identities []string
	// Hops are how many gateways lead on, this one included, until one exposes the host: 0 when this one does.
	Hops int
	// Local is for callers in the cluster, Remote for all others.
	Local, Remote []intent.Endpoint
}

// offer publishes, for each host, how the gateway can be called.
func (s *scene) offer(configured bool) {
	for _, e := range s.plan.Exposed {
		o := s.offered()
		if configured && s.serves(e) {
			o.Local, o.Remote = s.endpoints(e.Host, hostPorts(e), s.say)
		}
		s.out.put(offerPrefix(e.Host)+string(s.plan.FQN)+"/"+s.cluster.Name, o)
	}
}

// offered is what all that the gateway offers has in common.
func (s *scene) offered() offered {
	self, _ := s.r.get(intentClusters + s.cluster.Name).(*intent.Cluster)
	o := offered{Cluster: s.cluster.Name, Network: s.cluster.Declared, Drained: s.cluster.Drained, Identities: s.identities()}
	if self != nil {
		o.Reach = self.Reach
	}
	return o
}

// serves says whether a server of the plan is there for an exposed host: one that was refused exposes nothing.
func (s *scene) serves(e exposure) bool {
	return slices.ContainsFunc(s.plan.Servers, func(srv intent.Server) bool {
		return srv.Host == e.Host && (srv.Internal || e.Kind == kindTLS && srv.Protocol == intent.Passthrough)
	})
}

func (s *scene) identities() []string {
	var ids []string
	for _, w := range s.pods {
		for _, account := range append([]string{w.GetServiceAccount()}, w.GetServiceAccounts()...) {
			if account != "" {
				ids = append(ids, "spiffe://"+s.cluster.TrustDomain+"/ns/"+s.plan.Namespace+"/sa/"+account)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// offers says whether the gateway takes calls: not while no pod is ready, so that callers get an answer at once.
func (s *scene) offers() bool {
	return s.main != nil && s.main.GetAnnotations()[wellknown.DrainingAnnotation] != "true" && s.ready()
}

// endpoints of a host.
func (s *scene) endpoints(host string, called []intent.HostPort, say func(resource.Condition)) (local, remote []intent.Endpoint) {
	if !s.offers() {
		return nil, nil
	}
	ports := map[string]*isthmusv1.Service_Port{}
	for _, hp := range called {
		number := hp.Number
		if hp.MTLS {
			number = wellknown.MTLSPort
		}
		p := portOf(s.main, number)
		if p == nil {
			if hp.MTLS {
				say(no(reasonNoMTLSPort, "workloadSelector", "Service %q in namespace %q has no port %d: host %q cannot be called from within the mesh.", s.main.GetName(), s.plan.Namespace, number, host))
			}
			return nil, nil
		}
		ports[hp.Name] = p
	}
	return s.endpointsAt(ports, say)
}

// endpointsAt are those that have ports of the gateway's Service under names.
func (s *scene) endpointsAt(ports map[string]*isthmusv1.Service_Port, say func(resource.Condition)) (local, remote []intent.Endpoint) {
	base := intent.Endpoint{
		Cluster: s.cluster.Name, Network: s.cluster.Network, Locality: s.locality(),
		Service: s.main.GetName() + "." + s.main.GetNamespace() + ".svc.cluster.local",
		Labels:  failoverLabels(s.main.GetLabels(), s.main.GetAnnotations()),
	}
	if ip := s.main.GetClusterIp(); isAddress(ip) {
		at := base
		at.Local, at.Address, at.Ports = true, ip, numbers(ports, false)
		local = append(local, at)
	}
	addresses, nodePorts := s.remoteAddresses()
	for _, a := range addresses {
		at := base
		at.Address, at.Ports = a, numbers(ports, nodePorts)
		remote = append(remote, at)
	}
	if len(remote) == 0 {
		say(no(reasonNoAddress, "workloadSelector", "Service %q in namespace %q has no address that other clusters can call.", s.main.GetName(), s.plan.Namespace))
	}
	return local, remote
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func numbers(ports map[string]*isthmusv1.Service_Port, nodePorts bool) map[string]uint32 {
	out := map[string]uint32{}
	for name, p := range ports {
		out[name] = p.GetNumber()
		if nodePorts {
			out[name] = p.GetNodePort()
		}
	}
	return out
}

// remoteAddresses are those of the Service, or of the nodes for a NodePort one: of those with a pod, if the others do not hand connections on.
func (s *scene) remoteAddresses() (addresses []string, nodePorts bool) {
	nodePorts = s.main.GetType() == "NodePort"
	if given := s.main.GetExternalAddresses(); len(given) > 0 || !nodePorts {
		return s.callable(given), nodePorts
	}
	local := s.main.GetExternalTrafficPolicy() == "Local"
	for _, f := range s.facts("node//") {
		n := f.GetNode()
		if n.GetReady() && len(n.GetAddresses()) > 0 && (!local || s.runsOn(n.GetName())) {
			addresses = append(addresses, n.GetAddresses()[0])
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses), nodePorts
}

// runsOn says whether a pod of the gateway is on a node.
func (s *scene) runsOn(node string) bool {
	return slices.ContainsFunc(s.pods, func(w *isthmusv1.Workload) bool { return slices.Contains(w.GetNodes(), node) })
}

// callable leaves out what is no address, which an annotation may say: Istio would refuse the ServiceEntry, and with
// it the endpoints of all other clusters.
func (s *scene) callable(given []string) []string {
	var out []string
	for _, a := range given {
		if isAddress(a) || isHostname(a) {
			out = append(out, a)
			continue
		}
		s.say(no(reasonNoAddress, "workloadSelector", "Address %q of Service %q in namespace %q is neither an IP address nor a host name; it is left out.", a, s.main.GetName(), s.plan.Namespace))
	}
	return out
}

// isHostname says whether Istio takes a name as an endpoint's address.
func isHostname(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if len(l) > 63 || !hostLabel.MatchString(l) {
			return false
		}
	}
	return len(s) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// locality is what the nodes with ready pods have in common, or that of the cluster.
func (s *scene) locality() string {
	var common []string
	found := false
	for _, w := range s.pods {
		for _, name := range w.GetNodes() {
			n := s.fact("node//" + name).GetNode()
			if n.GetRegion() == "" {
				continue
			}
			at := strings.Split(locality(n.GetRegion(), n.GetZone(), n.GetSubzone()), "/")
			if !found {
				common, found = at, true
				continue
			}
			common = commonPrefix(common, at)
		}
	}
	if len(common) == 0 {
		return s.cluster.Locality
	}
	return strings.Join(common, "/")
}

func commonPrefix(a, b []string) []string {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

// failoverLabels are those that a Service wants on its endpoints.
func failoverLabels(sets ...map[string]string) map[string]string {
	var out map[string]string
	for _, set := range sets {
		for k := range set {
			if strings.HasPrefix(k, "failover.tetrate.io/") && labelValue(set[k]) {
				if out == nil {
					out = map[string]string{}
				}
				out[k] = set[k]
			}
		}
	}
	return out
}

func labelValue(v string) bool { return v == "" || metadataName.MatchString(v) }

// hostPorts are the ports that callers of an exposed host use.
func hostPorts(e exposure) []intent.HostPort {
	if e.Kind == kindHTTP {
		return []intent.HostPort{{Name: "http", Number: 80, Protocol: intent.HTTP, MTLS: true}}
	}
	var ports []intent.HostPort
	for _, n := range e.Ports {
		if e.Kind == kindTLS {
			ports = append(ports, intent.HostPort{Name: "tls-" + itoa(n), Number: n, Protocol: intent.Passthrough})
		} else {
			ports = append(ports, intent.HostPort{Name: "tcp-" + itoa(n), Number: n, Protocol: intent.TCP, MTLS: true})
		}
	}
	return ports
}

// hostName is a host as part of object names. Two hosts may look the same with dashes: the first one that was asked
// for has the name as it is.
func hostName(r *Reads, host string) string {
	d := dashed(host)
	best, owner := rank{}, ""
	for key, v := range r.prefix(dashPrefix(d)) {
		h, _, _ := strings.Cut(strings.TrimPrefix(key, dashPrefix(d)), "/")
		at := rank{Since: v.(named).Since}
		if owner == "" || at.Since < best.Since { // keys are in the order of host names
			best, owner = at, h
		}
	}
	const room = 200 // of 253, for what stands around it
	if owner == host && len(d) <= room {
		return d
	}
	return d[:min(len(d), room)] + "-" + shortHash(host)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

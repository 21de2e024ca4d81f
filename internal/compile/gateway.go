package compile

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/wellknown"
)

const intentGateways = "u/intent/gateway/"

// gatewayLayer looks at a gateway in one cluster: its pods, its Service, and what its routes lead to.
func gatewayLayer() *layer {
	return &layer{
		name: "gateway",
		unitOf: func(key string) string {
			if rest, ok := strings.CutPrefix(key, "u/place/"); ok {
				return rest
			}
			return ""
		},
		root:   func(unit string) string { return "u/place/" + unit },
		derive: deriveGateway,
	}
}

// scene is a gateway in a cluster while it is derived.
type scene struct {
	r       *Reads
	out     *output
	plan    *plan
	cluster cluster
	pods    []*isthmusv1.Workload
	// services select the pods; main is the one that other clusters call.
	services []*isthmusv1.Service
	main     *isthmusv1.Service
}

func deriveGateway(r *Reads, unit string, out *output) {
	p, _ := r.get("u/place/" + unit).(*plan)
	name, _, _ := strings.Cut(unit, "/")
	c, known := r.get(clustersPrefix + name).(cluster)
	if p == nil || !known {
		return
	}
	s := &scene{r: r, out: out, plan: p, cluster: c}
	s.findPods()
	s.findServices()
	hosts, origins := s.resolve()
	gw := &intent.Gateway{
		Key:       intent.GatewayKey{Cluster: name, FQN: p.FQN},
		Workspace: p.Workspace.Name(), Group: p.FQN.Parent().Name(),
		Namespace: p.Namespace, Name: p.Name,
		Servers:  s.servers(),
		Hosts:    s.nameHosts(hosts),
		Origins:  origins,
		Metadata: p.Metadata, Extensions: s.extensions(),
	}
	selector, ok := s.selector()
	gw.Selector = selector
	gw.Egress = s.egress()
	if ok && (len(gw.Servers) > 0 || gw.Egress != nil) {
		out.put(intentGateways+unit, gw)
		out.put(madePrefix(name, gw.Namespace)+string(p.FQN), gw)
		s.front(gw)
	}
	if c.Known {
		s.checkServers()
		s.checkClients()
		s.sayRejected()
	}
	s.offer(ok)
	s.transit(ok)
}

func (s *scene) say(c resource.Condition) {
	c.Field = s.plan.At + c.Field
	if s.plan.Direct != nil {
		c.Field = "selector" // all that is said here is about the pods
	}
	s.out.say(s.plan.FQN, in(s.cluster.Name, c))
}

func (s *scene) fact(id string) *isthmusv1.Fact {
	f, _ := s.r.get(string(store.FactKey(s.cluster.Name, id))).(*isthmusv1.Fact)
	return f
}

// facts of one kind in one namespace, or with a prefix such as "node//" of the cluster, in order.
func (s *scene) facts(prefix string) []*isthmusv1.Fact {
	var fs []*isthmusv1.Fact
	for _, v := range s.r.prefix(string(store.FactKey(s.cluster.Name, prefix))) {
		if f, ok := v.(*isthmusv1.Fact); ok {
			fs = append(fs, f)
		}
	}
	return fs
}

func (s *scene) findPods() {
	for _, f := range s.facts("workload/" + s.plan.Namespace + "/") {
		if w := f.GetWorkload(); subset(s.plan.Labels, w.GetLabels()) {
			s.pods = append(s.pods, w)
		}
	}
	switch {
	case !s.cluster.Known:
	case len(s.pods) == 0:
		s.say(no(reasonNoWorkload, "workloadSelector.labels", "Namespace %q has no gateway pods with the labels of the workload selector.", s.plan.Namespace))
	case !s.ready():
		s.say(no(reasonNotReady, "workloadSelector.labels", "No gateway pod of %q in namespace %q is ready.", s.pods[0].GetName(), s.plan.Namespace))
	}
}

func (s *scene) ready() bool {
	return slices.ContainsFunc(s.pods, func(w *isthmusv1.Workload) bool { return w.GetReady() > 0 })
}

// findServices finds those that select the pods. The one that other clusters call has port 15443, and an address.
func (s *scene) findServices() {
	for _, f := range s.facts("service/" + s.plan.Namespace + "/") {
		svc := f.GetService()
		if len(svc.GetSelector()) == 0 || !slices.ContainsFunc(s.pods, func(w *isthmusv1.Workload) bool { return subset(svc.GetSelector(), w.GetLabels()) }) {
			continue
		}
		s.services = append(s.services, svc)
		if s.main == nil || score(svc) > score(s.main) {
			s.main = svc
		}
	}
}

func score(svc *isthmusv1.Service) int {
	n := 0
	if portOf(svc, wellknown.MTLSPort) != nil {
		n += 8
	}
	switch svc.GetType() {
	case "LoadBalancer":
		n += 2
	case "NodePort":
		n++
	}
	if len(svc.GetExternalAddresses()) > 0 {
		n += 4
	}
	return n
}

// portOf finds a port of a Service by its number, or else by its target.
func portOf(svc *isthmusv1.Service, number uint32) *isthmusv1.Service_Port {
	for _, p := range svc.GetPorts() {
		if p.GetNumber() == number {
			return p
		}
	}
	for _, p := range svc.GetPorts() {
		if p.GetTargetPort() == itoa(number) {
			return p
		}
	}
	return nil
}

// selector is that of the Istio Gateway. The label that Isthmus gives to the pods of each gateway that it installs is
// added where the pods have it, because Istio matches selectors in all namespaces. False means that the gateway must
// not be configured: it would take over somebody else's pods.
func (s *scene) selector() (map[string]string, bool) {
	own := ""
	for i, w := range s.pods {
		v := w.GetLabels()[wellknown.GatewayLabel]
		if i > 0 && v != own {
			own = ""
			break
		}
		own = v
	}
	if own != "" {
		return withLabel(s.plan.Labels, wellknown.GatewayLabel, own), true
	}
	for _, f := range s.facts("workload/") {
		if w := f.GetWorkload(); w.GetNamespace() != s.plan.Namespace && subset(s.plan.Labels, w.GetLabels()) {
			s.say(no(reasonSelectorShared, "workloadSelector.labels", "The labels also match the gateway pods of %q in namespace %q; nothing is configured.", w.GetName(), w.GetNamespace()))
			return s.plan.Labels, false
		}
	}
	return s.plan.Labels, true
}

// checkServers says what the servers miss in the cluster.
func (s *scene) checkServers() {
	if len(s.pods) > 0 && len(s.services) == 0 {
		s.say(no(reasonNoService, "workloadSelector", "No Service in namespace %q selects the gateway's pods.", s.plan.Namespace))
	}
	for i, srv := range s.plan.Servers {
		field := s.plan.Fields[i]
		switch {
		case len(s.services) == 0:
		case srv.Port != 0:
			s.checkPort(field+".port", srv.Port)
		case portOf(s.main, wellknown.MTLSPort) == nil:
			s.say(no(reasonNoMTLSPort, field, "Service %q in namespace %q has no port %d: server %q cannot be called from within the mesh.", s.main.GetName(), s.plan.Namespace, wellknown.MTLSPort, srv.Name))
		}
	}
}

func (s *scene) checkPort(field string, number uint32) {
	targets := map[string]string{}
	var first *isthmusv1.Service
	for _, svc := range s.services {
		p := portOf(svc, number)
		if p == nil {
			continue
		}
		if first == nil {
			first = svc
		}
		target := p.GetTargetPort()
		if target == "" || target == "0" {
			target = itoa(p.GetNumber())
		}
		targets[target] = svc.GetName()
		if len(targets) > 1 {
			s.say(no(reasonAmbiguous, field, "Services %q and %q in namespace %q send port %d to different target ports.", first.GetName(), svc.GetName(), s.plan.Namespace, number))
			return
		}
	}
	if first == nil {
		s.say(no(reasonPortMissing, field, "Service %q in namespace %q has no port %d.", s.main.GetName(), s.plan.Namespace, number))
	}
}

// nameHosts gives each host the name that its objects have in the gateway's namespace. It depends on the host and the pods alone:
// whoever exposes the host on other pods comes and goes without any of these objects getting another name, which would be a
// gap for those who call.
func (s *scene) nameHosts(hosts []intent.GatewayHost) []intent.GatewayHost {
	hosts = slices.Clone(hosts)
	pods := shortHash(selectorText(s.plan.Labels))
	for i := range hosts {
		h := &hosts[i]
		h.Name = hostName(s.r, h.Host) + "-" + pods
		if first := s.firstGateway(h.Host); first != "" && first != s.plan.FQN {
			h.Name += "-" + shortHash(s.plan.Name)
		}
	}
	return hosts
}

// firstGateway is the first gateway of the same group and pods that has the host: it has the name without a further suffix.
func (s *scene) firstGateway(host string) resource.FQN {
	prefix := dashPrefix(dashed(host)) // which hostName reads too
	for key, v := range s.r.prefix(prefix) {
		h, name, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/")
		fqn, by := resource.FQN(name), v.(named)
		if h == host && fqn.Parent() == s.plan.FQN.Parent() && by.Namespace == s.plan.Namespace && maps.Equal(by.Labels, s.plan.Labels) {
			return fqn
		}
	}
	return ""
}

// selectorText is a selector as a text.
func selectorText(labels map[string]string) string {
	var pairs []string
	for k, v := range labels {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// servers are those of the plan, with what they take from the cluster: whether their certificates can be used, the
// services that their guards ask, and the ports of the pods.
func (s *scene) servers() []intent.Server {
	all, own := s.plan.Servers, false
	change := func(i int) *intent.Server {
		if !own {
			all, own = slices.Clone(all), true // the plan's own are shared
		}
		return &all[i]
	}
	for i := range all {
		if s.cluster.Known && !s.certified(i) {
			change(i).Closed = true
		}
		if g := all[i].Guard; g != nil {
			srv := change(i)
			srv.Target = s.target(srv.Port)
			guard := *upstreams(g, func(at, field string, u *intent.Upstream) *intent.Upstream {
				return s.upstream(s.plan.Fields[i]+"."+at, field, u)
			})
			guard.Limits = s.limitsOf(i)
			s.handOver(i, &guard)
			srv.Guard = &guard
		}
	}
	return all
}

// certified says whether Envoy can use the Secret of a server. Until it can, the port is not opened for the host: Envoy
// would wait for it before it takes the next change of any host of the port, or opens the port after a restart.
func (s *scene) certified(i int) bool {
	srv := &s.plan.Servers[i]
	switch {
	case srv.TLS == nil:
		return true
	case srv.TLS.Secret == "":
		return s.mounted(s.plan.Fields[i]+".tls.files", srv.TLS)
	}
	field, name, ns := s.plan.Fields[i]+".tls.secretName", srv.TLS.Secret, s.plan.Namespace
	secret := s.fact("secret/" + ns + "/" + name).GetSecret()
	var problem string
	switch {
	case secret == nil:
		s.say(no(reasonSecretMissing, field, "Secret %q does not exist in namespace %q.", name, ns))
		return false
	case secret.GetProblem() != "":
		problem = secret.GetProblem()
	case srv.TLS.Mode != "SIMPLE":
		problem = secret.GetCaProblem()
	}
	if problem != "" {
		s.say(no(reasonSecretInvalid, field, "Secret %q in namespace %q cannot be used: %s.", name, ns, problem))
	}
	return problem == ""
}

// mounted says whether the files of a certificate can be there: in a volume of the pods. Envoy waits for ever for one that is not.
func (s *scene) mounted(field string, t *intent.TLS) bool {
	for _, w := range s.pods {
		if len(w.GetMounts()) == 0 {
			continue // not reported
		}
		for _, path := range []string{t.Certificate, t.Key, t.CA} {
			within := func(mount string) bool { return strings.HasPrefix(path, mount+"/") }
			if path != "" && !slices.ContainsFunc(w.GetMounts(), within) {
				s.say(no(reasonSecretMissing, field, "File %q is in no volume of the pods of %q in namespace %q.", path, w.GetName(), s.plan.Namespace))
				return false
			}
		}
	}
	return true
}

// target is the port of the pods that a port of the Service leads to, 0 when that is not known.
func (s *scene) target(port uint32) uint32 {
	for _, svc := range s.services {
		p := portOf(svc, port)
		if p == nil {
			continue
		}
		if p.GetTargetPort() == "" || p.GetTargetPort() == "0" {
			return p.GetNumber()
		}
		if n, err := strconv.ParseUint(p.GetTargetPort(), 10, 16); err == nil {
			return uint32(n)
		}
		for _, w := range s.pods {
			if n := w.GetPorts()[p.GetTargetPort()]; n != 0 {
				return n
			}
		}
	}
	return 0
}

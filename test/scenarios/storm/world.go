// Package storm makes random changes of a configuration and knows which answers are right while they are made. It does
// nothing by itself: who runs it applies the steps, makes the requests, and says when.
package storm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// Names of what the world is made of. Each backend cluster has both gateways and both applications.
var (
	Backends = []string{"c2", "c3"}
	Gateways = []string{"gw", "gw-b"}
	Apps     = []string{"cart", "bill"}
	// Paths that are called: one for each rule, and one for the rule without a match.
	Paths = []string{"/a", "/b", "/c", "/z"}
)

// Front is the cluster and the name of the gateway in front of the others, and of the Secret with its certificate.
const (
	FrontCluster = "c1"
	Front        = "front"
	Secret       = "storm"
)

// ports of the applications that rules lead to.
var ports = []int{80, 8081}

// World is a configuration that changes.
type World struct {
	// Metadata is what the metadata of all resources begins with: organization, tenant and workspace.
	metadata, namespace string
	rnd                 *rand.Rand
	hosts               []*host
	version             int
	// down are gateways that are being made again, stalled is a cluster whose edge does nothing.
	down    map[string]bool
	stalled string
	// Only are the kinds of changes that are made; none means all.
	Only []string
}

// host is exposed by one resource in one or two clusters, and by the gateway in front of them.
type host struct {
	name  string
	sides map[string]*side
	front choice
}

// side is the resource that exposes a host in one cluster.
type side struct {
	resource, gateway, server string
	// order of the rules, by the index of their path; the rule without a match is always the last one.
	order   []int
	rules   []rule
	version int
}

type rule struct {
	app  string
	port int
}

// choice of clusters that the gateway in front makes: names with weights, all that have a label, or wherever the host is.
type choice struct {
	names   []string
	weights []int
	label   bool
}

// clusters that may be called.
func (c choice) clusters() []string {
	if c.names == nil {
		return Backends
	}
	return c.names
}

// New makes a world; the same seed makes the same changes.
func New(seed uint64, hosts int, organization, tenant, workspace, namespace, domain string) *World {
	w := &World{
		metadata:  fmt.Sprintf("organization: %s, tenant: %s, workspace: %s", organization, tenant, workspace),
		namespace: namespace, down: map[string]bool{}, rnd: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // it has to be the same each time
	}
	for i := range hosts {
		h := &host{name: fmt.Sprintf("h%d.%s", i+1, domain), sides: map[string]*side{}}
		for _, c := range Backends {
			h.sides[c] = &side{resource: fmt.Sprintf("h%d-a", i+1), gateway: Gateways[0], server: "s", order: []int{0, 1, 2}, rules: make([]rule, len(Paths))}
			for j := range h.sides[c].rules {
				h.sides[c].rules[j] = rule{Apps[0], ports[0]}
			}
		}
		w.hosts = append(w.hosts, h)
	}
	return w
}

// Hosts are the names of all hosts. They are configured throughout.
func (w *World) Hosts() []string {
	var names []string
	for _, h := range w.hosts {
		names = append(names, h.name)
	}
	return names
}

// Begin is the first change: everything comes into being.
func (w *World) Begin() Edit {
	var begin Edit
	begin.What = "begin"
	var all Step
	for _, h := range w.hosts {
		for _, c := range Backends {
			all.merge(w.put(h, c))
		}
		all.merge(w.choose(h, choice{}))
	}
	begin.Steps = []Step{all}
	return begin
}

// put is the step that makes the resource of a host in a cluster as it is now, under a new version.
func (w *World) put(h *host, cluster string) Step {
	s := h.sides[cluster]
	w.version++
	ended := s.version
	s.version = w.version
	t := Truth{Version: s.version, Host: h.name, Cluster: cluster, Apps: map[string]string{}}
	for i, p := range Paths {
		t.Apps[p] = s.rules[i].app
	}
	step := Step{Apply: w.ingress(h, cluster), Begins: []Truth{t}}
	if ended != 0 {
		step.Ends = []int{ended}
	}
	return step
}

// choose is the step that makes the gateway in front choose clusters.
func (w *World) choose(h *host, c choice) Step {
	h.front = c
	return Step{Apply: w.tier1(h), Fronts: []Choice{{Host: h.name, Clusters: c.clusters()}}}
}

func (w *World) ingress(h *host, cluster string) string {
	s := h.sides[cluster]
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: gateway.tsb.tetrate.io/v2\nkind: IngressGateway\nmetadata: {%s, group: %s, name: %s}\nspec:\n", w.metadata, cluster, s.resource)
	fmt.Fprintf(&b, "  workloadSelector: {namespace: %s, labels: {app: %s}}\n", w.namespace, s.gateway)
	fmt.Fprintf(&b, "  http:\n  - name: %s\n    port: 80\n    hostname: %s\n    routing:\n      rules:\n", s.server, h.name)
	for _, i := range append(slices.Clone(s.order), len(Paths)-1) {
		r := s.rules[i]
		b.WriteString("      - {")
		if i < len(Paths)-1 {
			fmt.Fprintf(&b, "match: [{uri: {prefix: %s}}], ", Paths[i])
		}
		fmt.Fprintf(&b, "route: {host: %[1]s/%[2]s.%[1]s.svc.cluster.local, port: %[3]d}, modify: {headers: {response: {set: {x-config: \"%[4]d\"}}}}}\n", w.namespace, r.app, r.port, s.version)
	}
	return b.String()
}

func (w *World) tier1(h *host) string {
	c := ""
	switch {
	case h.front.label:
		c = ", clusters: [{labels: {side: east}}]"
	case len(h.front.weights) > 0:
		var each []string
		for i, n := range h.front.names {
			each = append(each, fmt.Sprintf("{name: %s, weight: %d}", n, h.front.weights[i]))
		}
		c = ", clusters: [" + strings.Join(each, ", ") + "]"
	case len(h.front.names) > 0:
		c = ", clusters: [{name: " + strings.Join(h.front.names, "}, {name: ") + "}]"
	}
	label, _, _ := strings.Cut(h.name, ".")
	return fmt.Sprintf(`apiVersion: gateway.tsb.tetrate.io/v2
kind: Tier1Gateway
metadata: {%s, group: %s, name: %s}
spec:
  workloadSelector: {namespace: %s, labels: {app: %s}}
  externalServers:
  - {name: plain, port: 80, hostname: %s%s}
  - {name: tls, port: 443, hostname: %s, tls: {mode: SIMPLE, secretName: %s}%s}
`, w.metadata, FrontCluster, label, w.namespace, Front, h.name, c, h.name, Secret, c)
}

// Kinds of changes, in order.
func Kinds() []string { return slices.Sorted(maps.Keys(changes())) }

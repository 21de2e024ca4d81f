// Package plan says which address belongs to whom in a sandbox: one WAN, and
// for each cluster its nodes, pods, services and load balancers. It decides
// and does nothing.
package plan

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// What every sandbox shares.
const (
	Router = "198.18.0.1"  // every namespace's default gateway
	Etcd   = "198.18.0.2"  // on the router: the clusters' store
	Client = "198.18.0.10" // the client outside all clusters, "wan"
	DNS    = "198.18.0.53" // on the router: the WAN's name server

	Pods          = "10.0.0.0/8"    // everything the WAN does not route
	LoadBalancers = "198.19.0.0/16" // all clusters' load balancers
	APIPort       = 6443
	Domain        = "cluster.local"
)

// Bounds of a sandbox: the second byte of a service range is 200+k.
const (
	MaxClusters = 50
	MaxNodes    = 9
)

// ErrPlan is wrapped by every error about what was asked for.
var ErrPlan = errors.New("not a possible sandbox")

// Request is what a user asks for. The zero value of a field has a default.
type Request struct {
	Clusters []string          // names; empty means one cluster, "a"
	Nodes    int               // per cluster; 0 means 1
	NodesIn  map[string]int    // cluster → nodes, where it is another number
	NoIstio  bool              // leave Istio out
	OwnRoot  []string          // clusters that get a root certificate of their own
	Regions  map[string]string // cluster → region; without, cluster number k is in region-k
	Trust    map[string]string // cluster → trust domain of its mesh; without, that is Domain
}

// Plan is the layout of a whole sandbox.
type Plan struct {
	Clusters []Cluster `json:"clusters"`
	Istio    bool      `json:"istio"`
}

// Cluster is the layout of one cluster. Index counts from 1.
type Cluster struct {
	Name    string `json:"name"`
	Index   int    `json:"index"`
	Region  string `json:"region"`
	Network string `json:"network"`
	OwnRoot bool   `json:"ownRoot,omitempty"`
	// Trust is the trust domain of the mesh; Aliases are those of other clusters, which it takes for its own.
	Trust    string   `json:"trustDomain"`
	Aliases  []string `json:"trustDomainAliases,omitempty"`
	NodeNet  string   `json:"nodeNet"`
	PodNet   string   `json:"podNet"`
	SvcNet   string   `json:"serviceNet"`
	LBNet    string   `json:"loadBalancerNet"`
	API      string   `json:"api"`      // address of the API server on the WAN
	APISvc   string   `json:"apiSvc"`   // address of service default/kubernetes
	DNSSvc   string   `json:"dnsSvc"`   // address of service kube-system/kube-dns
	Nodes    []Node   `json:"nodes"`    // at least one
	HostPort int      `json:"hostPort"` // loopback port of the API server on the host; 0 until known
}

// Node is the layout of one node.
type Node struct {
	Name    string `json:"name"`
	IP      string `json:"ip"`
	PodCIDR string `json:"podCIDR"`
	Zone    string `json:"zone"`
	NetNS   string `json:"netns"` // name of its network namespace
	Link    string `json:"link"`  // the router's end of its cable
}

// New lays out what r asks for.
func New(r Request) (Plan, error) {
	if len(r.Clusters) == 0 {
		r.Clusters = []string{"a"}
	}
	if r.Nodes == 0 {
		r.Nodes = 1
	}
	if len(r.Clusters) > MaxClusters {
		return Plan{}, fmt.Errorf("%w: %d clusters, at most %d fit the address plan", ErrPlan, len(r.Clusters), MaxClusters)
	}
	for _, n := range append(slices.Collect(maps.Values(r.NodesIn)), r.Nodes) {
		if n < 1 || n > MaxNodes {
			return Plan{}, fmt.Errorf("%w: %d nodes per cluster, choose 1 to %d", ErrPlan, n, MaxNodes)
		}
	}
	p := Plan{Istio: !r.NoIstio}
	names := map[string]bool{}
	for i, name := range r.Clusters {
		if err := checkName(name); err != nil {
			return Plan{}, err
		}
		if names[name] {
			return Plan{}, fmt.Errorf("%w: cluster %q is named twice", ErrPlan, name)
		}
		names[name] = true
		p.Clusters = append(p.Clusters, newCluster(name, i+1, cmp.Or(r.NodesIn[name], r.Nodes)))
	}
	if err := errors.Join(
		each(&p, "--nodes-in", maps.Keys(r.NodesIn), func(*Cluster) {}),
		each(&p, "--region", maps.Keys(r.Regions), func(c *Cluster) { c.setRegion(r.Regions[c.Name]) }),
		each(&p, "--own-root", slices.Values(r.OwnRoot), func(c *Cluster) { c.OwnRoot = true }),
		each(&p, "--trust-domain", maps.Keys(r.Trust), func(c *Cluster) { c.Trust = r.Trust[c.Name] }),
		p.trustEachOther(),
	); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// each gives what a flag says to the clusters that it names.
func each(p *Plan, flag string, names iter.Seq[string], do func(*Cluster)) error {
	for name := range names {
		c := p.Cluster(name)
		if c == nil {
			return fmt.Errorf("%w: %s names cluster %q, which is not among %s", ErrPlan, flag, name, strings.Join(p.Names(), ", "))
		}
		do(c)
	}
	return nil
}

// trustEachOther makes every mesh take the identities of the others, as meshes with one root do.
func (p *Plan) trustEachOther() error {
	for i := range p.Clusters {
		c := &p.Clusters[i]
		if !trustDomain.MatchString(c.Trust) {
			return fmt.Errorf("%w: %q is not a trust domain", ErrPlan, c.Trust)
		}
		for _, o := range p.Clusters {
			if o.Trust != c.Trust && !slices.Contains(c.Aliases, o.Trust) {
				c.Aliases = append(c.Aliases, o.Trust)
			}
		}
	}
	return nil
}

// trustDomain is what SPIFFE allows for one.
var trustDomain = regexp.MustCompile(`^[a-z0-9._-]{1,255}$`)

func newCluster(name string, k, nodes int) Cluster {
	c := Cluster{
		Name:    name,
		Index:   k,
		Network: name,
		Trust:   Domain,
		NodeNet: fmt.Sprintf("198.18.%d.0/24", k),
		PodNet:  fmt.Sprintf("10.%d.0.0/16", 100+k),
		SvcNet:  fmt.Sprintf("10.%d.0.0/16", 200+k),
		LBNet:   fmt.Sprintf("198.19.%d.0/24", k),
		API:     fmt.Sprintf("198.18.%d.10", k),
		APISvc:  fmt.Sprintf("10.%d.0.1", 200+k),
		DNSSvc:  fmt.Sprintf("10.%d.0.10", 200+k),
	}
	for i := range nodes {
		c.Nodes = append(c.Nodes, Node{
			Name:    fmt.Sprintf("node%d", i+1),
			IP:      fmt.Sprintf("198.18.%d.%d", k, 10+i),
			PodCIDR: fmt.Sprintf("10.%d.%d.0/24", 100+k, i),
			NetNS:   fmt.Sprintf("c%dn%d", k, i+1),
			Link:    fmt.Sprintf("c%dn%d", k, i+1),
		})
	}
	c.setRegion(fmt.Sprintf("region-%d", k))
	return c
}

// setRegion places the cluster; its nodes take turns in two zones.
func (c *Cluster) setRegion(region string) {
	c.Region = region
	for i := range c.Nodes {
		c.Nodes[i].Zone = fmt.Sprintf("%s-%c", region, 'a'+i%2)
	}
}

// Cluster returns the cluster of that name, or nil.
func (p *Plan) Cluster(name string) *Cluster {
	for i := range p.Clusters {
		if p.Clusters[i].Name == name {
			return &p.Clusters[i]
		}
	}
	return nil
}

// Names lists the clusters in order.
func (p *Plan) Names() []string {
	var out []string
	for _, c := range p.Clusters {
		out = append(out, c.Name)
	}
	return out
}

// Where resolves the WHERE of "sandbox exec": "wan", "core", a cluster (its
// first node) or "cluster/node2". It returns the network namespace's name and
// the cluster, which is nil for "wan" and "core".
func (p *Plan) Where(where string) (netns string, c *Cluster, err error) {
	if where == "wan" || where == "core" {
		return where, nil, nil
	}
	name, node, _ := strings.Cut(where, "/")
	c = p.Cluster(name)
	if c == nil {
		return "", nil, fmt.Errorf("no cluster %q: say wan, core, or one of %s", name, strings.Join(p.Names(), ", "))
	}
	if node == "" {
		return c.Nodes[0].NetNS, c, nil
	}
	for _, n := range c.Nodes {
		if n.Name == node {
			return n.NetNS, c, nil
		}
	}
	return "", nil, fmt.Errorf("cluster %q has no node %q, only node1 to node%d", name, node, len(c.Nodes))
}

// HasLB reports whether addr lies in the cluster's load-balancer range and can
// be given out.
func (c *Cluster) HasLB(addr string) bool {
	a, err := netip.ParseAddr(addr)
	if err != nil || !a.Is4() {
		return false
	}
	last := a.As4()[3]
	return netip.MustParsePrefix(c.LBNet).Contains(a) && last > 0 && last < 255
}

// checkName wants a DNS label short enough for every name made from it, and
// none of the words that WHERE reserves.
func checkName(name string) error {
	if !regexp.MustCompile(`^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`).MatchString(name) {
		return fmt.Errorf("%w: cluster name %q is not a DNS label of at most 40 characters that starts with a letter", ErrPlan, name)
	}
	if name == "wan" || name == "core" {
		return fmt.Errorf("%w: %q is not a cluster's name, it means a place outside all clusters", ErrPlan, name)
	}
	return nil
}

package plan

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestNew(t *testing.T) {
	for name, tc := range map[string]struct {
		in   Request
		want []string // clusters
		err  error
	}{
		"Default":      {in: Request{}, want: []string{"a"}},
		"Two":          {in: Request{Clusters: []string{"east", "west"}, Nodes: 2, OwnRoot: []string{"west"}}, want: []string{"east", "west"}},
		"Twice":        {in: Request{Clusters: []string{"a", "a"}}, err: ErrPlan},
		"Upper":        {in: Request{Clusters: []string{"A"}}, err: ErrPlan},
		"Empty":        {in: Request{Clusters: []string{""}}, err: ErrPlan},
		"Reserved":     {in: Request{Clusters: []string{"wan"}}, err: ErrPlan},
		"Slash":        {in: Request{Clusters: []string{"a/b"}}, err: ErrPlan},
		"TooManyNodes": {in: Request{Nodes: 10}, err: ErrPlan},
		"Negative":     {in: Request{Nodes: -1}, err: ErrPlan},
		"ForeignRoot":  {in: Request{Clusters: []string{"a"}, OwnRoot: []string{"b"}}, err: ErrPlan},
		"NodesIn":      {in: Request{Clusters: []string{"a", "b"}, NodesIn: map[string]int{"b": 2}}, want: []string{"a", "b"}},
		"NoNode":       {in: Request{NodesIn: map[string]int{"a": 0}}, err: ErrPlan},
		"ForeignNodes": {in: Request{NodesIn: map[string]int{"b": 2}}, err: ErrPlan},
		"ForeignTrust": {in: Request{Trust: map[string]string{"b": "x"}}, err: ErrPlan},
		"NoTrust":      {in: Request{Trust: map[string]string{"a": "X Y"}}, err: ErrPlan},
		"NoRegion":     {in: Request{Regions: map[string]string{"b": "eu"}}, err: ErrPlan},
		"TooMany":      {in: Request{Clusters: make([]string, 51)}, err: ErrPlan},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := New(tc.in)
			if diff := cmp.Diff(tc.err, err, cmpopts.EquateErrors()); diff != "" {
				t.Fatalf("New(%+v) error (-want +got):\n%s", tc.in, diff)
			}
			if diff := cmp.Diff(tc.want, got.Names()); diff != "" {
				t.Errorf("New(%+v) (-want +got):\n%s", tc.in, diff)
			}
		})
	}
}

func TestTrust(t *testing.T) {
	p, err := New(Request{Clusters: []string{"a", "b", "c"}, Trust: map[string]string{"c": "c.example"}, NodesIn: map[string]int{"b": 2}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		trust   string
		aliases []string
		nodes   int
	}{{Domain, []string{"c.example"}, 1}, {Domain, []string{"c.example"}, 2}, {"c.example", []string{Domain}, 1}} {
		c := p.Clusters[i]
		if c.Trust != want.trust || !slices.Equal(c.Aliases, want.aliases) || len(c.Nodes) != want.nodes {
			t.Errorf("cluster %s has the trust domain %s, aliases %v and %d nodes, want %v", c.Name, c.Trust, c.Aliases, len(c.Nodes), want)
		}
	}
}

// No two things of the largest sandbox share an address.
func TestRangesAreDisjoint(t *testing.T) {
	r := Request{Nodes: MaxNodes}
	for i := range MaxClusters {
		r.Clusters = append(r.Clusters, string(rune('a'+i/26))+string(rune('a'+i%26)))
	}
	p, err := New(r)
	if err != nil {
		t.Fatal(err)
	}
	shared := netip.MustParsePrefix("198.18.0.0/24")
	all := map[string]netip.Prefix{"shared": shared}
	for _, c := range p.Clusters {
		for what, cidr := range map[string]string{"nodes": c.NodeNet, "pods": c.PodNet, "services": c.SvcNet, "lb": c.LBNet} {
			all[c.Name+" "+what] = netip.MustParsePrefix(cidr)
		}
		for _, n := range c.Nodes {
			if !netip.MustParsePrefix(c.NodeNet).Contains(netip.MustParseAddr(n.IP)) {
				t.Errorf("%s/%s: address %s is not in %s", c.Name, n.Name, n.IP, c.NodeNet)
			}
			if !netip.MustParsePrefix(c.PodNet).Contains(netip.MustParsePrefix(n.PodCIDR).Addr()) {
				t.Errorf("%s/%s: pods %s are not in %s", c.Name, n.Name, n.PodCIDR, c.PodNet)
			}
		}
	}
	for an, a := range all {
		for bn, b := range all {
			if an != bn && a.Overlaps(b) {
				t.Errorf("%s %s overlaps %s %s", an, a, bn, b)
			}
		}
	}
}

func TestWhere(t *testing.T) {
	p, err := New(Request{Clusters: []string{"a", "b"}, Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		in, want string
		fails    bool
	}{
		"Wan":       {in: "wan", want: "wan"},
		"Core":      {in: "core", want: "core"},
		"FirstNode": {in: "b", want: "c2n1"},
		"Second":    {in: "a/node2", want: "c1n2"},
		"NoCluster": {in: "c", fails: true},
		"NoNode":    {in: "a/node3", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := p.Where(tc.in)
			if (err != nil) != tc.fails || got != tc.want {
				t.Errorf("Where(%q) = %q, %v; want %q, error %t", tc.in, got, err, tc.want, tc.fails)
			}
		})
	}
}

func TestHasLB(t *testing.T) {
	p, err := New(Request{})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"198.19.1.1": true, "198.19.1.254": true, "198.19.1.0": false, "198.19.1.255": false,
		"198.19.2.1": false, "nonsense": false, "::1": false,
	} {
		if got := p.Clusters[0].HasLB(addr); got != want {
			t.Errorf("HasLB(%q) = %t, want %t", addr, got, want)
		}
	}
}

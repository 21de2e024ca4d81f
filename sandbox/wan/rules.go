package wan

import (
	"fmt"
	"strings"

	"isthmus.dev/sandbox/plan"
)

// coreRules is the router's filter. Chain user is empty and never written by
// the sandbox: a test may block there what it likes.
func coreRules(p plan.Plan) string {
	var same, nodes strings.Builder
	for _, c := range p.Clusters {
		// A cluster's own nodes reach each other and each other's pods, cut
		// off or not: the WAN only stands in for their local network.
		fmt.Fprintf(&same, "\t\tiifname \"c%dn*\" oifname \"c%dn*\" accept\n", c.Index, c.Index)
		fmt.Fprintf(&nodes, "\t\tip saddr %s tcp dport 2379 accept\n", c.API)
	}
	return fmt.Sprintf(`table inet wan {
	set cut {
		type ipv4_addr
		flags interval
	}
	set lb {
		type ipv4_addr
	}
	chain user {
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
%s		ip saddr %s drop
		ip daddr %s drop
		ip saddr @cut drop
		ip daddr @cut drop
		ip daddr %s ip daddr != @lb drop
		ip saddr %s ip saddr != @lb drop
		jump user
	}
	chain input {
		type filter hook input priority filter; policy accept;
		iifname "lo" accept
%s		tcp dport 2379 drop
		ip saddr @cut udp dport 53 drop
		ip saddr @cut tcp dport 53 drop
	}
}
`, same.String(), plan.Pods, plan.Pods, plan.LoadBalancers, plan.LoadBalancers, nodes.String())
}

// nodeRules hides pods behind their node's address outside the cluster, and
// swallows what is addressed to a load balancer that nobody owns. The filter
// runs after kube-proxy's translation, so it sees only what was left over.
func nodeRules(c plan.Cluster) string {
	return fmt.Sprintf(`table inet sandbox {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr %s ip daddr != { %s, %s } masquerade
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ip daddr %s drop
	}
	chain output {
		type filter hook output priority filter; policy accept;
		ip daddr %s drop
	}
}
`, c.PodNet, c.PodNet, c.NodeNet, c.LBNet, c.LBNet)
}

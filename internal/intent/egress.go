package intent

import "isthmus.dev/isthmus/internal/resource"

// Egress is what a gateway does with requests from within the mesh to hosts outside of it.
type Egress struct {
	// Name is unique in the namespace.
	Name string
	// Service of the gateway, "<name>.<namespace>.svc.cluster.local", that callers know; empty when there is none.
	Service string
	// Identities of the gateway's pods, sorted.
	Identities []string
	// Rules let requests pass; what none of them is about is refused.
	Rules []EgressRule
}

// EgressRule lets callers make requests.
type EgressRule struct {
	// Anybody with an identity of the mesh; otherwise one of Callers.
	Anybody bool
	Callers []Identity
	To      []Outside
}

// Identity is that of a workload, "spiffe://<trust domain>/ns/<namespace>/sa/<account>", or the beginning of those of several.
type Identity struct {
	Name   string
	Prefix bool
}

// Outside is a kind of requests to some hosts.
type Outside struct {
	Host HostMatch
	Operation
}

// HostMatch has one of its fields set; without any it matches no host. Case and ports do not matter.
type HostMatch struct {
	Any                          bool
	Exact, Prefix, Suffix, Regex string
}

// Outgoing is how the calls of namespaces of one cluster leave them.
type Outgoing struct {
	Key       GatewayKey
	Workspace string
	// Owners are the resources that say so, the nearest one first.
	Owners   []resource.FQN
	Metadata Metadata
	// Namespaces, sorted.
	Namespaces []string
	// Service is the one whose pods, which Selector picks, call in this way; empty for all pods.
	Service  string
	Selector map[string]string
	// Visible are the hosts that are known, as "<namespace>/<host>" in Istio's words, sorted; without any, everything is.
	Visible []string
	// Egress is the full name of the Service that calls of unknown hosts go to; empty where they go as the mesh says.
	Egress string
	// Calls are how hosts are called, what is said of all of them first.
	Calls []Call
	// Received is nil when nothing is said.
	Received *Received
}

package intent

import "isthmus.dev/isthmus/internal/resource"

// Security is who may call some workloads of one cluster, and how.
type Security struct {
	Key       GatewayKey
	Workspace string
	// Owners are the settings that say it, the nearest one first.
	Owners   []resource.FQN
	Metadata Metadata
	Pods     []SecuredPods
}

// SecuredPods are those of a namespace, or of a service in it. What is said of them holds for sidecars; gateways let in whom
// their own configuration does.
type SecuredPods struct {
	Namespace string
	// Service and its Selector are empty for all pods of the namespace. What is said of a service takes the place of what is
	// said of its namespace.
	Service  string
	Selector map[string]string
	MTLS     MTLS
	// Access is nil where nothing is said.
	Access *Access
	// Guards stand before the workloads; a request meets all of them. Without is how many of the namespace's it does not meet.
	Guards  []Guard
	Without int
	// Extensions meet the requests that come in.
	Extensions []Extension
	// Gateways of the namespace, where there is an Access.
	Gateways []GatewayPods
}

// MTLS says whether callers must use mutual TLS; empty leaves it to the mesh.
type MTLS string

// The modes of mutual TLS, each stricter than the ones before it.
const (
	Permissive MTLS = "PERMISSIVE"
	Strict     MTLS = "STRICT"
)

// Access says which callers are let in; those of Except never are.
type Access struct {
	// Anybody, with an identity or without.
	Anybody bool
	// Callers are identities without "spiffe://", sorted: of one account, "<trust domain>/ns/<namespace>/*" of all in a
	// namespace, or "*" of everybody who has one.
	Callers []string
	Except  []string
	// HTTP lets in only what a Guard can look at.
	HTTP bool
}

// Everybody says that nobody is kept out, as without an Access.
func (a *Access) Everybody() bool {
	return a == nil || a.Anybody && len(a.Except) == 0 && !a.HTTP
}

// GatewayPods are those of one gateway.
type GatewayPods struct {
	Name   string
	Labels map[string]string
}

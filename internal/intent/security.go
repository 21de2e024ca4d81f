package intent

import "isthmus.dev/isthmus/internal/resource"

// Security is who may call the workloads of some namespaces of one cluster, and how.
type Security struct {
	Key       GatewayKey
	Workspace string
	// Owners are the settings that say it, the nearest one first.
	Owners     []resource.FQN
	Metadata   Metadata
	Namespaces []SecuredNamespace
}

// SecuredNamespace is one of them. What is said of it holds for sidecars; gateways let in whom their own configuration does.
type SecuredNamespace struct {
	Namespace string
	MTLS      MTLS
	// Access is nil for everybody.
	Access *Access
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
}

// GatewayPods are those of one gateway.
type GatewayPods struct {
	Name   string
	Labels map[string]string
}

package intent

import "isthmus.dev/isthmus/internal/resource"

// Shared is a service that several clusters have under one name, as callers of one cluster see it: beside its own pods, where there are
// some, the gateways of other clusters are called.
type Shared struct {
	Key       GatewayKey
	Workspace string
	Metadata  Metadata
	Owners    []resource.FQN
	// Host is the service's name in every cluster, "<name>.<namespace>.svc.cluster.local"; Name is that of objects.
	Host, Name string
	// Namespace of the objects: that of the service, so that its own pods count too, unless the cluster has no such namespace.
	Namespace string
	// Own says that the cluster has a Service of its own.
	Own   bool
	Ports []HostPort
	// SubjectAltNames are the identities of the pods in other clusters, sorted.
	SubjectAltNames []string
	Failover        Failover
	// Elsewhere are the gateways of other clusters, and the accounts of the pods behind each.
	Elsewhere []Elsewhere
}

// Elsewhere is a gateway that leads to the pods of a service in another cluster.
type Elsewhere struct {
	Endpoint
	// Accounts of the pods, sorted; there is at least one.
	Accounts []string
}

// EastWest are the gateways of a workspace in a cluster at which calls of other clusters for services arrive.
type EastWest struct {
	Key       GatewayKey
	Workspace string
	Doors     []Door
}

// Door is one of them. Calls pass through it as they are: mutual TLS is between the caller and the pods.
type Door struct {
	Namespace string
	Name      string
	Selector  map[string]string
	Metadata  Metadata
	Services  []Passed
}

// Passed is a service behind a Door.
type Passed struct {
	// Host is "<name>.<namespace>.svc.cluster.local"; Name is that of objects.
	Host, Name string
	// Address of the Service in the cluster, behind which only the cluster's own pods are.
	Address string
	Ports   []uint32
}

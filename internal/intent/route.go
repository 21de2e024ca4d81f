package intent

import (
	"time"

	"isthmus.dev/isthmus/internal/resource"
)

// ServiceKey names a Service in one cluster.
type ServiceKey struct {
	Cluster, Namespace, Name string
}

// In is the cluster that it is in.
func (k ServiceKey) In() string { return k.Cluster }

// Route is how a service of a cluster is called within the mesh. Gateways that lead to the service follow it in routes of their own.
type Route struct {
	Key       ServiceKey
	FQN       resource.FQN
	Workspace string
	// Host is the full name of the Service.
	Host string
	Versions
	// HTTP requests, then connections with TLS that name the service, then all others.
	HTTP     []HTTPRoute
	TLS, TCP []Forward
	Metadata Metadata
}

// Versions are what a DestinationRule for a service has to say, whoever makes it: one in the namespace of a caller hides the one
// beside the service.
type Versions struct {
	Subsets []Subset
	// Sticky is nil when requests of a caller may go to any pod.
	Sticky *Hash
	Ports  []PortSticky
}

// Subset of the pods of a service.
type Subset struct {
	Name   string
	Labels map[string]string
	Ports  []PortSticky
}

// PortSticky holds for a port.
type PortSticky struct {
	Port uint32
	Hash
}

// Fault answers in the place of the service, and lets callers wait before. Parts are percentages.
type Fault struct {
	// Status of HTTP or, when it is 0, the name of one of gRPC; neither when nothing is answered.
	Status    uint32
	GRPC      string
	AbortPart float64
	Delay     time.Duration
	DelayPart float64
}

// Mirror gets copies of requests.
type Mirror struct {
	Destination
	Part float64
}

package istio

import (
	"isthmus.dev/isthmus/internal/resource"
)

// Object is one rendered object of a cluster. It is shared and never changes.
type Object struct {
	// ID is "<group>/<version>/<Kind>/<namespace>/<name>", for example
	// "networking.istio.io/v1/ServiceEntry/xcp-multicluster/global-gateway-bookinfo-tetrate-com".
	ID string
	// Wave orders the application: 0 namespaces, 1 what is pointed to (ServiceEntry, then DestinationRule at 2),
	// 3 VirtualService, 4 the Gateway that leads to it, 5 who is sent to that. Removals go in the opposite order, after all puts.
	Wave uint32
	// JSON is the object as applied, with sorted keys.
	JSON []byte
	// Digest is the SHA-256 of JSON in hex.
	Digest string
	// Leads are the hosts that it leads to and others expose.
	Leads []string
	// Owners are the resources that it was made from, sorted: their statuses speak of it.
	Owners []resource.FQN
}

// Bundle is everything Isthmus owns in one cluster, by object ID. It is shared and never changes.
type Bundle struct {
	Cluster string
	Objects map[string]*Object
}

// Change says what became different in the bundle of one cluster from one generation to the next.
type Change struct {
	Cluster string
	// Gone means that the cluster no longer takes part: nobody says what it should run, which is not that it should run
	// nothing. The other fields are empty.
	Gone bool
	// Full means that Put is the whole bundle; otherwise objects that are not named stay as they are.
	Full bool
	Put  []*Object
	// Drop are IDs.
	Drop []string
	// Await names, for objects of Put that lead callers somewhere else than before, the clusters that have to be ready for them:
	// whose changes of the same generation have to be applied first.
	Await map[string][]string
	// Needs names, for objects of Put that lead to hosts, the objects by which those are known: they go before it.
	Needs map[string][]string
}

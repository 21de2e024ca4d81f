package intent

// Front is how the pods of a gateway call the global hosts that it is in front of, where that is not how everybody else in
// the cluster does.
type Front struct {
	Key       GatewayKey
	Workspace string
	Group     string
	Namespace string
	// Selector picks the pods.
	Selector map[string]string
	Metadata Metadata
	Hosts    []FrontHost
}

// FrontHost is a global host as the pods of a gateway call it.
type FrontHost struct {
	Host string
	// Name identifies the host among the objects of the gateway's namespace.
	Name  string
	Ports []HostPort
	// Mesh is the order in which everybody else uses the endpoints, Failover the one of the gateway.
	Mesh, Failover Failover
	Spread         Spread
	Subsets        []FrontSubset
	// Ruled: the namespace has a rule of its own for the host, which everybody else in it follows.
	Ruled bool
}

// FrontSubset is a part of the endpoints, those that have the labels.
type FrontSubset struct {
	Name   string
	Labels map[string]string
	Spread Spread
}

// Spread says where endpoints are.
type Spread struct {
	// Local: one of them is in the cluster itself.
	Local bool
	// Many: there is more than one.
	Many bool
	// Names: not all of them have addresses, some have names.
	Names bool
}

// SpreadOf some endpoints.
func SpreadOf(endpoints []Endpoint) Spread {
	s := Spread{Many: len(endpoints) > 1}
	for i := range endpoints {
		s.Local = s.Local || endpoints[i].Local
		s.Names = s.Names || !endpoints[i].IsAddress()
	}
	return s
}

// ClusterLabel is on every endpoint of a global host, with the name of its cluster.
const ClusterLabel = "xcp.tetrate.io/cluster"

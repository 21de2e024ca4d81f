package intent

import "time"

// Call is how some hosts are called. What is nil, empty or zero stays as the mesh has it.
type Call struct {
	// Host is empty for all of them. What is said of one host comes before what is said of all.
	Host string
	// Name identifies the host among the objects of a namespace.
	Name string
	// Global is how everybody else calls the host, if it is a global one.
	Global *GlobalCall
	// Versions of the host, if it is a service that has any.
	Versions *Versions
	// Timeout of a request; zero is none.
	Timeout   *time.Duration
	Retries   *Retries
	Ejection  *Ejection
	Pool      Pool
	KeepAlive *KeepAlive
	Balance   *Balance
	// MutualTLS of the mesh is insisted on.
	MutualTLS bool
	// Alone: of the pods of the namespace only some call the host in a way of their own.
	Alone bool
}

// GlobalCall is how a global host is called where nothing else is said.
type GlobalCall struct {
	Ports    []HostPort
	Failover Failover
	Spread   Spread
}

// Retries of requests that failed.
type Retries struct {
	// Attempts after the first one; none when it is 0.
	Attempts uint32
	// PerTry bounds each attempt; 0 is no bound.
	PerTry time.Duration
	// On are Envoy's words for what is tried again, Codes are statuses; the mesh's own without either.
	On    []string
	Codes []uint32
	// Base and Max of the time between attempts; Envoy's own when they are 0.
	Base, Max time.Duration
}

// Ejection leaves endpoints alone that answer with errors.
type Ejection struct {
	// Any counts all statuses from 500 on, Gateway 502 to 504, Local connections that do not come about or break.
	Any, Gateway, Local Errors
	// Interval between looks, Base and Max time of an ejection; Envoy's own when they are 0.
	Interval, Base, Max time.Duration
	MaxPercent          uint32
	// Split counts what breaks on the way under Local; otherwise it counts as if the endpoint had answered.
	Split bool
}

// Errors in a row that eject an endpoint.
type Errors struct {
	// Count is Envoy's own when it is 0.
	Count uint32
	// Percent of the cases in which it is done; nil is Envoy's own.
	Percent *uint32
}

// Pool bounds the connections and requests of a proxy to a host. What is 0 has no bound.
type Pool struct {
	MaxConnections, MaxRequests uint32
	// PerConnection is how many requests a connection serves.
	PerConnection uint32
	// Connect bounds how long a connection takes to come about.
	Connect time.Duration
}

// KeepAlive of TCP. What is 0 is the operating system's.
type KeepAlive struct {
	Probes         uint32
	Idle, Interval time.Duration
}

// Balance says which endpoint a request goes to: Simple is Istio's word for a way, or else the requests with one Hash go to
// one endpoint.
type Balance struct {
	Simple string
	Hash   *Hash
}

// Hash has one of Header, Query, Cookie and SourceIP.
type Hash struct {
	Header, Query string
	Cookie        *Cookie
	SourceIP      bool
	// Ring is the minimal size of the ring, Table the size of Maglev's table; Istio's own ring when both are 0.
	Ring, Table uint64
}

// Cookie that a proxy makes for clients that have none. With a Lifetime of 0 it lasts as long as the client likes.
type Cookie struct {
	Name, Path string
	Lifetime   time.Duration
}

// NeedsRule says that calls of the host take more than can be said of the calls of all hosts in one place.
func (c *Call) NeedsRule() bool {
	return c.Host != "" && (c.Balance != nil || c.MutualTLS || c.Pool.PerConnection != 0)
}

// Received is how proxies treat the connections that come to them from within the mesh. What is nil stays as the mesh has it.
type Received struct {
	// KeepAlive of connections to sidecars.
	KeepAlive *KeepAlive
	// Sidecars and Gateways say whose connections and requests the durations bound.
	Sidecars, Gateways bool
	// Connection bounds connections with HTTP, Stream its requests, TCP other connections.
	Connection, Stream, TCP *time.Duration
}

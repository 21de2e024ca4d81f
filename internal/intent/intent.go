// Package intent says what the configuration means, cluster by cluster: data only.
//
// It knows the names of no Istio object and of no kind of the API, so that several kinds may mean the same thing and
// one thing may be rendered in several ways. Values are shared and never change.
package intent

import (
	"net/netip"
	"time"

	"isthmus.dev/isthmus/internal/resource"
)

// Delta is what became different from one revision to the next. A nil value means that it is gone.
type Delta struct {
	Clusters map[string]*Cluster
	// Gateways by GatewayKey.
	Gateways map[GatewayKey]*Gateway
	// Hosts by host name.
	Hosts map[string]*Host
	// Outgoing by cluster and resource.
	Outgoing map[GatewayKey]*Outgoing
	// Fronts by the key of their gateway.
	Fronts map[GatewayKey]*Front
	// Security by cluster and what is protected there.
	Security map[GatewayKey]*Security
	// Hidden by cluster and workspace.
	Hidden map[GatewayKey]*Hidden
	// Routes by the service that they are about.
	Routes map[ServiceKey]*Route
	// EastWest by cluster and resource.
	EastWest map[GatewayKey]*EastWest
	// Shared by cluster and service.
	Shared map[GatewayKey]*Shared
	// Directs by cluster and resource.
	Directs map[GatewayKey]*DirectObject
}

// GatewayKey names a gateway in one cluster.
type GatewayKey struct {
	Cluster string
	FQN     resource.FQN
}

// In is the cluster that it is in.
func (k GatewayKey) In() string { return k.Cluster }

// Cluster is one that has a bundle.
type Cluster struct {
	Name string
	// Networks says that its Istio knows networks: only to such clusters endpoints may name one.
	Networks bool
	// Reach is the same for clusters that can call the same networks; empty for those that can call all.
	Reach string
}

// Gateway is the configuration of the pods of one gateway in one cluster.
type Gateway struct {
	Key       GatewayKey
	Workspace string
	Group     string
	Namespace string
	Name      string
	// Selector picks the pods.
	Selector map[string]string
	Servers  []Server
	Hosts    []GatewayHost
	Metadata Metadata
	// Extensions meet the requests of all HTTP servers.
	Extensions []Extension
	// Origins are destinations of routes to which the gateway starts TLS of its own.
	Origins []Origin
	// Egress lets requests from within the mesh out of it; nil lets none.
	Egress *Egress
}

// Metadata is what users want on the generated objects.
type Metadata struct {
	Labels      map[string]string
	Annotations map[string]string
}

// Protocol of a server.
type Protocol string

// The protocols of a server.
const (
	HTTP        Protocol = "HTTP"
	HTTPS       Protocol = "HTTPS"
	Passthrough Protocol = "TLS"
	TCP         Protocol = "TCP"
	// TCPTLS terminates TLS and forwards what is in it as it is.
	TCPTLS Protocol = "TCP-TLS"
)

// Server accepts connections for one host on one port.
type Server struct {
	Name string
	// Port of the gateway's Service; 0 for a server that is called from within the mesh only.
	Port uint32
	// Target is the port of the pods that Port leads to; 0 when that is not known.
	Target   uint32
	Protocol Protocol
	Host     string
	// TLS is nil for what is not terminated.
	TLS *TLS
	// Internal says that calls from within the mesh end at this server: there is one such server per host.
	Internal bool
	// Closed keeps the port shut for clients outside the mesh; calls from within it go on.
	Closed bool
	// Guard stands before the routes; nil for none.
	Guard *Guard
}

// TLS says how a server terminates TLS.
type TLS struct {
	// Mode is SIMPLE, MUTUAL or OPTIONAL_MUTUAL.
	Mode            string
	Secret          string
	Certificate     string
	Key             string
	CA              string
	SubjectAltNames []string
	Ciphers         []string
	// Min and Max are protocol versions such as TLSV1_2.
	Min, Max string
}

// GatewayHost is what happens to the traffic of one host at a gateway.
type GatewayHost struct {
	Host string
	// Name identifies the host among the objects of the gateway's namespace.
	Name  string
	HTTP  []HTTPRoute
	Pass  []Forward
	TCP   []Forward
	Ports []uint32
}

// Forward sends what arrives on ports somewhere; in the mesh on any port when there are none.
type Forward struct {
	Ports []uint32
	To    []Share
}

// Share is a destination with its part of the traffic; the weights of all add up to 100.
type Share struct {
	Destination
	Weight uint32
}

// All sends everything to one destination.
func All(d Destination) []Share { return []Share{{d, 100}} }

// Destination is a service, or a global host.
type Destination struct {
	Host string
	// Port is 0 when the service has one.
	Port uint32
	// Subset of the endpoints, named as in the Front of the gateway; empty for all.
	Subset string
}

// HTTPRoute is one rule: the first one that matches wins.
type HTTPRoute struct {
	Name string
	// Ports of a gateway on which the rule holds; none in the mesh.
	Ports   []uint32
	Matches []HTTPMatch
	CORS    *CORS
	Request Headers
	// Response headers.
	Response Headers
	Rewrite  *Rewrite
	// Timeout of the whole request; nil leaves it to the mesh.
	Timeout *time.Duration
	// NoExternal lets requests pass without asking the external authorizer of the server's Guard.
	NoExternal bool
	// Fault comes before the destination; nil for none.
	Fault   *Fault
	Mirrors []Mirror
	// One of these.
	To       []Share
	Redirect *Redirect
	Direct   *Direct
}

// HTTPMatch holds when everything in it does.
type HTTPMatch struct {
	Name string
	// Port of the service that is called, 0 for any; the ports of a gateway are those of its routes.
	Port      uint32
	URI       *StringMatch
	Method    *StringMatch
	Scheme    *StringMatch
	Authority *StringMatch
	Headers   map[string]StringMatch
}

// StringMatch has one of its fields set; Exact also when all are empty.
type StringMatch struct {
	Exact, Prefix, Regex string
}

// Headers are changes to headers.
type Headers struct {
	Set, Add map[string]string
	Remove   []string
}

// Empty says that nothing changes.
func (h Headers) Empty() bool { return len(h.Set) == 0 && len(h.Add) == 0 && len(h.Remove) == 0 }

// Rewrite changes where a request goes to.
type Rewrite struct {
	// URI replaces the matched prefix; RegexURI, when set, is the pattern that URI replaces.
	URI, RegexURI string
	Authority     string
}

// Redirect sends the client elsewhere.
type Redirect struct {
	URI, Authority, Scheme string
	Port, Code             uint32
}

// Direct answers at once.
type Direct struct {
	Status uint32
	Body   []byte
	// Binary keeps bytes apart from text.
	Binary bool
}

// CORS lets pages of other origins call.
type CORS struct {
	Origins, Methods, Headers, Expose []string
	MaxAge                            *time.Duration
	Credentials                       *bool
}

// Host is a global host: callable in every cluster by its name.
type Host struct {
	Host string
	// Name identifies the host among all global hosts.
	Name string
	// Owners are the gateways that expose it, sorted.
	Owners    []resource.FQN
	Workspace string
	Metadata  Metadata
	Ports     []HostPort
	// SubjectAltNames are the identities of its gateways, sorted.
	SubjectAltNames []string
	Failover        Failover
	// Forms of the host: at least the one of FormKey{}.
	Forms map[FormKey]*Form
}

// FormKey says who sees a host in a form: the cluster Own, because it has gateways of the host, or else all clusters that agree in the
// other fields.
type FormKey struct {
	Own      string
	Networks bool
	Reach    string
}

// FormFor is the form of the host that a cluster sees. Where nothing about the host is particular to what the cluster can reach, or to networks,
// there is no form for that.
func (h *Host) FormFor(c *Cluster) (FormKey, *Form) {
	for _, key := range [...]FormKey{{Own: c.Name}, {Networks: c.Networks, Reach: c.Reach}, {Reach: c.Reach}, {Networks: c.Networks}} {
		if f, ok := h.Forms[key]; ok {
			return key, f
		}
	}
	return FormKey{}, h.Forms[FormKey{}]
}

// HostPort is a port that callers use.
type HostPort struct {
	Name     string
	Number   uint32
	Protocol Protocol
	// MTLS: callers speak mutual TLS of the mesh to the endpoints.
	MTLS bool
}

// Failover says in which order endpoints are used.
type Failover struct {
	// Off: all the same.
	Off bool
	// Priority replaces the default order.
	Priority []string
	Regions  []Region
}

// Region names who takes over for a region.
type Region struct{ From, To string }

// Serves says whether an endpoint can be called on all ports of the host.
func (h *Host) Serves(e Endpoint) bool { return len(e.Ports) >= len(h.Ports) }

// Form is how clusters of one kind see a host.
type Form struct {
	Endpoints []Endpoint
	// Local says that one of the endpoints is in the cluster itself.
	Local bool
	// Leaving are addresses of endpoints that answer and are to be called no more, sorted.
	Leaving []string
	// Via are the identities of gateways among the endpoints that only lead on to those of the host, sorted.
	Via []string
}

// Endpoint is a gateway that serves a host.
type Endpoint struct {
	Cluster string
	// Address is an IP address or a host name.
	Address string
	// Ports by the name of the HostPort.
	Ports    map[string]uint32
	Locality string
	Network  string
	// Service is the gateway's Service, "<name>.<namespace>.svc.cluster.local".
	Service string
	Local   bool
	// Hops are how many gateways lead on to the one that exposes the host: 0 for that itself.
	Hops int
	// Labels that the Service wants on its endpoints.
	Labels map[string]string
}

// IsAddress says that the endpoint has an IP address and no name.
func (e *Endpoint) IsAddress() bool {
	_, err := netip.ParseAddr(e.Address)
	return err == nil
}

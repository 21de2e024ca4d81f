// Package wellknown holds the names that the server and the edge of a cluster, or stages of the server, agree upon. Neither imports
// the other: what one writes into an object, the other finds there by these.
package wellknown

const (
	// MTLSPort is the port of a gateway on which calls from within the mesh arrive.
	MTLSPort = 15443

	// GlobalNamespace holds what makes global hosts callable, in every cluster.
	GlobalNamespace = "xcp-multicluster"

	// How names of objects begin that are made of the hosts of a gateway, and of what it lets out: routes, guards, and rules for calls
	// of other clusters. Users may have objects of their own beside them.
	RoutesPrefix = "vs-"
	GuardPrefix  = "guard-"
	EgressPrefix = "egress-"
	Tier1Prefix  = "tier1-"
	GlobalPrefix = "global-gateway-"

	// How names begin of what a gateway between clusters does for a service, and of what makes a service of several clusters one.
	DoorPrefix        = "ew-"
	DoorGatewayPrefix = "ewgen-"
	SharedEntryPrefix = "global-gwinternal-"
	SharedRulePrefix  = "global-drinternal-"

	// Names of what lets callers in and keeps them out, with the service behind them if it is about one, and how those begin that keep
	// gateways open.
	AllowName    = "allow"
	DenyName     = "deny"
	ServiceInfix = "-service-"
	OpenPrefix   = "allow-gateway-"

	// Names of what sidecars do with what they hear, and how those of their extensions begin.
	SidecarGuard  = GuardPrefix + "sidecars"
	SidecarPrefix = "inbound.sidecars."

	// GatewayLabel is unique per gateway and namespace on the pods that Isthmus installs.
	GatewayLabel = "isthmus.dev/gateway"

	// SetPrefix is how labels of endpoints begin that say which sets of clusters an endpoint is in.
	SetPrefix = "xcp.tetrate.io/clusters-"

	// DrainingAnnotation is "true" on the Service of a gateway whose install resource was deleted: it serves on for a while, so
	// that nobody who still calls it fails, and is offered to nobody.
	DrainingAnnotation = "isthmus.dev/draining"

	// LeavingAnnotation on a ServiceEntry lists, with commas, the addresses of endpoints that answer and are to be called no more: an
	// edge keeps them while routes let go of them.
	LeavingAnnotation = "isthmus.dev/leaving"

	// ExternalAddressesAnnotation on the Service of a gateway lists, with commas, the addresses at which other clusters call it.
	ExternalAddressesAnnotation = "xcp.tetrate.io/cluster-external-addresses"

	// SignInAnnotation on a guard names the Secrets whose files the gateway's pods need, each with the host that they are for,
	// as "<secret>/<host>", with commas between them.
	SignInAnnotation = "isthmus.dev/sign-in-secrets"

	// SignInMount is where the pods of installed gateways have the secrets of clients, as Envoy reads them.
	SignInMount = "/etc/isthmus/sign-in"
)

// RoutePrefix begins the names of the objects of a service with routes; the service's own name is the rest.
const RoutePrefix = "route-"

// PodNameLabels are labels that every pod has in its own way. The server does not hear of them.
var PodNameLabels = []string{"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"}

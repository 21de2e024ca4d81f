package compile

import (
	"fmt"
	"sync"

	"isthmus.dev/isthmus/internal/resource"
)

// Types of conditions.
const (
	// Accepted: the resource may do what it says.
	Accepted = "Accepted"
	// Resolved: what it refers to was found.
	Resolved = "Resolved"
	// Supported: the field is translated.
	Supported = "Supported"
	// Effective: it has the effect that it was written for.
	Effective = "Effective"
)

// Reason documents one reason of conditions.
type Reason struct {
	Type, Name, Doc string
}

// Reasons of conditions, beside "Accepted" of Accepted=True.
const (
	reasonAccepted         = "Accepted"
	reasonParentMissing    = "ParentMissing"
	reasonNamespaceTaken   = "NamespaceTaken"
	reasonNotSubset        = "NotSubset"
	reasonSystemNamespace  = "SystemNamespace"
	reasonNamespaceForeign = "NamespaceNotOwned"
	reasonHostTaken        = "HostTaken"
	reasonServerConflict   = "ServerConflict"
	reasonReservedPort     = "ReservedPort"
	reasonDirectGroup      = "DirectGroup"
	reasonBridgedGroup     = "BridgedGroup"
	reasonNameTaken        = "NameTaken"
	reasonSelectorShared   = "SelectorNotUnique"
	reasonNotTranslated    = "NotTranslated"
	reasonInvalidMetadata  = "InvalidMetadata"
	reasonUnknownService   = "UnknownService"
	reasonUnknownPort      = "UnknownPort"
	reasonNotHTTP2         = "PortNotHTTP2"
	reasonUnknownCluster   = "UnknownCluster"
	reasonUnknownNetwork   = "UnknownNetwork"
	reasonSecretMissing    = "SecretMissing"
	reasonSecretInvalid    = "SecretInvalid"
	reasonSecretPending    = "SecretPending"
	reasonSecretNoRoom     = "SecretNoRoom"
	reasonSecretsUnmounted = "SecretsNotMounted"

	reasonExtensionMissing   = "ExtensionMissing"
	reasonExtensionForbidden = "ExtensionNotAllowed"
	reasonNoEffect           = "NoEffect"

	reasonProfileMissing = "ProfileMissing"
	reasonMandated       = "Mandated"

	reasonUnknownSubset = "UnknownSubset"
	reasonPortProtocol  = "PortProtocol"
	reasonNotCombined   = "NotCombined"
	reasonNotSplit      = "NotSplit"
	reasonNoPods        = "NoPods"
	reasonRuleForeign   = "RuleOfOthers"

	reasonUnknownCaller = "UnknownCaller"
	reasonNoEgress      = "NoEgressGateway"

	reasonNotPlaced    = "NotPlaced"
	reasonNoWorkload   = "NoWorkload"
	reasonNotReady     = "NotReady"
	reasonNoService    = "NoService"
	reasonPortMissing  = "PortNotOnService"
	reasonNoMTLSPort   = "NoMTLSPort"
	reasonAmbiguous    = "AmbiguousService"
	reasonNoAddress    = "NoAddress"
	reasonNotGlobal    = "NotGlobal"
	reasonNoBackend    = "NoBackend"
	reasonNoDNSCapture = "NoDNSCapture"
	reasonRoot         = "RootMismatch"
	reasonRootsDiffer  = "RootsDiffer"
	reasonNetwork      = "NetworkMismatch"
	reasonUnreachable  = "Unreachable"
	reasonTrust        = "TrustDomainAliases"
	reasonByLocality   = "OrderedByLocality"
	reasonNowhereElse  = NowhereElse
	reasonRejected     = "ProxyRejected"
	reasonClientHidden = "ClientAddressHidden"
	reasonCookies      = "CookiesNeedTLS"
	reasonPodsShared   = "PodsShared"

	reasonNotShared   = "NotShared"
	reasonNoSidecar   = "NoSidecar"
	reasonPortsDiffer = "PortsDiffer"
)

// NowhereElse is the reason of a drained cluster's condition for each host that stays there.
const NowhereElse = "NowhereElse"

// Reasons lists every reason that a condition can have, with what it means and what to do.
func Reasons() []Reason {
	return []Reason{
		{Accepted, reasonAccepted, "Nothing speaks against the resource. This is the only reason with status True."},
		{Accepted, reasonParentMissing, "The workspace, group or other parent that the name says does not exist. Create it; until then the resource has no effect."},
		{Accepted, reasonNamespaceTaken, "Another workspace, or another group of the same type, selected the namespaces first and owns them. The rest of the selection has its effect."},
		{Accepted, reasonNotSubset, "The group selects namespaces that its workspace does not own. Those have no effect."},
		{Accepted, reasonSystemNamespace, "The namespace is one of the organization's system namespaces or belongs to Isthmus, and cannot be owned."},
		{Accepted, reasonNamespaceForeign, "The gateway's pods or the destination of a route are in a namespace that the workspace does not own. Requests for such a route are answered with 503. Let the workspace select the namespace, or set privileged on it for destinations."},
		{Accepted, reasonHostTaken, "Another workspace exposed the host first. The server is not configured until that workspace lets go of the host."},
		{Accepted, reasonServerConflict, "Another server has the same port and host, or a protocol that excludes this one, on the same pods. The first one in order of names keeps the port."},
		{Accepted, reasonReservedPort, "Port 15443 is reserved for calls from within the mesh. Choose another one."},
		{Accepted, reasonDirectGroup, "The group is in DIRECT mode: its Istio objects are supplied by users, and gateways and settings of this kind have no effect in it."},
		{Accepted, reasonBridgedGroup, "The group is in BRIDGED mode: Isthmus makes its Istio objects, and those of users have no effect in it. Put the object into a group in DIRECT mode."},
		{Accepted, reasonNameTaken, "Another resource has an object of the same kind and name in the namespace, where there can be one. Give the object another name."},
		{Accepted, reasonSelectorShared, "The labels also match gateway pods of another namespace, which Istio would configure too. Install the gateway with Isthmus, or give its pods a label of its own."},
		{Accepted, reasonExtensionForbidden, "The WasmExtension may be attached only in the places that its field allowedIn names. One of phase STATS is left out; without any other the HTTP servers of the gateway are not exposed, or services let nobody in."},
		{Supported, reasonNotTranslated, "The field is stored but not translated. A server with authentication or authorization that is not translated is not exposed at all."},
		{Supported, reasonInvalidMetadata, "The label or annotation cannot stand on a Kubernetes object, or belongs to Isthmus, and is left out."},
		{Supported, reasonNotCombined, "A rule of a gateway and a route of the service that it leads to cannot be told as one: both match the same header with different patterns, or the gateway changes what the route matches. Requests that may be meant are answered with 503 there; the message names both. Match the header by the same pattern, or in one place."},
		{Supported, reasonNotSplit, "The gateway starts TLS of its own to the service, and does not follow the service's ServiceRoute: requests go to all of its pods. Leave TLS to the mesh, or take the versions apart into Services."},
		{Resolved, reasonUnknownService, "The cluster has no such service. Requests to it are answered with 503, and what a setting says of it is not done, until it exists."},
		{Resolved, reasonUnknownPort, "The service has no such port, or several ports and none was chosen."},
		{Resolved, reasonUnknownSubset, "The service that requests are sent to has no ServiceRoute with such a subset. Requests are answered with 503, connections are closed, until it has."},
		{Resolved, reasonPortProtocol, "Istio takes the port of the Service for one of another protocol, as its name or appProtocol says, and does not follow the route there. Give the port a name such as http-web, tcp-db or tls-db."},
		{Resolved, reasonUnknownCluster, "The organization has no cluster with the name. Requests that are sent there are answered with 503 until it has."},
		{Resolved, reasonUnknownNetwork, "No cluster of the organization says that it is in the network. What is said of the network has no effect until one does."},
		{Resolved, reasonNotHTTP2, "The port of a service that is asked over gRPC does not say so, and Istio would speak HTTP/1.1 to it. Give the port of the Service a name that begins with grpc, or the appProtocol grpc. Until then every question fails."},
		{Resolved, reasonSecretMissing, "The Secret does not exist in the gateway's namespace. The port is not opened for the host until it does, so that the other hosts of the port do not wait for it; calls from within the mesh go on. A service that the gateway asks with the Secret is not asked, as if it did not answer. Where it is that of a client of a provider, requests for the host are answered with 403."},
		{Resolved, reasonSecretInvalid, "The Secret holds no certificate, key or CA that Envoy takes. The port is not opened for the host until it does, so that the other hosts of the port do not wait for it; calls from within the mesh go on. A service that the gateway asks with the Secret is not asked, as if it did not answer. Where it is that of a client of a provider, requests for the host are answered with 403."},
		{Resolved, reasonSecretPending, "The Secret with which the gateway is a client of a provider is not in the gateway's pods yet. Requests for the host are answered with 403 until it is. If that lasts, the edge of the cluster does not run, or is older than the server."},
		{Resolved, reasonSecretNoRoom, "Browsers can sign in for 32 hosts of the gateways of one namespace, and this is one more. Requests for the host are answered with 403. Move gateways to another namespace, or take the field away from a host."},
		{Resolved, reasonSecretsUnmounted, "Signing in at a provider takes a gateway that is installed with install.tetrate.io: the client's secret comes to its pods in a volume, which these pods do not have. Requests for the host are answered with 403. Pods of an older version have the volume once they are replaced."},
		{Resolved, reasonExtensionMissing, "The WasmExtension does not exist. Since it may be what decides who gets in, the HTTP servers of the gateway are not exposed, or services let nobody in, until it does or is no longer attached."},
		{Resolved, reasonProfileMissing, "There is no such Profile that may be attached here. Since it may mandate who gets in, services let nobody in until it does or is no longer attached."},
		{Resolved, reasonUnknownCaller, "The workspace, group or security domain whose services may call, the outside or other services, does not exist. Nobody may because of it, and nobody is kept out."},
		{Effective, reasonNoEgress, "The Service that calls of unknown hosts are sent to is not that of a gateway that lets calls out. They are refused until it is."},
		{Effective, reasonNoEffect, "What is said selects nothing. The message says why."},
		{Effective, reasonMandated, "A profile that is attached at the same level or further up mandates something else, which holds; the rest of the setting has its effect. Change the profile, or take the field away."},
		{Effective, reasonNotPlaced, "In no cluster does the group reach an existing namespace with the name of the workload selector's, or of the service's. The configuration follows as soon as there is one."},
		{Effective, reasonNoPods, "No ready pod of the service has the labels of the subset. What is sent there is answered with 503, connections are closed, until there is one."},
		{Effective, reasonRuleForeign, "Somebody else's DestinationRule or VirtualService is about the same service. One in the namespace of callers hides the subsets from them; beside another Istio follows the older one. Remove it, or leave the service to it."},
		{Effective, reasonNoWorkload, "No gateway pods have the labels of the workload selector."},
		{Effective, reasonNotReady, "The gateway has no pod that is ready. Callers within the mesh get 503 until there is one."},
		{Effective, reasonNoService, "No Service selects the gateway's pods, so that nobody can call them."},
		{Effective, reasonPortMissing, "The gateway's Service has no such port, neither as port nor as target port."},
		{Effective, reasonNoMTLSPort, "The gateway's Service lacks port 15443, so that no other cluster can call its hosts, and nobody the outside through it."},
		{Effective, reasonAmbiguous, "Several Services select the gateway's pods and send the same port to different target ports. Istio uses one of them."},
		{Effective, reasonNoAddress, "The gateway's Service has no address that can be called from other clusters (yet)."},
		{Effective, reasonNotGlobal, "The host cannot be called by name from within the mesh, because of a wildcard or because another gateway of the host has another kind of server. It is exposed at the gateway only."},
		{Effective, reasonNoBackend, "The gateway leads to a host that no gateway exposes in the clusters that it may call, or exposes in another way. Requests are answered with 503, connections are closed, until one does."},
		{Effective, reasonNoDNSCapture, "Calling a TCP host from within the mesh takes an address of its own, which clients only find with Istio's DNS capture. It is not on in the cluster."},
		{Effective, reasonRoot, "The mesh of one of two clusters does not trust the root of the certificates that workloads of the other one have, so that calls between them are refused. Give both an issuer below one root, or let both trust both roots (docs/operating/roots.md)."},
		{Effective, reasonRootsDiffer, "The meshes of two clusters do not trust the same root certificates. Calls between them go on as long as workloads have certificates of one that both trust. This is as it should be for a while when roots are exchanged (docs/operating/roots.md)."},
		{Effective, reasonNetwork, "The cluster's network is not the one that its Istio says (label topology.istio.io/network of istio-system). The network is left out of generated objects."},
		{Effective, reasonTrust, "Clusters have different trust domains, and the mesh of this one does not take identities of the others. Calls through a gateway's own TLS work; calls that end at a sidecar, as those of services without a gateway, are refused. Add the domains to trustDomainAliases of Istio's mesh configuration in this cluster."},
		{Effective, reasonByLocality, "Some gateways of the host are known by a name and not by an address. Istio puts such endpoints in the order of their regions and zones, and failoverPriority is left out."},
		{Effective, reasonUnreachable, "The organization's networkReachability keeps some clusters from every gateway of the host, or from every other cluster that has the service. Calls of the host are answered with 503 there, and everywhere else it is called; calls of the service stay in the cluster."},
		{Effective, reasonNowhereElse, "The cluster is drained, and the host is exposed by no other one that can be called. Callers go on calling it here; expose it in another cluster first."},
		{Effective, reasonRejected, "Envoy refuses the configuration, in its own words, and goes on with what it took last. It takes or refuses a port as a whole: until this is mended, changes of its other hosts have no effect either."},
		{Effective, reasonClientHidden, "The gateway's Service hands connections from one node to another, which puts the node's address in the place of the client's: clients behind one node are counted as one, and an address is never met. Set externalTrafficPolicy: Local on the Service, or tell Istio how many proxies stand in front (numTrustedProxies)."},
		{Effective, reasonPodsShared, "Two Services with settings of security select the same pods. Callers of those have to fulfil both settings, and of two modes of mutual TLS Istio takes that of the older object. Give the Services pods of their own, or say it of one."},
		{Effective, reasonNotShared, "Other clusters cannot call the service by its name: it is headless or of type ExternalName, it selects no pods, it has no port of TCP, or a gateway exposes its name as a host. The message says which."},
		{Effective, reasonNoSidecar, "Pods without a sidecar cannot end the mutual TLS of callers in other clusters. The service is called in its own cluster only, until all of its pods have one."},
		{Effective, reasonPortsDiffer, "A port of the service cannot be called in another cluster, because it is not there or has no name here. Give the service the same ports everywhere, and names to them. Calls of the own cluster's pods go on."},
		{Effective, reasonCookies, "Browsers keep the cookies of somebody who signed in for https only. Let them come back with an https:// redirectUri; TLS may also end in front of the gateway."},
	}
}

// no is a condition that says why something is not so.
func no(reason, field, format string, args ...any) resource.Condition {
	c := resource.Condition{Reason: reason, Field: field, Message: fmt.Sprintf(format, args...)}
	c.Type = typeOf(reason)
	return c
}

// in limits a condition to a cluster.
func in(cluster string, c resource.Condition) resource.Condition {
	c.Cluster = cluster
	return c
}

// types of the reasons, as the table says.
var types = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for _, r := range Reasons() {
		out[r.Name] = r.Type
	}
	return out
})

func typeOf(reason string) string { return types()[reason] }

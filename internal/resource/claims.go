package resource

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
)

// Claims are the things that only one workspace can have and that r asks for: "host/<hostname>" for what gateways
// expose, "front/<hostname>" for what they are in front of, "namespace/<pattern>" for what workspaces select. Sorted,
// each once.
func Claims(r *Resource) []string {
	var claims []string
	to := "host/"
	if Fronts(r.Spec) {
		to = "front/"
	}
	for _, h := range Hosts(r) {
		claims = append(claims, to+h)
	}
	if w, ok := r.Spec.(*tsbv2.Workspace); ok {
		for _, n := range w.GetNamespaceSelector().GetNames() {
			claims = append(claims, "namespace/"+n)
		}
	}
	slices.Sort(claims)
	return slices.Compact(claims)
}

// Hosts are the hostnames of the servers of r, in lower case, sorted, each once.
func Hosts(r *Resource) []string {
	var hosts []string
	for _, s := range servers(r.Spec) {
		hosts = append(hosts, strings.ToLower(s.GetHostname()))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// Fronts says whether the servers of a gateway lead to the gateways of other clusters that expose their hosts, and expose
// none themselves.
func Fronts(spec proto.Message) bool {
	switch g := spec.(type) {
	case *gatewayv2.Tier1Gateway:
		return true
	case *gatewayv2.Gateway:
		for _, r := range gatewayRoutes(g) {
			if r.route.GetClusterDestination() != nil {
				return true
			}
		}
	}
	return false
}

// server is what all servers of gateways have.
type server interface {
	GetName() string
	GetHostname() string
}

// servers are all servers of a gateway of any kind, list by list.
func servers(spec proto.Message) []server {
	switch g := spec.(type) {
	case *gatewayv2.IngressGateway:
		return slices.Concat(serversOf(g.GetHttp()), serversOf(g.GetTlsPassthrough()), serversOf(g.GetTcp()))
	case *gatewayv2.Tier1Gateway:
		return slices.Concat(serversOf(g.GetExternalServers()), serversOf(g.GetInternalServers()),
			serversOf(g.GetPassthroughServers()), serversOf(g.GetTcpExternalServers()), serversOf(g.GetTcpInternalServers()))
	case *gatewayv2.Gateway:
		return slices.Concat(serversOf(g.GetHttp()), serversOf(g.GetTls()), serversOf(g.GetTcp()))
	}
	return nil
}

func serversOf[T server](list []T) []server {
	all := make([]server, len(list))
	for i, s := range list {
		all[i] = s
	}
	return all
}

package resource

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/wellknown"
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

// Hosts are the hostnames of the servers of r, in lower case, sorted, each once: of a Gateway of Istio's those that callers in other
// clusters can call.
func Hosts(r *Resource) []string {
	var hosts []string
	if g, ok := r.Spec.(*networking.Gateway); ok {
		for _, h := range IstioHosts(g) {
			hosts = append(hosts, h.Name)
		}
	}
	for _, s := range servers(r.Spec) {
		hosts = append(hosts, strings.ToLower(s.GetHostname()))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// IstioHost is a host that a Gateway of Istio's exposes over HTTP under its whole name.
type IstioHost struct {
	// Name is in lower case; Bound is as it stands there, with the namespace whose routes it is for.
	Name, Bound string
	// Field of the specification where it is first.
	Field string
	// Called says that the Gateway itself has a server for callers within the mesh, on the port that is for that.
	Called bool
}

// IstioHosts are the hosts of a Gateway that are exposed over HTTP, with or without TLS, in their order, each once. Wildcards cannot be
// called by name, and neither can what is passed through, is no HTTP, or only redirects.
func IstioHosts(g *networking.Gateway) []IstioHost {
	var hosts []IstioHost
	for i, s := range g.GetServers() {
		if !speaksHTTP(s) {
			continue
		}
		for j, bound := range s.GetHosts() {
			_, name, within := strings.Cut(bound, "/")
			if !within {
				name = bound
			}
			name = strings.ToLower(name)
			if strings.Contains(name, "*") {
				continue
			}
			k := slices.IndexFunc(hosts, func(h IstioHost) bool { return h.Name == name })
			if k < 0 {
				k = len(hosts)
				hosts = append(hosts, IstioHost{Name: name, Bound: bound, Field: "servers[" + itoa(i) + "].hosts[" + itoa(j) + "]"})
			}
			hosts[k].Called = hosts[k].Called || s.GetPort().GetNumber() == wellknown.MTLSPort
		}
	}
	return hosts
}

// speaksHTTP says whether a server answers over HTTP, other than to send everybody to HTTPS.
func speaksHTTP(s *networking.Server) bool {
	if s.GetTls().GetHttpsRedirect() {
		return false
	}
	switch strings.ToUpper(s.GetPort().GetProtocol()) {
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
		return true
	case "HTTPS":
		mode := s.GetTls().GetMode()
		return mode != networking.ServerTLSSettings_PASSTHROUGH && mode != networking.ServerTLSSettings_AUTO_PASSTHROUGH
	}
	return false
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

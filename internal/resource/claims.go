package resource

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
)

// Claims are the things that only one workspace can have and that r asks for: "host/<hostname>" for what gateways
// expose, "namespace/<pattern>" for what workspaces select. Sorted, each once.
func Claims(r *Resource) []string {
	var claims []string
	for _, h := range Hosts(r) {
		claims = append(claims, "host/"+h)
	}
	if w, ok := r.Spec.(*tsbv2.Workspace); ok {
		for _, n := range w.GetNamespaceSelector().GetNames() {
			claims = append(claims, "namespace/"+n)
		}
	}
	slices.Sort(claims)
	return slices.Compact(claims)
}

// Hosts are the hostnames that r exposes, in lower case, sorted, each once.
func Hosts(r *Resource) []string {
	g, ok := r.Spec.(*gatewayv2.IngressGateway)
	if !ok {
		return nil
	}
	var hosts []string
	for _, s := range servers(g) {
		hosts = append(hosts, strings.ToLower(s.GetHostname()))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// server is what all servers of a gateway have.
type server interface {
	GetName() string
	GetPort() uint32
	GetHostname() string
	ProtoReflect() protoreflect.Message
}

// servers are all servers of a gateway: http, tlsPassthrough, tcp.
func servers(g *gatewayv2.IngressGateway) []server {
	var all []server
	for _, s := range g.GetHttp() {
		all = append(all, s)
	}
	for _, s := range g.GetTlsPassthrough() {
		all = append(all, s)
	}
	for _, s := range g.GetTcp() {
		all = append(all, s)
	}
	return all
}

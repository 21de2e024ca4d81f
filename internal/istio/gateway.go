package istio

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderGateway makes a Gateway and a VirtualService for each host of a gateway in a cluster, and what stands before them.
//
// Gateways and their ports are named after the host, and neither after the resource nor after its servers: Istio names routes after them, and
// requests meet none while a name changes, those of connections that are open for long after it.
func renderGateway(g *intent.Gateway) []config {
	dress := newDress(g.Metadata, g.Workspace, g.Group, []resource.FQN{g.Key.FQN})
	configs := make([]config, 0, 2*len(g.Hosts))
	servers := serversByHost(g)
	if g.Egress != nil {
		configs = append(configs, renderEgress(g, dress)...)
	}
	if g.Egress != nil || len(servers) > 0 {
		configs = append(configs, wasmPlugins(g, dress)...)
		for i := range g.Origins {
			configs = append(configs, renderOrigin(g, &g.Origins[i], dress)...)
		}
	}
	for i := range g.Hosts {
		h := &g.Hosts[i]
		own := servers[h.Host]
		if len(own) == 0 {
			continue // Istio refuses a Gateway without a server
		}
		configs = append(configs, config{
			apiVersion: networkingV1, kind: "Gateway", namespace: g.Namespace, name: gatewayName(h),
			spec: &networking.Gateway{Selector: g.Selector, Servers: own}, wave: waveGateway, dress: dress,
		})
		if len(h.HTTP)+len(h.Pass)+len(h.TCP) == 0 {
			continue // Istio refuses a VirtualService without a route
		}
		if f := guards(g, h); f != nil {
			dress := dress
			if names := signInSecrets(g, h.Host); names != "" {
				dress = dress.with(wellknown.SignInAnnotation, names)
			}
			configs = append(configs, config{
				apiVersion: "networking.istio.io/v1alpha3", kind: "EnvoyFilter", namespace: g.Namespace, name: wellknown.GuardPrefix + h.Name,
				spec: f, wave: waveEnvoyFilter, dress: dress,
			})
		}
		configs = append(configs, config{
			apiVersion: networkingV1, kind: "VirtualService", namespace: g.Namespace, name: wellknown.RoutesPrefix + h.Name,
			spec: virtualService(g, h), wave: waveVirtualService, dress: dress, leads: ledTo(h),
		})
	}
	return configs
}

// gatewayName is no longer than a DNS label: Istio takes no other name of a Gateway in a VirtualService.
func gatewayName(h *intent.GatewayHost) string {
	const room = 63 - len("-12345678")
	name := "gw-" + h.Name
	if len(name) <= 63 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:room] + "-" + hex.EncodeToString(sum[:4])
}

// serversByHost are the servers of the Gateway of each host.
func serversByHost(g *intent.Gateway) map[string][]*networking.Server {
	all := make(map[string][]*networking.Server, len(g.Hosts))
	for _, s := range g.Servers {
		if !s.Closed && s.Port != 0 {
			all[s.Host] = append(all[s.Host], gatewayServer(g, s))
		}
		if s.Internal {
			all[s.Host] = append(all[s.Host], internalServer(g, s))
		}
	}
	return all
}

// gatewayServer is what clients outside the mesh connect to. Its host is bound to the namespace, so that nobody
// else's routes attach to it.
func gatewayServer(g *intent.Gateway, s intent.Server) *networking.Server {
	out := &networking.Server{Name: s.Name, Hosts: []string{g.Namespace + "/" + s.Host}}
	port := func(prefix, protocol string) {
		out.Port = &networking.Port{Name: prefix + "-" + strconv.FormatUint(uint64(s.Port), 10), Number: s.Port, Protocol: protocol}
	}
	switch s.Protocol {
	case intent.HTTP:
		port("http", "HTTP")
	case intent.HTTPS:
		port("https", "HTTPS")
		out.Tls = serverTLS(s.TLS)
	case intent.Passthrough:
		port("tls", "TLS")
		out.Tls = &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_PASSTHROUGH}
	case intent.TCP:
		port("tcp", "TCP")
	case intent.TCPTLS:
		port("tls", "TLS")
		out.Tls = serverTLS(s.TLS)
	}
	return out
}

// internalServer is what callers within the mesh connect to, from all clusters.
func internalServer(g *intent.Gateway, s intent.Server) *networking.Server {
	protocol := "HTTPS"
	if s.Protocol == intent.TCP || s.Protocol == intent.TCPTLS {
		protocol = "TLS"
	}
	return &networking.Server{
		Name:  s.Name + "-mtls",
		Hosts: []string{g.Namespace + "/" + s.Host},
		Port:  mtlsPort(protocol),
		Tls:   mutualOfMesh(),
	}
}

// mtlsPort is where calls from within the mesh arrive; with the names of hosts, its name is that of routes.
func mtlsPort(protocol string) *networking.Port {
	return &networking.Port{Name: "mtls", Number: wellknown.MTLSPort, Protocol: protocol}
}

func mutualOfMesh() *networking.ServerTLSSettings {
	return &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_ISTIO_MUTUAL}
}

func serverTLS(t *intent.TLS) *networking.ServerTLSSettings {
	return &networking.ServerTLSSettings{
		Mode:               networking.ServerTLSSettings_TLSmode(networking.ServerTLSSettings_TLSmode_value[t.Mode]),
		CredentialName:     t.Secret,
		ServerCertificate:  t.Certificate,
		PrivateKey:         t.Key,
		CaCertificates:     t.CA,
		SubjectAltNames:    t.SubjectAltNames,
		CipherSuites:       t.Ciphers,
		MinProtocolVersion: networking.ServerTLSSettings_TLSProtocol(networking.ServerTLSSettings_TLSProtocol_value[t.Min]),
		MaxProtocolVersion: networking.ServerTLSSettings_TLSProtocol(networking.ServerTLSSettings_TLSProtocol_value[t.Max]),
	}
}

func virtualService(g *intent.Gateway, h *intent.GatewayHost) *networking.VirtualService {
	vs := &networking.VirtualService{
		ExportTo: []string{"."},
		Gateways: []string{g.Namespace + "/" + gatewayName(h)},
		Hosts:    []string{h.Host},
	}
	if len(h.HTTP) > 0 {
		vs.Http = make([]*networking.HTTPRoute, 0, len(h.HTTP))
	}
	for i := range h.HTTP {
		route := httpRoute(&h.HTTP[i])
		if i > 0 && h.HTTP[i].CORS == h.HTTP[i-1].CORS { // that of their server
			route.CorsPolicy = vs.Http[i-1].CorsPolicy
		} else {
			route.CorsPolicy = corsPolicy(h.HTTP[i].CORS)
		}
		vs.Http = append(vs.Http, route)
	}
	for _, f := range h.Pass {
		r := &networking.TLSRoute{Route: routeTo(f.To)}
		for _, p := range f.Ports {
			r.Match = append(r.Match, &networking.TLSMatchAttributes{Port: p, SniHosts: []string{h.Host}})
		}
		vs.Tls = append(vs.Tls, r)
	}
	for _, f := range h.TCP {
		r := &networking.TCPRoute{Route: routeTo(f.To)}
		for _, p := range f.Ports {
			r.Match = append(r.Match, &networking.L4MatchAttributes{Port: p})
		}
		vs.Tcp = append(vs.Tcp, r)
	}
	return vs
}

// ledTo are the hosts of subsets that routes lead to: those that other gateways expose.
func ledTo(h *intent.GatewayHost) []string {
	var hosts []string
	add := func(shares []intent.Share) {
		for _, s := range shares {
			if s.Subset != "" && !slices.Contains(hosts, s.Host) {
				hosts = append(hosts, s.Host)
			}
		}
	}
	for i := range h.HTTP {
		add(h.HTTP[i].To)
	}
	for _, f := range h.Pass {
		add(f.To)
	}
	for _, f := range h.TCP {
		add(f.To)
	}
	return hosts
}

func routeTo(shares []intent.Share) []*networking.RouteDestination {
	out := make([]*networking.RouteDestination, len(shares))
	for i, s := range shares {
		out[i] = &networking.RouteDestination{Destination: destination(s.Destination), Weight: int32(s.Weight)}
	}
	return out
}

func destination(d intent.Destination) *networking.Destination {
	out := &networking.Destination{Host: d.Host, Subset: d.Subset}
	if d.Port != 0 {
		out.Port = &networking.PortSelector{Number: d.Port}
	}
	return out
}

package istio

import (
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// renderShared makes the ServiceEntry with which the gateways of other clusters become endpoints of a service, beside its own pods, and
// the DestinationRule by which those are called first. In the namespace of a Service Istio takes the endpoints of both for one service;
// the ports are those of the Service then.
func renderShared(s *intent.Shared) []config {
	dress := newDress(s.Metadata, s.Workspace, "", s.Owners)
	spread := intent.Spread{Local: s.Own, Many: len(s.Elsewhere) > 0 && (s.Own || s.Elsewhere[0].Address != s.Elsewhere[len(s.Elsewhere)-1].Address)}
	policy := &networking.TrafficPolicy{ConnectionPool: &networking.ConnectionPoolSettings{
		Tcp: &networking.ConnectionPoolSettings_TCPSettings{ConnectTimeout: durationpb.New(connectTimeout)},
	}}
	if spread.Many {
		// Pods do not have the label, and neither do callers: for Istio that is the same.
		policy.LoadBalancer = loadBalancer(s.Failover, spread, intent.ClusterLabel, afterRegion(s))
		policy.OutlierDetection = outlierDetection(spread)
	}
	return []config{
		{
			apiVersion: networkingV1, kind: "ServiceEntry", namespace: s.Namespace, name: wellknown.SharedEntryPrefix + s.Name,
			spec: sharedEntry(s), wave: waveServiceEntry, dress: dress,
		},
		{
			apiVersion: networkingV1, kind: "DestinationRule", namespace: s.Namespace, name: wellknown.SharedRulePrefix + s.Name,
			spec: &networking.DestinationRule{Host: s.Host, ExportTo: []string{"*"}, TrafficPolicy: policy}, wave: waveDestinationRule, dress: dress,
		},
	}
}

// afterRegion is where the own cluster counts among what is near: first, wherever its pods are, unless there are other clusters in
// several regions to choose from.
func afterRegion(s *intent.Shared) int {
	region := func(e intent.Elsewhere) string { r, _, _ := strings.Cut(e.Locality, "/"); return r }
	for _, e := range s.Elsewhere {
		if region(e) != region(s.Elsewhere[0]) {
			return afterNetwork
		}
	}
	return 0
}

// sharedEntry has one endpoint for each account of the pods behind a gateway: Istio expects of a service the identities of its
// endpoints, and Envoy takes endpoints with the same address for one. What the entry itself says of identities counts for nothing where
// the Service is the younger of the two.
func sharedEntry(s *intent.Shared) *networking.ServiceEntry {
	se := &networking.ServiceEntry{
		Hosts: []string{s.Host}, ExportTo: []string{"*"}, Location: networking.ServiceEntry_MESH_INTERNAL, Resolution: networking.ServiceEntry_STATIC,
		SubjectAltNames: s.SubjectAltNames,
	}
	for _, p := range s.Ports {
		se.Ports = append(se.Ports, &networking.ServicePort{Name: p.Name, Number: p.Number, Protocol: string(p.Protocol)})
	}
	for i := range s.Elsewhere {
		e := &s.Elsewhere[i]
		for _, account := range e.Accounts {
			entry := &networking.WorkloadEntry{Address: e.Address, Ports: e.Ports, Locality: e.Locality, Labels: sharedLabels(e)}
			if s.Namespace != wellknown.GlobalNamespace { // the account of which would be another one
				entry.ServiceAccount = account
			}
			se.Endpoints = append(se.Endpoints, entry)
			if entry.ServiceAccount == "" {
				break
			}
		}
	}
	return se
}

// sharedLabels are without those of the pods, so that no subset of them has the endpoint. Without mutual TLS a caller would speak plain
// text to the gateway.
func sharedLabels(e *intent.Elsewhere) map[string]string {
	labels := map[string]string{
		"security.istio.io/tlsMode":  "istio",
		intent.ClusterLabel:          e.Cluster,
		"xcp.tetrate.io/hops":        "0",
		"xcp.tetrate.io/serviceType": "remoteGateway",
	}
	if len(e.Service) <= 63 { // the most that a label takes
		labels["xcp.tetrate.io/service"] = e.Service
	}
	for k, v := range e.Labels {
		labels[k] = v
	}
	return labels
}

// renderEastWest makes the Gateways at which calls of other clusters arrive, and what lets each through to its service.
//
// TLS is passed through as it is, by the server name that Istio gives to calls of a service. AUTO_PASSTHROUGH does that too, but leads
// to all endpoints of the service, those in other clusters among them: two clusters that have both lost their pods would send a call
// to and fro for ever.
func renderEastWest(w *intent.EastWest) []config {
	var configs []config
	for i := range w.Doors {
		configs = append(configs, renderDoor(w, &w.Doors[i])...)
	}
	return configs
}

func renderDoor(w *intent.EastWest, d *intent.Door) []config {
	dress := newDress(d.Metadata, w.Workspace, "", []resource.FQN{w.Key.FQN})
	gateway := &networking.Gateway{Selector: d.Selector, Servers: []*networking.Server{{
		Name: "east-west",
		Port: &networking.Port{Name: "tls-east-west", Number: wellknown.MTLSPort, Protocol: "TLS"},
		Tls:  &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_PASSTHROUGH},
	}}}
	configs := []config{{
		apiVersion: networkingV1, kind: "Gateway", namespace: d.Namespace, name: d.Name, spec: gateway, wave: waveGateway, dress: dress,
	}}
	for i := range d.Services {
		p := &d.Services[i]
		gateway.Servers[0].Hosts = append(gateway.Servers[0].Hosts, d.Namespace+"/*."+p.Host)
		at := func(apiVersion, kind string, spec proto.Message, wave uint32) config {
			return config{apiVersion: apiVersion, kind: kind, namespace: d.Namespace, name: wellknown.DoorPrefix + p.Name, spec: spec, wave: wave, dress: dress}
		}
		configs = append(configs,
			// Before the Gateway, and kept like the routes for as long as other clusters may call.
			at("networking.istio.io/v1alpha3", "EnvoyFilter", passedFilter(d, p), waveVirtualService),
			at(networkingV1, "VirtualService", passedRoutes(d, p), waveVirtualService))
	}
	return configs
}

// passedHost is how routes of the gateway know the Service of its own cluster. It means nothing to anybody else: a ServiceEntry would put
// a listener into the sidecars of the gateway's namespace, in the way of others on the port.
func passedHost(p *intent.Passed) string { return p.Name + ".east-west.isthmus.internal" }

// passedCluster leads to a Service of the cluster by its address, behind which only the cluster's own pods are. What it is sent is TLS
// already.
func passedCluster(p *intent.Passed, port uint32) *structpb.Struct {
	name := "outbound|" + itoa(port) + "||" + passedHost(p)
	return object(
		"name", text(name), "type", text("STATIC"), "connect_timeout", duration(connectTimeout),
		"circuit_breakers", nested("thresholds", list(nested("max_connections", number(math.MaxUint32), "max_pending_requests", number(math.MaxUint32)))),
		"load_assignment", nested("cluster_name", text(name), "endpoints", list(nested("lb_endpoints", list(nested(
			"endpoint", nested("address", nested("socket_address", nested("address", text(p.Address), "port_value", number(float64(port))))),
		))))),
	)
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// serverName is what sidecars call a port of a service, without a subset.
func serverName(p *intent.Passed, port uint32) string {
	return "outbound_." + itoa(port) + "_._." + p.Host
}

func passedRoutes(d *intent.Door, p *intent.Passed) *networking.VirtualService {
	vs := &networking.VirtualService{ExportTo: []string{"."}, Gateways: []string{d.Namespace + "/" + d.Name}}
	for _, n := range p.Ports {
		name := serverName(p, n)
		vs.Hosts = append(vs.Hosts, name)
		vs.Tls = append(vs.Tls, &networking.TLSRoute{
			Match: []*networking.TLSMatchAttributes{{Port: wellknown.MTLSPort, SniHosts: []string{name}}},
			Route: routeTo(intent.All(intent.Destination{Host: passedHost(p), Port: n})),
		})
	}
	return vs
}

// passedFilter has the clusters, and lets nothing but the mesh's mutual TLS through, which the sidecar behind ends. Other TLS it may hand
// on to the application, which would then be open to everybody who reaches the gateway.
func passedFilter(d *intent.Door, p *intent.Passed) *networking.EnvoyFilter {
	only := object("filter_chain_match", nested("application_protocols", list(
		text("istio"), text("istio-peer-exchange"), text("istio-http/1.0"), text("istio-http/1.1"), text("istio-h2"),
	)))
	f := &networking.EnvoyFilter{WorkloadSelector: &networking.WorkloadSelector{Labels: d.Selector}}
	for _, n := range p.Ports {
		f.ConfigPatches = append(f.ConfigPatches, clusterPatch(passedCluster(p, n)), &networking.EnvoyFilter_EnvoyConfigObjectPatch{
			ApplyTo: networking.EnvoyFilter_FILTER_CHAIN,
			Match: &networking.EnvoyFilter_EnvoyConfigObjectMatch{
				Context: networking.EnvoyFilter_GATEWAY,
				ObjectTypes: &networking.EnvoyFilter_EnvoyConfigObjectMatch_Listener{Listener: &networking.EnvoyFilter_ListenerMatch{
					FilterChain: &networking.EnvoyFilter_ListenerMatch_FilterChainMatch{Sni: serverName(p, n)},
				}},
			},
			Patch: &networking.EnvoyFilter_Patch{Operation: networking.EnvoyFilter_Patch_MERGE, Value: only},
		})
	}
	return f
}

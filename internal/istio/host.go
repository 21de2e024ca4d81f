package istio

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/wellknown"
)

// connectTimeout for gateways of other clusters: one that is cut off does not answer at all, and callers should not
// wait for it.
const connectTimeout = 2 * time.Second

// A gateway that cannot be called is left alone for ejectionTime, each time for so much longer, and is looked at every ejectionInterval.
const (
	ejectionTime     = 10 * time.Second
	ejectionInterval = 2 * time.Second
)

// renderForm makes the ServiceEntry of a host as clusters of one form see it, and the DestinationRule where callers speak
// mutual TLS. Both exist for as long as the host is configured: without them callers would go on in plain text.
func renderForm(h *intent.Host, f *intent.Form, dress *dress) []config {
	name, entryDress := wellknown.GlobalPrefix+h.Name, dress
	if len(f.Leaving) > 0 {
		entryDress = dress.with(wellknown.LeavingAnnotation, strings.Join(f.Leaving, ","))
	}
	spread, wave := intent.SpreadOf(f.Endpoints), uint32(waveServiceEntry)
	if spread.Names {
		wave = waveNamedEntry
	}
	configs := append(make([]config, 0, 2), config{
		apiVersion: networkingV1, kind: "ServiceEntry", namespace: wellknown.GlobalNamespace, name: name,
		spec: serviceEntry(h, f, spread), wave: wave, dress: entryDress,
	})
	if len(h.Ports) == 0 {
		return configs
	}
	return append(configs, config{
		apiVersion: networkingV1, kind: "DestinationRule", namespace: wellknown.GlobalNamespace, name: name,
		spec: &networking.DestinationRule{
			Host: h.Host, ExportTo: []string{"*"}, TrafficPolicy: policyOf(h.Host, h.Ports, h.Failover, spread),
		}, wave: waveDestinationRule, dress: dress,
	})
}

// dressOf is what all forms of a host wear.
func dressOf(h *intent.Host) *dress { return newDress(h.Metadata, h.Workspace, "", h.Owners) }

func serviceEntry(h *intent.Host, f *intent.Form, spread intent.Spread) *networking.ServiceEntry {
	se := &networking.ServiceEntry{
		Hosts:      []string{h.Host},
		ExportTo:   []string{"*"},
		Location:   networking.ServiceEntry_MESH_INTERNAL,
		Resolution: networking.ServiceEntry_STATIC,
	}
	if spread.Names {
		se.Resolution = networking.ServiceEntry_DNS
	}
	for _, p := range h.Ports {
		se.Ports = append(se.Ports, &networking.ServicePort{Name: p.Name, Number: p.Number, Protocol: string(p.Protocol)})
		if p.MTLS {
			se.SubjectAltNames = accepted(h, f)
		}
	}
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		se.Endpoints = append(se.Endpoints, &networking.WorkloadEntry{
			Address: e.Address, Ports: e.Ports, Locality: e.Locality, Network: e.Network, Labels: endpointLabels(h, e),
		})
	}
	return se
}

// accepted are the identities that callers take for the host: those of its gateways, and of gateways on the way.
func accepted(h *intent.Host, f *intent.Form) []string {
	if len(f.Via) == 0 {
		return h.SubjectAltNames
	}
	all := slices.Concat(h.SubjectAltNames, f.Via)
	slices.Sort(all)
	return slices.Compact(all)
}

func endpointLabels(h *intent.Host, e *intent.Endpoint) map[string]string {
	labels := map[string]string{
		intent.ClusterLabel:          e.Cluster,
		"xcp.tetrate.io/hops":        strconv.Itoa(e.Hops),
		"xcp.tetrate.io/serviceType": "remoteGateway",
	}
	if e.Local {
		labels["xcp.tetrate.io/serviceType"] = "localGateway"
	}
	if len(e.Service) <= 63 { // the most that a label takes
		labels["xcp.tetrate.io/service"] = e.Service
	}
	for _, p := range h.Ports {
		if p.Protocol == intent.HTTP {
			labels["xcp.tetrate.io/svc-port-80"] = "true"
		}
	}
	for k, v := range e.Labels {
		labels[k] = v
	}
	return labels
}

// policyOf is how endpoints of a host are called on its ports. TLS of the callers is passed through as it is.
func policyOf(host string, ports []intent.HostPort, failover intent.Failover, spread intent.Spread) *networking.TrafficPolicy {
	policy := &networking.TrafficPolicy{}
	for _, p := range ports {
		ps := portPolicy(p, failover, spread)
		if p.MTLS {
			ps.Tls = &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_ISTIO_MUTUAL, Sni: host}
		}
		policy.PortLevelSettings = append(policy.PortLevelSettings, ps)
	}
	return policy
}

func portPolicy(p intent.HostPort, failover intent.Failover, spread intent.Spread) *networking.TrafficPolicy_PortTrafficPolicy {
	ps := &networking.TrafficPolicy_PortTrafficPolicy{
		Port: &networking.PortSelector{Number: p.Number},
		ConnectionPool: &networking.ConnectionPoolSettings{
			Tcp: &networking.ConnectionPoolSettings_TCPSettings{ConnectTimeout: durationpb.New(connectTimeout)},
		},
		LoadBalancer:     loadBalancer(failover, spread, localGateway, afterNetwork),
		OutlierDetection: outlierDetection(spread),
	}
	if p.Protocol == intent.HTTP {
		ps.ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{UseClientProtocol: true}
	}
	return ps
}

// localGateway is what the gateways of the caller's own cluster have. With a value Istio compares the endpoint's label with it, not with
// the caller's.
const localGateway = "xcp.tetrate.io/serviceType=localGateway"

// afterNetwork is where in the default order the own cluster counts. Istio compares in order and stops at the first difference: before the
// region, it would make all other clusters equal.
const afterNetwork = 2

// loadBalancer orders endpoints: the own cluster's, which near is about, before others of the region, and those before others.
//
// Where endpoints have names they are in order of their localities alone: Istio puts labels into order only within the first locality of
// such a cluster, and istiod ends with a panic when there is a second one (loadbalancer.go, applyFailoverPriorityPerLocality).
func loadBalancer(failover intent.Failover, spread intent.Spread, near string, at int) *networking.LoadBalancerSettings {
	locality := &networking.LocalityLoadBalancerSetting{Enabled: wrapperspb.Bool(!failover.Off)}
	switch {
	case failover.Off:
	case spread.Names:
		for _, r := range failover.Regions {
			locality.Failover = append(locality.Failover, &networking.LocalityLoadBalancerSetting_Failover{From: r.From, To: r.To})
		}
	case len(failover.Priority) > 0:
		locality.FailoverPriority = failover.Priority
	case len(failover.Regions) > 0: // Istio takes one or the other
		for _, r := range failover.Regions {
			locality.Failover = append(locality.Failover, &networking.LocalityLoadBalancerSetting_Failover{From: r.From, To: r.To})
		}
	default:
		locality.FailoverPriority = []string{"topology.kubernetes.io/region", "topology.istio.io/network", "topology.kubernetes.io/zone", "topology.istio.io/subzone"}
		if spread.Local && spread.Many {
			locality.FailoverPriority = slices.Insert(locality.FailoverPriority, at, near)
		}
	}
	return &networking.LoadBalancerSettings{LocalityLbSetting: locality}
}

// outlierDetection ejects endpoints, which takes another one to go to: on the only one it turns five errors of one path
// into an outage of all. The count of all 5xx is off for the same reason; left out, Envoy's own default of five holds.
//
// Errors that a gateway answers with may be those of one path, and ten in a row are needed. A connection that does not come about, or
// breaks, is about the gateway, and after two of them in a row the last of a request's three attempts goes elsewhere.
// Ejection is short at first: a gateway may be there a moment after its address. With nobody left all are called: a pause of the
// caller's own network ejects everybody, and must not last longer than it does.
func outlierDetection(spread intent.Spread) *networking.OutlierDetection {
	if !spread.Many {
		return nil
	}
	return &networking.OutlierDetection{
		Consecutive_5XxErrors:          wrapperspb.UInt32(0),
		ConsecutiveGatewayErrors:       wrapperspb.UInt32(10),
		SplitExternalLocalOriginErrors: true,
		ConsecutiveLocalOriginFailures: wrapperspb.UInt32(2),
		Interval:                       durationpb.New(ejectionInterval),
		BaseEjectionTime:               durationpb.New(ejectionTime),
		MaxEjectionPercent:             100,
		MinHealthPercent:               1,
	}
}

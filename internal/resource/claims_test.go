package resource

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
)

// TestClaimsOfKinds: who exposes a host and who is in front of it ask for two things, so that neither takes the other's.
func TestClaimsOfKinds(t *testing.T) {
	clusters := &gatewayv2.GatewayRoute{Destination: &gatewayv2.GatewayRoute_ClusterDestination{ClusterDestination: &gatewayv2.ClusterDestinations{}}}
	service := &gatewayv2.GatewayRoute{Destination: &gatewayv2.GatewayRoute_ServiceDestination{ServiceDestination: &gatewayv2.ServiceDestination{Host: "a/b"}}}
	redirect := &gatewayv2.GatewayHttpServer{Hostname: "r.test", Routing: &gatewayv2.GatewayHttpRouting{Rules: []*gatewayv2.GatewayHttpRule{
		{Action: &gatewayv2.GatewayHttpRule_Redirect{Redirect: &gatewayv2.Redirect{Scheme: "https"}}},
	}}}
	for name, tc := range map[string]struct {
		spec proto.Message
		want []string
	}{
		"Ingress": {
			spec: &gatewayv2.IngressGateway{
				Http:           []*gatewayv2.HttpServer{{Hostname: "B.test"}, {Hostname: "b.test"}},
				TlsPassthrough: []*gatewayv2.TLSPassthroughServer{{Hostname: "p.test"}},
				Tcp:            []*gatewayv2.TCPServer{{Hostname: "a.test"}},
			},
			want: []string{"host/a.test", "host/b.test", "host/p.test"},
		},
		"Tier1": {
			spec: &gatewayv2.Tier1Gateway{
				ExternalServers:    []*gatewayv2.Tier1ExternalServer{{Hostname: "e.test"}},
				InternalServers:    []*gatewayv2.Tier1InternalServer{{Hostname: "e.test"}, {Hostname: "i.test"}},
				PassthroughServers: []*gatewayv2.Tier1PassthroughServer{{Hostname: "p.test"}},
				TcpExternalServers: []*gatewayv2.Tier1TCPExternalServer{{Hostname: "t.test"}},
				TcpInternalServers: []*gatewayv2.Tier1TCPInternalServer{{Hostname: "u.test"}},
			},
			want: []string{"front/e.test", "front/i.test", "front/p.test", "front/t.test", "front/u.test"},
		},
		"UnifiedClusters": {
			spec: &gatewayv2.Gateway{Http: []*gatewayv2.GatewayHttpServer{redirect}, Tls: []*gatewayv2.GatewayTLSServer{{Hostname: "p.test", Route: clusters}}},
			want: []string{"front/p.test", "front/r.test"},
		},
		"UnifiedService": {
			spec: &gatewayv2.Gateway{Http: []*gatewayv2.GatewayHttpServer{redirect}, Tcp: []*gatewayv2.GatewayTCPServer{{Hostname: "t.test", Route: service}}},
			want: []string{"host/r.test", "host/t.test"},
		},
		"UnifiedNeither": {
			spec: &gatewayv2.Gateway{Http: []*gatewayv2.GatewayHttpServer{redirect}},
			want: []string{"host/r.test"},
		},
		"Workspace": {
			spec: &tsbv2.Workspace{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/b", "*/a"}}},
			want: []string{"namespace/*/a", "namespace/*/b"},
		},
		"Nothing": {spec: &tsbv2.Tenant{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Claims(&Resource{Spec: tc.spec})); diff != "" {
				t.Errorf("Claims (-want +got):\n%s", diff)
			}
		})
	}
}

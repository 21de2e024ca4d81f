package edge

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestForwardedClients reads who tells gateways their clients, out of what pods carry in an annotation.
func TestForwardedClients(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		want   *bool
	}{
		"Nothing":      {"", nil},
		"OtherThings":  {"concurrency: 2", nil},
		"NoTopology":   {"gatewayTopology:", nil},
		"Proxies":      {"gatewayTopology: {numTrustedProxies: 2}", new(true)},
		"JSON":         {`{"gatewayTopology": {"numTrustedProxies": 1}}`, new(true)},
		"NoProxies":    {"gatewayTopology: {numTrustedProxies: 0}", new(false)},
		"Certificates": {"gatewayTopology: {forwardClientCertDetails: SANITIZE}", new(false)},
		"Protocol":     {"gatewayTopology: {proxyProtocol: {}}", new(true)},
		"Broken":       {"gatewayTopology: [", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var p podTemplate
			p.Metadata.Annotations = map[string]string{"proxy.istio.io/config": tc.config}
			if diff := cmp.Diff(tc.want, newGatewayPod(p, "gw").forwarded); diff != "" {
				t.Errorf("forwarded of a pod with %q (-want +got):\n%s", tc.config, diff)
			}
		})
	}
}

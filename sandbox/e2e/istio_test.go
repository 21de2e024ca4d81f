package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// istio sends a request through an injected gateway to an injected
// application, and from the other cluster's sidecar by mutual TLS to port
// 15443: one root signs both clusters' intermediates.
func istio(t *testing.T, s *sandbox) {
	for _, c := range []string{"a", "b"} {
		s.apply(t, c, "apiVersion: v1\nkind: Namespace\nmetadata: {name: mesh, labels: {istio-injection: enabled}}\n")
		s.apply(t, c, fmt.Sprintf(strings.ReplaceAll(appYAML, "metadata: {name: app}", "metadata: {name: app, namespace: mesh}"), c))
		s.apply(t, c, gatewayYAML)
	}
	for _, c := range []string{"a", "b"} {
		s.kubectl(t, c, "-n", "mesh", "wait", "--for=condition=Available", "--timeout=90s", "deployment/app", "deployment/gateway")
	}
	gw := address2(t, s, "a")
	answers(t, s, "wan", "http://"+gw+"/", "a app-")
	s.apply(t, "b", fmt.Sprintf(remoteYAML, gw))
	own := s.kubectl(t, "b", "-n", "mesh", "get", "service", "app", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	// The name exists nowhere but in Istio: its DNS capture makes it resolve.
	answers(t, s, "wan", "http://"+own+"/fetch?url=http://remote.example.test/", "a app-")
	// Envoy writes its log once a second.
	eventually(t, "the gateway's log of the call", func() error {
		logs := s.kubectl(t, "a", "-n", "mesh", "logs", "deployment/gateway", "--tail=5")
		if !strings.Contains(logs, "remote.example.test") {
			return fmt.Errorf("it is not there:\n%s", logs)
		}
		return nil
	})
}

func address2(t *testing.T, s *sandbox, cluster string) string {
	t.Helper()
	var addr string
	eventually(t, "address of the gateway", func() error {
		addr = s.kubectl(t, cluster, "-n", "mesh", "get", "service", "gateway", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
		if addr == "" {
			return fmt.Errorf("none yet")
		}
		return nil
	})
	return addr
}

const gatewayYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway, namespace: mesh}
spec:
  selector: {matchLabels: {app: gateway}}
  template:
    metadata:
      labels: {app: gateway, sidecar.istio.io/inject: "true"}
      annotations: {inject.istio.io/templates: gateway}
    spec:
      containers: [{name: istio-proxy, image: auto}]
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: mesh}
spec:
  type: LoadBalancer
  selector: {app: gateway}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: tls, port: 15443}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway, namespace: mesh}
spec:
  selector: {app: gateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
  - port: {number: 15443, name: mtls, protocol: HTTPS}
    hosts: [remote.example.test]
    tls: {mode: ISTIO_MUTUAL}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: gateway, namespace: mesh}
spec:
  gateways: [gateway]
  hosts: ["*"]
  http: [{route: [{destination: {host: app.mesh.svc.cluster.local, port: {number: 80}}}]}]
`

const remoteYAML = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: remote, namespace: mesh}
spec:
  hosts: [remote.example.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: %s, ports: {http: 15443}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: remote, namespace: mesh}
spec:
  host: remote.example.test
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL, sni: remote.example.test}}
`

//go:build e2e

package e2e

import (
	"fmt"
	"sync"
	"testing"
)

// clientYAML is a pod with curl and a sidecar; capture says whether the sidecar answers DNS.
const clientYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: bookinfo-front}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata:
      labels: {app: %[1]s}
      annotations:
        proxy.istio.io/config: '{"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "%[2]t"}}'
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: client
        image: sandbox.local/tools:dev
        command: [sleep, infinity]
`

// The two clients of the tests: one whose sidecar answers DNS, one that asks the cluster's DNS.
const (
	captured = "client-captured"
	plainDNS = "client-plain-dns"
)

var startClients sync.Once

// clients makes sure that both clients run.
func clients(t *testing.T) {
	t.Helper()
	startClients.Do(func() {
		kubectlApply(t, front, fmt.Sprintf(clientYAML, captured, true))
		kubectlApply(t, front, fmt.Sprintf(clientYAML, plainDNS, false))
		for _, c := range []string{captured, plainDNS} {
			kubectl(t, front, "rollout", "status", "-n", "bookinfo-front", "deploy/"+c, "--timeout=60s")
		}
	})
}

package offline_test

import (
	"bytes"
	"fmt"
	"testing"

	"isthmus.dev/isthmus/internal/compile"
	"isthmus.dev/isthmus/internal/compile/offline"
	"isthmus.dev/isthmus/internal/resource"
)

// text has 40 workspaces, each with a group and 98 gateways.
func text() []byte {
	var b bytes.Buffer
	for w := range 40 {
		meta := fmt.Sprintf("{organization: o, tenant: t, name: w%d}", w)
		fmt.Fprintf(&b, "apiVersion: api.tsb.tetrate.io/v2\nkind: Workspace\nmetadata: %s\nspec: {namespaceSelector: {names: [\"*/ns%d\"]}}\n---\n", meta, w)
		meta = fmt.Sprintf("{organization: o, tenant: t, workspace: w%d, name: g}", w)
		fmt.Fprintf(&b, "apiVersion: gateway.tsb.tetrate.io/v2\nkind: Group\nmetadata: %s\nspec: {namespaceSelector: {names: [\"*/ns%d\"]}}\n---\n", meta, w)
		for g := range 98 {
			fmt.Fprintf(&b, `apiVersion: gateway.tsb.tetrate.io/v2
kind: IngressGateway
metadata:
  organization: o
  tenant: t
  workspace: w%[1]d
  group: g
  name: gw%[2]d
spec:
  workloadSelector:
    namespace: ns%[1]d
    labels:
      app: gw%[2]d
  http:
  - name: shop
    port: 443
    hostname: h%[2]d.w%[1]d.example.com
    tls:
      mode: SIMPLE
      secretName: cert
    routing:
      rules:
      - route:
          host: ns%[1]d/app.ns%[1]d.svc.cluster.local
          port: 8080
---
`, w, g)
		}
	}
	return b.Bytes()
}

// BenchmarkOffline parses, checks and compiles 4,000 objects for one cluster, as tctl does without a server.
func BenchmarkOffline(b *testing.B) {
	in := text()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		decoded, problems := resource.Decode([]resource.File{{Name: "big.yaml", Data: in}})
		if len(decoded) != 4000 || len(problems) > 0 {
			b.Fatalf("%d objects, %d problems", len(decoded), len(problems))
		}
		input := offline.Input{Clusters: []string{"c1"}}
		for _, d := range decoded {
			input.Resources = append(input.Resources, d.Resource)
		}
		res := compile.New().RunAll(offline.Snapshot(input))
		if g, h := len(res.Delta.Gateways), len(res.Delta.Hosts); g != 3920 || h != 3920 {
			b.Fatalf("%d gateways and %d hosts, want 3920 of each", g, h)
		}
	}
	b.ReportMetric(4000, "objects")
}

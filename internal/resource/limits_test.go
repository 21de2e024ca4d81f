package resource

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

// manyGateways is text of n objects: workspaces, groups and gateways like those of the guide.
func manyGateways(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `apiVersion: gateway.tsb.tetrate.io/v2
kind: IngressGateway
metadata:
  organization: tetrate
  tenant: test
  workspace: w%[2]d
  group: g%[2]d
  name: gw%[1]d
spec:
  workloadSelector:
    namespace: ns%[2]d
    labels:
      app: gw%[1]d
  http:
  - name: shop
    port: 443
    hostname: h%[1]d.example.com
    tls:
      mode: SIMPLE
      secretName: cert
    routing:
      rules:
      - match:
        - uri:
            prefix: /details
        route:
          host: ns%[2]d/details.ns%[2]d.svc.cluster.local
          port: 9080
      - route:
          host: ns%[2]d/web.ns%[2]d.svc.cluster.local
          port: 9080
---
`, i, i%100)
	}
	return b.Bytes()
}

// TestLimits: five megabytes are accepted, what is above the limit is refused with the limit.
func TestLimits(t *testing.T) {
	big := manyGateways(9000)
	if len(big) < 5<<20 {
		t.Fatalf("only %d bytes", len(big))
	}
	decoded, problems := Decode([]File{{"big.yaml", big}})
	if len(decoded) != 9000 || len(problems) > 0 {
		t.Errorf("%d objects, %v", len(decoded), problems[:min(3, len(problems))])
	}
	_, problems = Decode([]File{{"large.yaml", bytes.Repeat([]byte("#\n"), DefaultLimit/2+1)}, {"empty.yaml", nil}})
	want := []Problem{
		{File: "large.yaml", Message: "is larger than the limit of 16 MiB per file: split it"},
		{File: "empty.yaml", Message: "has no documents"},
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("Decode (-want +got):\n%s", diff)
	}
	_, problems = Decoder{Limit: 10}.Decode([]File{{"a.yaml", []byte("kind: Tenant")}})
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "10 bytes") {
		t.Errorf("Decode with a limit = %v", problems)
	}
}

// TestDepth: nesting is bounded in every place that recurses.
func TestDepth(t *testing.T) {
	n := 5000
	for name, text := range map[string]string{
		"Lists":   strings.Repeat("[", n) + strings.Repeat("]", n),
		"Objects": strings.Repeat("{a: ", n) + strings.Repeat("}", n),
		"Items":   strings.Repeat("{kind: List, items: [", n/10) + strings.Repeat("]}", n/10),
		"Merge":   "a: &a {b: &b {<<: *a}}\n<<: *b\nkind: x",
		"Itself":  "&a {apiVersion: v1, kind: List, items: [*a, *a]}",
		"Spec":    "apiVersion: api.tsb.tetrate.io/v2\nkind: Cluster\nmetadata: {organization: a, name: b}\nspec: &s {labels: *s, namespaceScope: *s, namespaces: *s}",
	} {
		t.Run(name, func(t *testing.T) {
			if decoded, problems := Decode([]File{{"a.yaml", []byte(text)}}); len(problems) == 0 || len(decoded) > 0 {
				t.Errorf("Decode = %v, %v", decoded, problems)
			}
		})
	}
}

// FuzzDecode: no text makes the decoder panic, and every problem of a document has a line of the file.
func FuzzDecode(f *testing.F) {
	f.Add(manyGateways(2))
	f.Add([]byte(`{"apiVersion": "api.tsb.tetrate.io/v2", "kind": "Tenant", "metadata": {"name": "t", "organization": "o"}}`))
	f.Add([]byte("a: *x\n---\n\t\n---\n{{ .x }}: 1\n...\n"))
	f.Add([]byte("apiVersion: tsb.tetrate.io/v2\nkind: Cluster\nspec: {tokenTtl: 1h, labels: {a: b}}\nmetadata: {annotations: {tsb.tetrate.io/fqn: organizations/o/clusters/c}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := bytes.Count(text, []byte("\n")) + 1
		decoded, problems := Decode([]File{{"f.yaml", text}})
		for _, p := range problems {
			if p.Document > 0 && (p.Line < 1 || p.Line > lines) {
				t.Errorf("line %d of %d: %v", p.Line, lines, p)
			}
		}
		for _, d := range decoded {
			if d.Resource == nil {
				continue
			}
			if p := Check(d.Resource); len(p) > 0 && len(problems) == 0 {
				t.Errorf("decoded without a problem, but %v", p)
			}
			out, err := Encode([]*Resource{d.Resource})
			if err != nil {
				t.Fatal(err)
			}
			again, problems := Decode([]File{{"again.yaml", out}})
			if len(problems) > 0 || again[0].Resource.Etag != d.Resource.Etag {
				t.Errorf("%s\nread back: %v", out, problems)
			}
		}
	})
}

// BenchmarkDecode parses and checks 4,000 objects. The output is asserted: nothing was left out.
func BenchmarkDecode(b *testing.B) {
	text := manyGateways(4000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		decoded, problems := Decode([]File{{"big.yaml", text}})
		if len(decoded) != 4000 || len(problems) > 0 {
			b.Fatalf("%d objects, %d problems", len(decoded), len(problems))
		}
	}
	b.ReportMetric(4000, "objects")
}

// TestMost: what is bounded since istiod or a rate limit service takes no more.
func TestMost(t *testing.T) {
	local := &typesv2.RateLimiting_Local{}
	for range maxLimitRules + 1 {
		local.Rules = append(local.Rules, &typesv2.RateLimiting_LocalRule{TokenBucket: &typesv2.RateLimiting_TokenBucket{MaxTokens: 1, FillInterval: durationpb.New(time.Second)}})
	}
	text := &gatewayv2.HttpBody{Specifier: &gatewayv2.HttpBody_String_{String_: strings.Repeat("a", largestBody+1)}}
	c := &checker{}
	c.rateLimiting(&typesv2.RateLimiting{Config: &typesv2.RateLimiting_Local_{Local: local}}, "spec.rateLimiting")
	c.stringMatch(&typesv2.StringMatch{MatchType: &typesv2.StringMatch_Regex{Regex: strings.Repeat("a", longestRegex+1)}}, "spec.uri")
	c.body(&gatewayv2.DirectResponse{Body: text}, "spec.directResponse")
	want := []Problem{
		{Field: "spec.rateLimiting.local.rules", Message: "has 1001 rules: at most 1000 hold at once"},
		{Field: "spec.uri.regex", Message: "is longer than 1024 characters"},
		{Field: "spec.directResponse.body.string", Message: "is larger than 1 MiB"},
	}
	if diff := cmp.Diff(want, c.problems); diff != "" {
		t.Errorf("too many, too long and too large (-want +got):\n%s", diff)
	}
}

// TestManyRoutes: the field of one mistake among thousands is found, and thousands of mistakes are all said.
func TestManyRoutes(t *testing.T) {
	const routes = 3000
	text := func(host string) []byte {
		var b strings.Builder
		b.WriteString(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {organization: o, tenant: t, workspace: w, group: g, name: x, namespace: n, annotations: {tsb.tetrate.io/trafficGroup: g}}
spec:
  hosts: [cart]
  http:
`)
		for i := range routes {
			fmt.Fprintf(&b, "  - route: [{destination: {host: %q}}]\n", fmt.Sprint(host, i))
		}
		return []byte(b.String())
	}
	one := bytes.Replace(text("cart-"), []byte(`"cart-1234"`), []byte(`"not a host"`), 1)
	_, problems := Decode([]File{{"one.yaml", one}})
	if len(problems) != 1 || problems[0].Field != "spec.http[1234]" || problems[0].Line != 6+1234+1 {
		t.Errorf("one mistake: %v", problems)
	}
	if _, problems = Decode([]File{{"all.yaml", text("not a host-")}}); len(problems) != routes {
		t.Errorf("%d of %d mistakes are said", len(problems), routes)
	}
}

// TestManyProblems: a document of mistakes is refused as quickly as it is read, and each is said with its line.
func TestManyProblems(t *testing.T) {
	const names = 50_000
	var b strings.Builder
	b.WriteString("apiVersion: api.tsb.tetrate.io/v2\nkind: Workspace\nmetadata: {organization: o, tenant: t, name: w}\nspec:\n  namespaceSelector:\n    names:\n")
	for i := range names {
		fmt.Fprintf(&b, "    - x%d\n", i)
	}
	_, problems := Decode([]File{{"a.yaml", []byte(b.String())}})
	if len(problems) != names {
		t.Fatalf("%d problems, want %d", len(problems), names)
	}
	if last := problems[names-1]; last.Line != 6+names || last.Field != fmt.Sprintf("spec.namespaceSelector.names[%d]", names-1) {
		t.Errorf("the last one: %v", last)
	}
}

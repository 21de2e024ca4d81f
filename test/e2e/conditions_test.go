//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

const detailsRoute = "bookinfo-back/details.bookinfo-back.svc.cluster.local"

// What only the whole shows is a condition on its author's resource, and stops nobody else.
func TestMistakesThatOnlyTheWholeShows(t *testing.T) {
	for name, tc := range map[string]struct {
		yaml   string
		status string
		says   []string
	}{
		"ForeignNamespace": {gatewayYAML("case", "bookinfo-back", "bookinfo-back-gw", "case.tetrate.com", "kube-system/kube-dns.kube-system.svc.cluster.local"), "FAILED", []string{"kube-system", "routing.rules[0].route.host"}},
		"UnknownService":   {gatewayYAML("case", "bookinfo-back", "bookinfo-back-gw", "case.tetrate.com", "bookinfo-back/nobody.bookinfo-back.svc.cluster.local"), "FAILED", []string{"nobody", "routing.rules[0].route.host"}},
		"UnknownPort":      {strings.ReplaceAll(gatewayYAML("case", "bookinfo-back", "bookinfo-back-gw", "case.tetrate.com", detailsRoute), "port: 9080", "port: 9999"), "FAILED", []string{"9999"}},
		"MissingSecret":    {strings.ReplaceAll(gatewayYAML("case", "bookinfo-back", "bookinfo-back-gw", "case.tetrate.com", detailsRoute), "port: 80\n", "port: 443\n    tls: {mode: SIMPLE, secretName: no-such-secret}\n"), "FAILED", []string{"no-such-secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			tctlApply(t, tc.yaml)
			t.Cleanup(func() { deleteGateway(t, "case") })
			within(t, 10*time.Second, "the condition", func(ctx context.Context) error {
				return statusSays(ctx, "case", tc.status, tc.says...)
			})
			if err := wholePage(t.Context()); err != nil {
				t.Errorf("another gateway suffers: %v", err)
			}
		})
	}
}

// A second workspace can neither take a namespace nor a host that the first one has.
func TestSecondWorkspace(t *testing.T) {
	const yaml = `
apiVersion: api.tsb.tetrate.io/v2
kind: Workspace
metadata: {organization: tetrate, tenant: test, name: aaa-second}
spec: {namespaceSelector: {names: ["*/bookinfo-back", "*/second"]}}
---
apiVersion: gateway.tsb.tetrate.io/v2
kind: Group
metadata: {organization: tetrate, tenant: test, workspace: aaa-second, name: gw}
spec: {configMode: BRIDGED, namespaceSelector: {names: ["*/second"]}}
---
apiVersion: gateway.tsb.tetrate.io/v2
kind: IngressGateway
metadata: {organization: tetrate, tenant: test, workspace: aaa-second, group: gw, name: thief}
spec:
  workloadSelector: {namespace: second, labels: {app: second-gw}}
  http:
  - name: stolen
    port: 80
    hostname: bookinfo-back.tetrate.com
    routing: {rules: [{route: {host: second/any.second.svc.cluster.local, port: 9080}}]}
`
	tctlApply(t, yaml)
	t.Cleanup(func() { tctl(t, "delete", "workspace", "aaa-second", "--org", "tetrate", "--tenant", "test") })
	status := func(args ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			out, err := tryTctl(ctx, "", append(append([]string{"status"}, args...), "--org", "tetrate", "--tenant", "test", "-o", "yaml")...)
			if err != nil {
				return err
			}
			if !containsAll(out, []string{"status: FAILED", "workspaces/bookinfo"}) {
				return fmt.Errorf("the status does not name the owner:\n%s", out)
			}
			return nil
		}
	}
	within(t, 10*time.Second, "the workspace is told who has the namespace", status("workspace", "aaa-second"))
	within(t, 10*time.Second, "the gateway is told who has the host", status("ingressgateway", "thief", "-w", "aaa-second", "-l", "gw"))
	if err := wholePage(t.Context()); err != nil {
		t.Errorf("the owner suffers: %v", err)
	}
}

// Two gateways of one name and label in two namespaces stay apart, and a namespace that appears later joins by itself.
func TestNamespaceThatJoinsLater(t *testing.T) {
	const yaml = `
apiVersion: api.tsb.tetrate.io/v2
kind: Workspace
metadata: {organization: tetrate, tenant: test, name: later}
spec: {namespaceSelector: {names: ["tsb-tier2gcp2/later"]}}
---
apiVersion: gateway.tsb.tetrate.io/v2
kind: Group
metadata: {organization: tetrate, tenant: test, workspace: later, name: gw}
spec: {configMode: BRIDGED, namespaceSelector: {names: ["tsb-tier2gcp2/later"]}}
---
apiVersion: gateway.tsb.tetrate.io/v2
kind: IngressGateway
metadata: {organization: tetrate, tenant: test, workspace: later, group: gw, name: later-gw}
spec:
  workloadSelector: {namespace: later, labels: {app: bookinfo-back-gw}}
  http:
  - name: later
    port: 80
    hostname: later.tetrate.com
    routing: {rules: [{directResponse: {status: 204}}]}
`
	const install = `
apiVersion: v1
kind: Namespace
metadata: {name: later, labels: {istio-injection: enabled}}
---
apiVersion: install.tetrate.io/v1alpha1
kind: IngressGateway
metadata: {name: bookinfo-back-gw, namespace: later}
spec: {kubeSpec: {service: {type: LoadBalancer}}}
`
	clients(t)
	tctlApply(t, yaml)
	t.Cleanup(func() {
		tctl(t, "delete", "workspace", "later", "--org", "tetrate", "--tenant", "test")
		for _, c := range []string{front, back} {
			kubectl(t, c, "delete", "namespace", "later", "--ignore-not-found", "--timeout=60s")
		}
	})
	kubectlApply(t, back, install)
	kubectl(t, front, "create", "namespace", "later")
	within(t, 40*time.Second, "the gateway answers", func(ctx context.Context) error {
		out, err := tryKubectl(ctx, front, "exec", "-n", "bookinfo-front", "deploy/"+captured, "-c", "client", "--",
			"curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "3", "http://later.tetrate.com/")
		if err != nil || out != "204" {
			return fmt.Errorf("status %q (%w)", out, err)
		}
		return nil
	})
	if out := kubectl(t, front, "get", "gw", "-n", "later", "--no-headers", "--ignore-not-found"); out != "" {
		t.Errorf("the selector names %s only, but %s has:\n%s", back, front, out)
	}
	if err := answers(captured, "/details/0", "200")(t.Context()); err != nil {
		t.Errorf("the other gateway of this name suffers: %v", err)
	}
	selector := kubectl(t, back, "get", "gw", "-n", "later", "-o", "jsonpath={.items[*].spec.selector}")
	if !strings.Contains(selector, "isthmus.dev/gateway") {
		t.Errorf("the selector %s would match pods of other namespaces", selector)
	}
}

// What is wrong in the text is refused at the door, and nothing of the batch is stored.
func TestRefusedAtTheDoor(t *testing.T) {
	good := gatewayYAML("refused", "bookinfo-back", "bookinfo-back-gw", "refused.tetrate.com", detailsRoute)
	var ten []string
	for i := range 10 {
		ten = append(ten, strings.ReplaceAll(good, "name: refused", fmt.Sprintf("name: refused%d", i)))
	}
	ten[0] = good
	ten[6] = strings.ReplaceAll(ten[6], "port: 80\n", "port: 15443\n")
	ten[8] = strings.ReplaceAll(ten[8], "hostname: refused8.tetrate.com\n", "\n")
	for name, tc := range map[string]struct {
		yaml string
		says []string
	}{
		"Port15443":    {strings.ReplaceAll(good, "port: 80\n", "port: 15443\n"), []string{"15443", "http[0].port"}},
		"UnknownField": {strings.ReplaceAll(good, "hostname:", "hostnam:"), []string{"hostnam", "hostname", ":10: document 1"}},
		"WrongType":    {strings.ReplaceAll(good, "port: 80\n", "port: eighty\n"), []string{"http[0].port"}},
		"Empty":        {"", []string{"no"}},
		"TwoOfTen":     {strings.Join(ten, "---"), []string{"document 7", "document 9", "spec.http[0].port", "spec.http[0].hostname"}},
		"TooLarge":     {good + "# " + strings.Repeat("x", 17<<20), []string{"16 MiB"}},
		"OneOfTwo":     {good + "---" + strings.ReplaceAll(good, "name: refused", "name: UPPER"), []string{"UPPER"}},
		"NoGroup":      {strings.ReplaceAll(good, "group: bookinfo-gw", "group: nowhere"), []string{"nowhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := tryTctl(t.Context(), tc.yaml, "apply", "-f", "-")
			if err == nil {
				t.Fatalf("accepted:\n%s", out)
			}
			if !containsAll(err.Error(), tc.says) {
				t.Errorf("the error lacks one of %q: %v", tc.says, err)
			}
			if out, err := tryTctl(t.Context(), "", append([]string{"get", "ingressgateway", "refused"}, scope...)...); err == nil {
				t.Errorf("a part of the batch was stored:\n%s", out)
			}
		})
	}
}

// A large file is no mistake.
func TestLargeFile(t *testing.T) {
	tctlApply(t, gatewayYAML("large", "bookinfo-back", "bookinfo-back-gw", "large.tetrate.com", detailsRoute)+"# "+strings.Repeat("x", 5<<20))
	deleteGateway(t, "large")
}

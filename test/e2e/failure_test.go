//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// edgeUser is who the edge is to its API server.
const edgeUser = "system:serviceaccount:istio-system:isthmus-edge"

// The server is gone; then a gateway pod, istiod and the edge are deleted in turn. Traffic goes on, and the edge writes
// nothing; nor does it when the server is back.
func TestLossOfTheServer(t *testing.T) {
	clients(t)
	within(t, 10*time.Second, "traffic before", wholePage)
	nothingLeaves(t)
	mark := map[string]int64{front: auditEnd(t, front), back: auditEnd(t, back)}

	kubectl(t, front, "scale", "-n", "tsb", "deploy/server", "--replicas=0")
	kubectl(t, front, "wait", "-n", "tsb", "--for=delete", "pod", "-l", "app=server", "--timeout=60s")
	serverIsBack := false
	restore := func() {
		if serverIsBack {
			return
		}
		kubectl(t, front, "scale", "-n", "tsb", "deploy/server", "--replicas=1")
		kubectl(t, front, "rollout", "status", "-n", "tsb", "deploy/server", "--timeout=60s")
		serverIsBack = true
	}
	t.Cleanup(restore)

	for _, lost := range []struct{ cluster, namespace, selector, deployment string }{
		{back, "bookinfo-back", "app=bookinfo-back-gw", "bookinfo-back-gw"},
		{front, "bookinfo-front", "app=bookinfo-front-gw", "bookinfo-front-gw"},
		{back, "istio-system", "app=istiod", "istiod"},
		{back, "istio-system", "app=edge", "edge"},
		{front, "istio-system", "app=edge", "edge"},
	} {
		kubectl(t, lost.cluster, "delete", "pod", "-n", lost.namespace, "-l", lost.selector, "--wait=true", "--grace-period=1")
		kubectl(t, lost.cluster, "rollout", "status", "-n", lost.namespace, "deploy/"+lost.deployment, "--timeout=60s")
		within(t, 30*time.Second, "traffic without the server and after "+lost.deployment+" was lost", wholePage)
	}
	time.Sleep(5 * time.Second) // whatever a new edge would write, it has had the time to
	noWrites(t, mark, "without the server")

	restore()
	within(t, 30*time.Second, "the server knows its edges again", clustersReady)
	noWrites(t, mark, "after the server came back")
}

// nothingLeaves waits for namespaces that an earlier test deleted: what is held in them is still being let go of, with writes.
func nothingLeaves(t *testing.T) {
	t.Helper()
	within(t, 90*time.Second, "no namespace is being removed", func(ctx context.Context) error {
		for _, c := range []string{front, back} {
			out, err := tryKubectl(ctx, c, "get", "namespaces", "--field-selector", "status.phase=Terminating", "-o", "name")
			if err != nil {
				return err
			}
			if out = strings.TrimSpace(out); out != "" {
				return fmt.Errorf("%s removes %s", c, out)
			}
		}
		return nil
	})
}

// noWrites fails when an edge wrote anything since the marks.
func noWrites(t *testing.T, mark map[string]int64, when string) {
	t.Helper()
	for cluster, since := range mark {
		if writes := auditWrites(t, cluster, edgeUser, since); len(writes) > 0 {
			t.Errorf("%s the edge of %s wrote:\n%s", when, cluster, strings.Join(writes, "\n"))
		}
	}
}

// clustersReady checks that the server hears both edges.
func clustersReady(ctx context.Context) error {
	for _, c := range []string{front, back} {
		out, err := tryTctl(ctx, "", "status", "cluster", c)
		if err != nil {
			return err
		}
		if !strings.Contains(out, "READY") {
			return fmt.Errorf("status of %s:\n%s", c, out)
		}
	}
	return nil
}

// A cluster that was cut off catches up when it is back, and writes nothing when there was nothing to catch up with.
func TestCutAndHealed(t *testing.T) {
	nothingLeaves(t)
	mark := map[string]int64{front: auditEnd(t, front), back: auditEnd(t, back)}
	must(t, "", "sandbox", "cut", back)
	healed := false
	heal := func() {
		if !healed {
			must(t, "", "sandbox", "heal", back)
			healed = true
		}
	}
	t.Cleanup(heal)
	within(t, 40*time.Second, "the loss is seen", func(ctx context.Context) error {
		if err := clustersReady(ctx); err == nil {
			return fmt.Errorf("%s still counts as connected", back)
		}
		return nil
	})
	heal()
	within(t, 40*time.Second, "the edge is back", clustersReady)
	within(t, 20*time.Second, "traffic is back", wholePage)
	noWrites(t, mark, "around a cut that changed nothing")
}

// Whatever somebody does to a generated object is undone within a second.
func TestDriftIsRepaired(t *testing.T) {
	const name = "global-gateway-bookinfo-back-tetrate-com"
	spec := func(ctx context.Context) (string, error) {
		return tryKubectl(ctx, front, "get", "se", "-n", "xcp-multicluster", name, "-o", "jsonpath={.spec}")
	}
	before, err := spec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mark := auditEnd(t, front)
	for what, change := range map[string][]string{
		"Changed": {"patch", "se", "-n", "xcp-multicluster", name, "--type=merge", "-p", `{"spec":{"location":"MESH_EXTERNAL"}}`},
		"Added":   {"patch", "se", "-n", "xcp-multicluster", name, "--type=merge", "-p", `{"spec":{"workloadSelector":null,"addresses":["240.1.2.3"]}}`},
		"Removed": {"patch", "se", "-n", "xcp-multicluster", name, "--type=json", "-p", `[{"op":"remove","path":"/spec/exportTo"}]`},
		"Deleted": {"delete", "se", "-n", "xcp-multicluster", name},
	} {
		t.Run(what, func(t *testing.T) {
			kubectl(t, front, change...)
			within(t, time.Second, "repair", func(ctx context.Context) error {
				got, err := spec(ctx)
				if err != nil {
					return err
				}
				if got != before {
					return fmt.Errorf("spec is %s, want %s", got, before)
				}
				return nil
			})
		})
	}
	// The same log that shows that nothing was written elsewhere shows what was written here: one write for each repair. One
	// that istiod's status overtakes is refused, and tried again.
	writes := slices.DeleteFunc(auditWrites(t, front, edgeUser, mark), func(w string) bool { return strings.HasPrefix(w, "409 ") })
	if len(writes) != 4 {
		t.Errorf("the audit log shows %d writes, want 4: %q", len(writes), writes)
	}
	within(t, 5*time.Second, "traffic", wholePage)
}

// An object of somebody else that has our name is left alone, and the resource's status says so.
func TestForeignObjectIsLeftAlone(t *testing.T) {
	const foreign = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: global-gateway-foreign-tetrate-com, namespace: xcp-multicluster}
spec:
  hosts: [mine.example.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{name: http, number: 80, protocol: HTTP}]
`
	kubectlApply(t, front, foreign)
	t.Cleanup(func() {
		kubectl(t, front, "delete", "se", "-n", "xcp-multicluster", "global-gateway-foreign-tetrate-com", "--ignore-not-found")
	})
	read := func() string {
		return kubectl(t, front, "get", "se", "-n", "xcp-multicluster", "global-gateway-foreign-tetrate-com", "-o", "jsonpath={.spec} {.metadata.resourceVersion}")
	}
	before := read()
	tctlApply(t, gatewayYAML("foreign", "bookinfo-back", "bookinfo-back-gw", "foreign.tetrate.com", "bookinfo-back/details.bookinfo-back.svc.cluster.local"))
	t.Cleanup(func() { deleteGateway(t, "foreign") })
	within(t, 10*time.Second, "the status names the object", func(ctx context.Context) error {
		return statusSays(ctx, "foreign", "FAILED", "global-gateway-foreign-tetrate-com")
	})
	if after := read(); after != before {
		t.Errorf("the foreign object was changed: %s, was %s", after, before)
	}
}

// gatewayYAML is an IngressGateway of the guide's group with one HTTP host and one route.
func gatewayYAML(name, namespace, app, host, route string) string {
	return fmt.Sprintf(`
apiVersion: gateway.tsb.tetrate.io/v2
kind: IngressGateway
metadata: {organization: tetrate, tenant: test, workspace: bookinfo, group: bookinfo-gw, name: %s}
spec:
  workloadSelector: {namespace: %s, labels: {app: %s}}
  http:
  - name: http
    port: 80
    hostname: %s
    routing:
      rules:
      - route: {host: %s, port: 9080}
`, name, namespace, app, host, route)
}

// scope names the guide's group on tctl's command line.
var scope = []string{"--org", "tetrate", "--tenant", "test", "-w", "bookinfo", "-l", "bookinfo-gw"}

func deleteGateway(t *testing.T, name string) {
	t.Helper()
	tctl(t, append([]string{"delete", "ingressgateway", name}, scope...)...)
}

// statusSays checks that the status of a gateway is as wanted and that its text contains all parts.
func statusSays(ctx context.Context, name, status string, parts ...string) error {
	out, err := tryTctl(ctx, "", append([]string{"status", "ingressgateway", name, "-o", "yaml"}, scope...)...)
	if err != nil {
		return err
	}
	if !containsAll(out, append(parts, "status: "+status)) {
		return fmt.Errorf("the status lacks one of %q:\n%s", append(parts, "status: "+status), out)
	}
	return nil
}

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

const install = "ingressgateways.install.tetrate.io"

// The edge repairs what it installed, says what it cannot install, and lets a deleted gateway go only after callers
// had the time to turn away.
func TestInstalledGateway(t *testing.T) {
	const ns = "installed"
	t.Cleanup(func() { kubectl(t, back, "delete", "namespace", ns, "--ignore-not-found", "--timeout=60s") })
	kubectlApply(t, back, `
apiVersion: v1
kind: Namespace
metadata: {name: installed, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: taken, namespace: installed}
spec: {clusterIP: None}
---
apiVersion: install.tetrate.io/v1alpha1
kind: IngressGateway
metadata: {name: taken, namespace: installed}
---
apiVersion: install.tetrate.io/v1alpha1
kind: IngressGateway
metadata: {name: east, namespace: installed}
spec: {eastWestOnly: true, kubeSpec: {deployment: {hpaSpec: {disabled: true}}}}
`)
	get := func(ctx context.Context, kind, name, path string) string {
		out, err := tryKubectl(ctx, back, "get", "-n", ns, kind, name, "--ignore-not-found", "-o", "jsonpath="+path)
		if err != nil {
			return err.Error()
		}
		return out
	}
	is := func(kind, name, path, want string) func(context.Context) error {
		return func(ctx context.Context) error {
			if got := get(ctx, kind, name, path); got != want {
				return fmt.Errorf("%s %s %s is %q, not %q", kind, name, path, got, want)
			}
			return nil
		}
	}
	const ready = `{.status.conditions[?(@.type=="Ready")].status}`
	within(t, 30*time.Second, "the gateway is ready", is(install, "east", ready, "True"))
	const ports = "{.spec.ports[*].port}"
	if got := get(t.Context(), "svc", "east", ports); got != "15443 15021" {
		t.Errorf("ports of a gateway for other clusters: %q", got)
	}
	if got := get(t.Context(), install, "taken", `{.status.conditions[?(@.type=="Accepted")].reason}`); got != "ForeignObject" {
		t.Errorf("a gateway whose Service is somebody else's: %q", got)
	}

	kubectl(t, back, "patch", "svc", "-n", ns, "east", "--type=json", "-p", `[{"op":"add","path":"/spec/ports/-","value":{"name":"x","port":99}}]`)
	within(t, time.Second, "an added port is gone", is("svc", "east", ports, "15443 15021"))
	kubectl(t, back, "delete", "deployment", "-n", ns, "east", "--wait=false")
	within(t, 30*time.Second, "the Deployment is back", is("deployment", "east", "{.status.readyReplicas}", "1"))

	kubectl(t, back, "delete", install, "-n", ns, "east", "--wait=false")
	deleted := time.Now()
	within(t, time.Second, "the Service is draining", is("svc", "east", `{.metadata.annotations.isthmus\.dev/draining}`, "true"))
	time.Sleep(6*time.Second - time.Since(deleted))
	if got := get(t.Context(), "deployment", "east", "{.status.readyReplicas}"); got != "1" {
		t.Errorf("ready pods within the hold: %q", got)
	}
	within(t, 15*time.Second, "everything of it is gone", func(ctx context.Context) error {
		out, err := tryKubectl(ctx, back, "get", "-n", ns, install+",deploy,svc,sa,role,rolebinding,pdb", "-l", "isthmus.dev/gateway="+ns+".east", "-o", "name")
		if err != nil || strings.TrimSpace(out) != "" {
			return fmt.Errorf("left: %q (%w)", out, err)
		}
		return nil
	})
}

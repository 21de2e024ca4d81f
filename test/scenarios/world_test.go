//go:build e2e

package scenarios

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stateDir is where the sandbox keeps what it knows; what is written there goes with it.
const stateDir = "/run/isthmus-sandbox"

var keep = flag.Bool("keep", false, "leave what a scenario made, to look at it; the next run of the scenario removes it")

// root of the repository.
var root = func() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		return "../.."
	}
	return dir
}()

// run a command and return its standard output. The error has both outputs.
func run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	if p := filepath.Join(root, "bin", name); fileExists(p) {
		name = p
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "TCTL_CONFIG="+tctlConfig(), "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s%s", filepath.Base(name), strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func ownDir() string     { return filepath.Join(stateDir, "scenarios") }
func tctlConfig() string { return filepath.Join(ownDir(), "tctl") }

// kubectl talks to a cluster as its administrator.
func kubectl(ctx context.Context, cluster, stdin string, args ...string) (string, error) {
	return run(ctx, stdin, "kubectl", append([]string{"--kubeconfig", filepath.Join(ownDir(), cluster+".kubeconfig")}, args...)...)
}

// outside runs a command where somebody outside of the clusters is.
func outside(ctx context.Context, stdin string, args ...string) (string, error) {
	return run(ctx, stdin, "sandbox", append([]string{"exec", "wan", "--"}, args...)...)
}

func tctl(ctx context.Context, stdin string, args ...string) (string, error) {
	return outside(ctx, stdin, append([]string{filepath.Join(root, "bin", "tctl")}, args...)...)
}

// until polls f.
func until(ctx context.Context, d time.Duration, f func() error) error {
	for began := time.Now(); ; {
		err := f()
		if err == nil {
			return nil
		}
		if time.Since(began) > d {
			return fmt.Errorf("not within %v: %w", d, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	if err := enter(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// enter finds the sandbox, and makes ready what scenarios share: a server, an edge in each cluster, and pods that call.
// What is ready already stays as it is.
func enter(ctx context.Context) error {
	if err := os.MkdirAll(ownDir(), 0o700); err != nil {
		return err
	}
	for _, c := range Clusters {
		out, err := run(ctx, "", "sandbox", "kubeconfig", c)
		if err != nil {
			return fmt.Errorf("no sandbox with the clusters %s is running (make test-scenarios KEEP=1 starts one): %w", strings.Join(Clusters, ", "), err)
		}
		if err := os.WriteFile(filepath.Join(ownDir(), c+".kubeconfig"), []byte(out), 0o600); err != nil {
			return err
		}
	}
	if fileExists(filepath.Join(ownDir(), "ready")) {
		return nil
	}
	began := time.Now()
	if err := errors.Join(server(ctx), edges(ctx), callers(ctx)); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "scenarios: a server and %d clusters are ready after %.1f s\n", len(Clusters), time.Since(began).Seconds())
	return os.WriteFile(filepath.Join(ownDir(), "ready"), nil, 0o600)
}

const (
	serverName = "tsb.tetrate.com"
	password   = "scenarios-1"
)

// server is installed in the first cluster, as docs/guide/two-clusters.md does.
func server(ctx context.Context) error {
	m := newMint()
	cert, err := m.certificate("server", Certificate{Names: []string{serverName}})
	if err != nil {
		return err
	}
	ca, err := m.authority(public)
	if err != nil {
		return err
	}
	for file, text := range map[string][]byte{"ca.pem": ca.Cert, "cert.pem": cert.Cert, "key.pem": cert.Key} {
		if err := os.WriteFile(filepath.Join(ownDir(), file), text, 0o600); err != nil {
			return err
		}
	}
	const script = `
set -euo pipefail
cd "$1"
sandbox trust add ca.pem
tctl install manifest management-plane-operator --registry sandbox.local --own-certificate --data hostPath=/run/isthmus-sandbox/volumes/tsb | kubectl --context c1 apply -f -
tctl install manifest management-plane-secrets --tsb-admin-password "$2" --tsb-server-certificate cert.pem --tsb-server-key key.pem | kubectl --context c1 apply -f -
kubectl --context c1 -n tsb rollout status deployment/server --timeout 120s
kubectl --context c1 -n tsb wait svc/envoy --for=jsonpath='{.status.loadBalancer.ingress[0].ip}' --timeout 30s
sandbox dns set "$3" "$(kubectl --context c1 -n tsb get svc envoy -o jsonpath='{.status.loadBalancer.ingress[0].ip}')"
tctl config clusters set default --bridge-address "$3:8443"
for i in $(seq 40); do tctl login --org "$4" --tenant "$5" --username admin --password "$2" && exit 0; sleep 0.5; done
exit 1
`
	_, err = outside(ctx, script, "bash", "-s", "--", ownDir(), password, serverName, Organization, Tenant)
	return err
}

// edges onboards the clusters.
func edges(ctx context.Context) error {
	yaml := "apiVersion: api.tsb.tetrate.io/v2\nkind: Tenant\nmetadata: {organization: " + Organization + ", name: " + Tenant + "}\n"
	for _, c := range Clusters {
		yaml += "---\n" + clusterYAML(c)
	}
	if _, err := tctl(ctx, yaml, "apply", "-f", "-"); err != nil {
		return err
	}
	const script = `
set -euo pipefail
for cluster in "${@:3}"; do
  tctl install manifest control-plane-secrets --cluster $cluster --cluster-service-account "$(tctl install cluster-service-account --cluster $cluster)" \
    --management-plane "$2:8443" --management-plane-ca-certificate "$1/ca.pem" | kubectl --context $cluster apply -f -
  tctl install manifest cluster-operators --registry sandbox.local | kubectl --context $cluster apply -f -
done
for cluster in "${@:3}"; do tctl x wait cluster $cluster --timeout 90s; done
`
	_, err := outside(ctx, script, append([]string{"bash", "-s", "--", ownDir(), serverName}, Clusters...)...)
	return err
}

// callersYAML is the pod in each cluster that makes the requests of scenarios: it is part of the mesh.
const callersYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: callers, labels: {istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: callers}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: client, image: "sandbox.local/test/client:dev", args: [wait]}]
`

func callers(ctx context.Context) error {
	for _, c := range Clusters {
		if _, err := kubectl(ctx, c, callersYAML, "apply", "-f", "-"); err != nil {
			return err
		}
	}
	for _, c := range Clusters {
		if _, err := kubectl(ctx, c, "", "rollout", "status", "-n", "callers", "deploy/client", "--timeout=60s"); err != nil {
			return err
		}
	}
	return nil
}

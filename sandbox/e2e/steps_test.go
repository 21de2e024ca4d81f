package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"isthmus.dev/sandbox/pki"
)

const appYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - name: app
        image: example.test/app:1
        env: [{name: CLUSTER, value: %s}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  type: LoadBalancer
  selector: {app: app}
  ports: [{name: http, port: 80, targetPort: 8080}]
`

// kubeconfig works from the machine itself, outside all namespaces.
func kubeconfig(t *testing.T, s *sandbox) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(s.run(t, "kubeconfig", "b")), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl := s.run(t, "exec", "core", "--", "sh", "-c", "command -v kubectl")
	out, err := exec.Command(kubectl, "--kubeconfig", file, "get", "nodes", "-o", "name").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "node/node1" {
		t.Errorf("kubectl get nodes from the machine: %v\n%s", err, out)
	}
}

func topology(t *testing.T, s *sandbox) {
	got := s.kubectl(t, "b", "get", "node", "node1", "-o", `jsonpath={.metadata.labels.topology\.kubernetes\.io/region} {.metadata.labels.topology\.kubernetes\.io/zone}`)
	if want := "region-2 region-2-a"; got != want {
		t.Errorf("region and zone are %q, want %q", got, want)
	}
}

func logsAndExec(t *testing.T, s *sandbox) {
	if got := s.kubectl(t, "a", "logs", "deployment/app"); got != "listening on :8080" {
		t.Errorf("kubectl logs said %q", got)
	}
	out, err := s.try("exec", "a", "--", "kubectl", "exec", "deployment/app", "--", "/app", "nonsense")
	// The program is running already, so its second instance finds the port taken.
	if err == nil || !strings.Contains(out, "address already in use") {
		t.Errorf("kubectl exec said %v\n%s", err, out)
	}
}

func unknownImage(t *testing.T, s *sandbox) {
	s.kubectl(t, "a", "run", "nobody", "--image=example.test/nobody:9")
	eventually(t, "ErrImagePull", func() error {
		got := s.kubectl(t, "a", "get", "pod", "nobody", "-o", "jsonpath={.status.containerStatuses[0].state.waiting}")
		if !strings.Contains(got, "ErrImagePull") || !strings.Contains(got, "example.test/nobody:9") {
			return fmt.Errorf("the container waits for %q", got)
		}
		return nil
	})
	s.kubectl(t, "a", "delete", "pod", "nobody", "--wait=false")
}

// address waits for a Service's address.
func address(t *testing.T, s *sandbox, cluster, service string) string {
	t.Helper()
	var addr string
	eventually(t, "address of "+service, func() error {
		addr = s.kubectl(t, cluster, "get", "service", service, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
		if addr == "" {
			return errors.New("it has none")
		}
		return nil
	})
	return addr
}

// answers fetches a URL until it says what it should.
func answers(t *testing.T, s *sandbox, where, url, want string) {
	t.Helper()
	eventually(t, "GET "+url+" from "+where, func() error {
		out, err := s.curl(where, url)
		if err != nil || !strings.HasPrefix(out, want) {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// silent says that packets to a URL vanish: neither an answer nor a refusal.
func silent(t *testing.T, s *sandbox, where, url string) {
	t.Helper()
	out, err := s.try("exec", where, "--", "curl", "-sS", "--max-time", "1", url)
	if err == nil || !strings.Contains(out, "timed out") {
		t.Errorf("GET %s from %s: %v, want silence\n%s", url, where, err, out)
	}
}

func loadBalancer(t *testing.T, s *sandbox) {
	a, b := address(t, s, "a", "app"), address(t, s, "b", "app")
	answers(t, s, "wan", "http://"+a+"/", "a app-")
	answers(t, s, "wan", "http://"+b+"/", "b app-")
	// From a pod of the other cluster, and from one of the same.
	answers(t, s, "wan", "http://"+b+"/fetch?url=http://"+a+"/", "a app-")
	answers(t, s, "wan", "http://"+a+"/fetch?url=http://"+a+"/", "a app-")
	// Through the cluster's own name server and service address.
	answers(t, s, "wan", "http://"+a+"/fetch?url=http://app.default.svc.cluster.local/", "a app-")
	silent(t, s, "wan", "http://198.19.1.250/")
}

func podsAreHidden(t *testing.T, s *sandbox) {
	pod := s.kubectl(t, "b", "get", "pod", "-l", "app=app", "-o", "jsonpath={.items[0].status.podIP}")
	service := s.kubectl(t, "b", "get", "service", "app", "-o", "jsonpath={.spec.clusterIP}")
	answers(t, s, "b", "http://"+pod+":8080/", "b app-")
	answers(t, s, "b", "http://"+service+"/", "b app-")
	for _, where := range []string{"wan", "a"} {
		silent(t, s, where, "http://"+pod+":8080/")
		silent(t, s, where, "http://"+service+"/")
	}
}

func names(t *testing.T, s *sandbox) {
	a := address(t, s, "a", "app")
	s.run(t, "dns", "set", "app.example.test", a)
	answers(t, s, "wan", "http://app.example.test/", "a app-")
	b := address(t, s, "b", "app")
	answers(t, s, "wan", "http://"+b+"/fetch?url=http://app.example.test/", "a app-")
	s.run(t, "dns", "delete", "app.example.test")
	out, err := s.curl("wan", "http://app.example.test/")
	if err == nil || !strings.Contains(out, "Could not resolve host") {
		t.Errorf("a deleted name: %v\n%s", err, out)
	}
}

// inside runs the command itself on wan: scripts there set names and ask for
// kubeconfigs, and find the caller's own programs.
func inside(t *testing.T, s *sandbox) {
	s.run(t, "exec", "wan", "--", s.bin, "dns", "set", "inside.example.test", "198.19.1.9")
	if got := s.run(t, "dns", "list"); !strings.Contains(got, "inside.example.test 198.19.1.9") {
		t.Errorf("dns list does not show the name that was set inside:\n%s", got)
	}
	s.run(t, "exec", "wan", "--", s.bin, "dns", "delete", "inside.example.test")
	if got := s.run(t, "exec", "wan", "--", s.bin, "exec", "b/node1", "--", "kubectl", "get", "nodes", "-o", "name"); got != "node/node1" {
		t.Errorf("exec inside exec said %q", got)
	}
	if out, err := s.try("exec", "wan", "--", s.bin, "down"); err == nil || !strings.Contains(out, "from inside") {
		t.Errorf("down inside: %v, want a refusal\n%s", err, out)
	}
	if got := s.run(t, "exec", "wan", "--", "kubectl", "config", "get-contexts", "-o", "name"); got != "a\nb" {
		t.Errorf("contexts on wan are %q, want a and b", got)
	}
	t.Setenv("PATH", filepath.Dir(s.bin)+":"+os.Getenv("PATH"))
	s.run(t, "exec", "wan", "--", "sandbox", "dns", "list")
}

// trust makes plain curl verify a certificate of an authority of ours.
func trust(t *testing.T, s *sandbox) {
	dir := t.TempDir()
	ca, err := pki.NewRoot("Test")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Leaf{Name: "secure", SANs: []string{"secure.example.test"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ca.Write(dir, "ca"), leaf.Write(dir, "leaf")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := exec.CommandContext(ctx, s.bin, "exec", "wan", "--", "openssl", "s_server", "-quiet", "-www",
		"-accept", "4433", "-cert", filepath.Join(dir, "leaf.crt"), "-key", filepath.Join(dir, "leaf.key"))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer cancel()
	s.run(t, "dns", "set", "secure.example.test", "198.18.0.10")
	url := "https://secure.example.test:4433/"
	eventually(t, "a server that is not trusted", func() error {
		if out, _ := s.curl("a", url); !strings.Contains(out, "certificate") {
			return errors.New(out)
		}
		return nil
	})
	s.run(t, "trust", "add", filepath.Join(dir, "ca.crt"))
	if out, err := s.curl("a", url); err != nil {
		t.Errorf("GET %s with its authority trusted: %v\n%s", url, err, out)
	}
}

func cutAndHeal(t *testing.T, s *sandbox) {
	a, b := address(t, s, "a", "app"), address(t, s, "b", "app")
	s.run(t, "cut", "b")
	silent(t, s, "wan", "http://"+b+"/")
	answers(t, s, "wan", "http://"+a+"/", "a app-")
	// What runs inside goes on, and its API still answers us.
	service := s.kubectl(t, "b", "get", "service", "app", "-o", "jsonpath={.spec.clusterIP}")
	answers(t, s, "b", "http://"+service+"/", "b app-")
	silent(t, s, "b", "http://"+a+"/")
	s.run(t, "heal", "b")
	answers(t, s, "wan", "http://"+b+"/", "b app-")
}

func addressChanges(t *testing.T, s *sandbox) {
	before := address(t, s, "a", "app")
	s.kubectl(t, "a", "annotate", "service", "app", "sandbox.isthmus.dev/address=198.19.1.77")
	answers(t, s, "wan", "http://198.19.1.77/", "a app-")
	silent(t, s, "wan", "http://"+before+"/")
	if got := address(t, s, "a", "app"); got != "198.19.1.77" {
		t.Errorf("the service's address is %s", got)
	}
	s.kubectl(t, "a", "annotate", "service", "app", "sandbox.isthmus.dev/address-")
}

// userChain blocks a port of every load balancer on the WAN, as tests may.
func userChain(t *testing.T, s *sandbox) {
	b := address(t, s, "b", "app")
	s.run(t, "exec", "core", "--", "nft", "add", "rule", "inet", "wan", "user", "ip", "daddr", "198.19.0.0/16", "tcp", "dport", "80", "drop")
	silent(t, s, "wan", "http://"+b+"/")
	s.run(t, "exec", "core", "--", "nft", "flush", "chain", "inet", "wan", "user")
	answers(t, s, "wan", "http://"+b+"/", "b app-")
}

// restart kills an API server: the sandbox starts it again.
func restart(t *testing.T, s *sandbox) {
	s.run(t, "exec", "a", "--", "sh", "-c", "kill -9 $(pgrep -f '[k]ube-apiserver.*--etcd-prefix=/a ')")
	eventually(t, "API server of a", func() error {
		out, err := s.try("exec", "a", "--", "kubectl", "get", "--raw=/readyz", "--request-timeout=2s")
		if err != nil || out != "ok" {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	time.Sleep(time.Second) // a moment for whoever would follow it down
	if out := s.run(t, "status"); !strings.Contains(out, "a/kube-apiserver") {
		t.Errorf("status does not list the API server:\n%s", out)
	}
}

// spreadYAML runs a pod on every node, and a Service that has all of them.
const spreadYAML = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - name: app
        image: example.test/app:1
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
`

// twoNodes says that the pods of a cluster's two nodes reach each other by their own addresses.
func twoNodes(t *testing.T, s *sandbox) {
	s.run(t, "image", "add", "example.test/app:1", s.app)
	s.apply(t, "a", spreadYAML)
	s.kubectl(t, "a", "rollout", "status", "daemonset/app", "--timeout=60s")
	for _, to := range []string{"node1", "node2"} {
		ip := s.kubectl(t, "a", "get", "pods", "-l", "app=app", "--field-selector", "spec.nodeName="+to, "-o", "jsonpath={.items[0].status.podIP}")
		for _, from := range []string{"a", "a/node2"} {
			answers(t, s, from, "http://"+ip+":8080/", "")
		}
	}
}

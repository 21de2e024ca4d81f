//go:build e2e

// Package e2e shows on two real clusters what docs/guide/two-clusters.md leaves behind, and what happens when parts of it
// fail. It expects the sandbox with the guide walked through (build/e2e does that), and leaves it as it was.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	front = "tsb-tier2gcp1" // has productpage
	back  = "tsb-tier2gcp2" // has details, reviews and ratings

	frontHost = "bookinfo.tetrate.com"
	backHost  = "bookinfo-back.tetrate.com"

	// stateDir is where the sandbox keeps what it knows of its clusters.
	stateDir = "/run/isthmus-sandbox"
)

var bin = func() string {
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		return "../../bin"
	}
	return dir
}()

// try runs a command of bin/ or of the system, and returns both outputs.
func try(ctx context.Context, stdin, name string, args ...string) (string, error) {
	if p := filepath.Join(bin, name); fileExists(p) {
		name = p
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String() + stderr.String(), fmt.Errorf("%s %s: %w: %s%s", filepath.Base(name), strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// must runs a command that has to succeed, also while a test cleans up.
func must(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	out, err := try(context.WithoutCancel(t.Context()), stdin, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// in runs a command at a place of the sandbox: a cluster's node, wan or core.
func in(t *testing.T, where string, args ...string) string {
	t.Helper()
	return must(t, "", "sandbox", append([]string{"exec", where, "--"}, args...)...)
}

// tryIn is in for a command that may fail.
func tryIn(ctx context.Context, where string, args ...string) (string, error) {
	return try(ctx, "", "sandbox", append([]string{"exec", where, "--"}, args...)...)
}

// kubectl talks to a cluster as its administrator.
func kubectl(t *testing.T, cluster string, args ...string) string {
	t.Helper()
	return must(t, "", "kubectl", append([]string{"--kubeconfig", kubeconfig(cluster)}, args...)...)
}

func tryKubectl(ctx context.Context, cluster string, args ...string) (string, error) {
	return try(ctx, "", "kubectl", append([]string{"--kubeconfig", kubeconfig(cluster)}, args...)...)
}

// kubectlApply applies YAML.
func kubectlApply(t *testing.T, cluster, yaml string) {
	t.Helper()
	must(t, yaml, "kubectl", "--kubeconfig", kubeconfig(cluster), "apply", "-f", "-")
}

// kubeconfig is a file that reaches the cluster from where the tests run.
func kubeconfig(cluster string) string {
	return filepath.Join(os.TempDir(), "isthmus-e2e-"+cluster+".kubeconfig")
}

func TestMain(m *testing.M) {
	for _, c := range []string{front, back} {
		out, err := try(context.Background(), "", "sandbox", "kubeconfig", c)
		if err == nil {
			err = os.WriteFile(kubeconfig(c), []byte(out), 0o600)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e: no sandbox with the guide's clusters is running; build/e2e starts one:", err)
			os.Exit(1)
		}
	}
	code := m.Run()
	for _, c := range []string{front, back} {
		os.Remove(kubeconfig(c))
	}
	os.Exit(code)
}

// get reads an object as JSON into v.
func get(t *testing.T, cluster string, v any, args ...string) {
	t.Helper()
	out := kubectl(t, cluster, append(append([]string{"get"}, args...), "-o", "json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("kubectl get %v: %v", args, err)
	}
}

// tctl runs as a person outside of the clusters would.
func tctl(t *testing.T, args ...string) string {
	t.Helper()
	return in(t, "wan", append([]string{filepath.Join(bin, "tctl")}, args...)...)
}

func tryTctl(ctx context.Context, stdin string, args ...string) (string, error) {
	return try(ctx, stdin, "sandbox", append([]string{"exec", "wan", "--", filepath.Join(bin, "tctl")}, args...)...)
}

// tctlApply applies YAML and returns what tctl printed.
func tctlApply(t *testing.T, yaml string) string {
	t.Helper()
	out, err := tryTctl(context.WithoutCancel(t.Context()), yaml, "apply", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// within polls check until it succeeds, at most for d, and returns how long it took. The bound is part of what the
// product promises.
func within(t *testing.T, d time.Duration, what string, check func(context.Context) error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := check(context.WithoutCancel(t.Context()))
		took := time.Since(start)
		if err == nil && took <= d {
			t.Logf("%s: %.2f s (at most %v)", what, took.Seconds(), d)
			return took
		}
		if took > d {
			t.Fatalf("%s: not within %v: %v", what, d, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// page is what a browser outside of the clusters sees of the product page.
func page(ctx context.Context) (status, body string, err error) {
	out, err := tryIn(ctx, "wan", "curl", "-sS", "--max-time", "5", "-w", "\n%{http_code}", "https://"+frontHost+"/productpage")
	if err != nil {
		return "", "", err
	}
	i := strings.LastIndexByte(strings.TrimRight(out, "\n"), '\n')
	return strings.TrimSpace(out[i+1:]), out[:max(i, 0)], nil
}

// wholePage checks that the page is complete: its details and reviews came from the other cluster.
func wholePage(ctx context.Context) error {
	status, body, err := page(ctx)
	if err != nil {
		return err
	}
	if status != "200" {
		return fmt.Errorf("status %s", status)
	}
	for _, want := range []string{"Details served by cluster " + back, "Reviews served by cluster " + back} {
		if !strings.Contains(body, want) {
			return fmt.Errorf("the page lacks %q:\n%s", want, body)
		}
	}
	return nil
}

// call is a request of a pod with a sidecar in the front cluster to the other one; it returns the status code.
func call(ctx context.Context, pod, path string) (string, error) {
	out, err := tryKubectl(ctx, front, "exec", "-n", "bookinfo-front", "deploy/"+pod, "-c", "client", "--",
		"curl", "-s", "-o", "/dev/null", "--max-time", "3", "-w", "%{http_code}", "http://"+backHost+":80"+path)
	return strings.TrimSpace(out), err
}

// answers makes a check of a call's status code.
func answers(pod, path, want string) func(context.Context) error {
	return func(ctx context.Context) error {
		got, err := call(ctx, pod, path)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("GET %s from %s: status %s, want %s", path, pod, got, want)
		}
		return nil
	}
}

package istio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"

	"istio.io/istio/pkg/bootstrap"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/model"
)

// patience is how long Envoy may take to answer. It takes milliseconds; a machine that is busy may need more.
const patience = 30 * time.Second

// envoy is a real Envoy. One serves all tests of a run, one configuration after the other.
type envoy struct {
	*control
	dir    string
	admin  *http.Client
	exited chan struct{} // closed when the process has ended
}

// findEnvoy returns the program that the sandbox gets, in the version that the sandbox uses.
func findEnvoy() (string, error) {
	source, err := os.ReadFile(root + "/sandbox/engine/engine.go")
	if err != nil {
		return "", err
	}
	version := regexp.MustCompile(`(?m)^\s+Envoy\s+= "(.+)"$`).FindSubmatch(source)
	if version == nil {
		return "", errors.New("sandbox/engine/engine.go does not say which Envoy")
	}
	cache := os.Getenv("ISTHMUS_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache", "isthmus")
	}
	pattern := filepath.Join(cache, "engines", fmt.Sprintf("envoy-%s-*", version[1]), "envoy")
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("no Envoy at %s: make engines gets it", pattern)
	}
	return found[len(found)-1], nil
}

// startEnvoy runs Envoy until the test has ended.
func startEnvoy(t *testing.T) *envoy {
	t.Helper()
	program, err := findEnvoy()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(work(), "e")
	if err != nil {
		t.Fatal(err)
	}
	e := &envoy{control: newControl(), dir: dir, exited: make(chan struct{})}
	e.admin = &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "admin"))
	}}}
	e.listen(t)
	write(t, filepath.Join(dir, "bootstrap.json"), bootstrapFile(t, dir))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", filepath.Join(dir, "bootstrap.json"), "--disable-hot-restart", "--concurrency", "1",
		"--drain-time-s", "1", "--drain-strategy", "immediate", "--log-level", "warning", "--skip-deprecated-logs")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		defer close(e.exited)
		cmd.Wait()
		log.Close()
	})
	t.Cleanup(func() {
		cmd.Process.Kill()
		group.Wait()
		if t.Failed() {
			t.Logf("Envoy's last words:\n%s", e.lastWords())
		}
	})
	return e
}

// listen serves istiod's and the agent's side on sockets.
func (e *envoy) listen(t *testing.T) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(e.dir, "xds"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(s, e.control)
	secret.RegisterSecretDiscoveryServiceServer(s, e.control)
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.Stop()
		group.Wait()
	})
}

// bootstrapFile is the one that pilot-agent would write, with sockets in the place of ports: whether Envoy takes something
// depends on its runtime flags too.
func bootstrapFile(t *testing.T, dir string) []byte {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio").Output()
	if err != nil {
		t.Fatal(err)
	}
	template := filepath.Join(strings.TrimSpace(string(module)), "tools", "packaging", "common", "envoy_bootstrap.json")
	node := &model.Node{ID: "router~10.244.0.1~gateway.test~test.svc.cluster.local", Locality: &core.Locality{}, Metadata: &model.BootstrapNodeMetadata{
		NodeMetadata: model.NodeMetadata{
			IstioVersion: istioVersion, Namespace: "test", InstanceIPs: []string{"10.244.0.1"}, WorkloadIdentitySocketFile: "socket",
			ProxyConfig: (*model.NodeMetaProxyConfig)(mesh.DefaultProxyConfig()),
		},
	}}
	var b bytes.Buffer
	if err := bootstrap.New(bootstrap.Config{Node: node}).WriteTo(template, &b); err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(b.Bytes(), &config); err != nil {
		t.Fatal(err)
	}
	pipe := func(name string) map[string]any {
		return map[string]any{"pipe": map[string]any{"path": filepath.Join(dir, name)}}
	}
	config["admin"] = map[string]any{"address": pipe("admin")}
	static := config["static_resources"].(map[string]any)
	delete(static, "listeners")
	for _, c := range static["clusters"].([]any) {
		c := c.(map[string]any)
		if c["name"] != "xds-grpc" && c["name"] != "sds-grpc" {
			continue
		}
		c["load_assignment"] = map[string]any{"cluster_name": c["name"], "endpoints": []any{map[string]any{
			"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": pipe("xds")}}},
		}}}
	}
	config["dynamic_resources"].(map[string]any)["ads_config"].(map[string]any)["api_type"] = "GRPC" // control speaks no deltas
	out, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// try sends a configuration and returns what Envoy rejects of it.
func (e *envoy) try(t *testing.T, c configuration) []string {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("after %v", patience))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-e.exited:
			fail(errors.New("it has ended"))
		case <-stop:
		}
	}()
	rejected, err := e.push(ctx, c)
	if err != nil {
		t.Fatalf("%v %s\n%s", err, strings.Join(rejected, "\n"), e.lastWords())
	}
	return rejected
}

// lastWords are the end of Envoy's log.
func (e *envoy) lastWords() string {
	data, err := os.ReadFile(filepath.Join(e.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4000):])
}

// ask reads from Envoy's administration interface.
func (e *envoy) ask(t *testing.T, path string) []byte {
	t.Helper()
	res, err := e.admin.Get("http://envoy" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

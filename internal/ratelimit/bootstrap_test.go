package ratelimit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// page is the design; its blocks of JSON are what TestEnvoy runs.
const page = "../../docs/design/rate-limits.md"

// block is one that begins with "```json <kind> <name>".
type block struct {
	kind, name string
	text       json.RawMessage
}

// blocks reads the page, and puts what is here in the place of what is only elsewhere.
func blocks(t *testing.T, replace map[string]string) (out []block) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range replace {
		if !bytes.Contains(text, []byte(from)) {
			t.Errorf("%s has no %s to replace", page, from)
		}
		text = bytes.ReplaceAll(text, []byte(from), []byte(to))
	}
	parts := strings.Split("\n"+string(text), "\n```json ")
	for _, part := range parts[1:] {
		head, rest, _ := strings.Cut(part, "\n")
		body, _, closed := strings.Cut(rest, "\n```\n")
		words := strings.Fields(head)
		if !closed || len(words) != 2 || !json.Valid([]byte(body)) {
			t.Fatalf("%s: block %q is not closed, has no kind and name, or is no JSON", page, head)
		}
		out = append(out, block{kind: words[0], name: words[1], text: json.RawMessage(body)})
	}
	return out
}

// The page's blocks are read without Envoy too, so that a mistake in them shows at once.
func TestPage(t *testing.T) {
	kinds := map[string]int{}
	for _, b := range blocks(t, nil) {
		kinds[b.kind]++
	}
	for _, kind := range []string{"filter", "host", "cluster"} {
		if kinds[kind] == 0 {
			t.Errorf("%s has no block of JSON for a %s", page, kind)
		}
		delete(kinds, kind)
	}
	if len(kinds) > 0 {
		t.Errorf("%s has blocks of unknown kinds: %v", page, kinds)
	}
}

type object = map[string]any

// bootstrap is Envoy's whole configuration: one listener with the page's filters and hosts, the page's clusters, and those of
// Istio, which are given as names and addresses.
func bootstrap(bs []block, istio map[string]string) object {
	var filters, hosts, clusters []any
	for _, b := range bs {
		switch b.kind {
		case "filter":
			filters = append(filters, b.text)
		case "host":
			hosts = append(hosts, virtualHost(b.name, b.text))
		case "cluster":
			clusters = append(clusters, b.text)
		}
	}
	hosts = append(hosts, virtualHost("unlimited.test", json.RawMessage("{}")))
	filters = append(filters, object{
		"name":         "envoy.filters.http.router",
		"typed_config": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
	})
	for name, address := range istio {
		clusters = append(clusters, cluster(name, address))
	}
	manager := object{
		"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "test", "use_remote_address": true, "xff_num_trusted_hops": 1, "http_filters": filters,
		"route_config": object{"name": "http.8080", "virtual_hosts": hosts},
	}
	return object{
		"node":  object{"id": "test", "cluster": "shop.shop"},
		"admin": object{"address": socket("127.0.0.1:0")},
		"static_resources": object{
			"clusters": clusters,
			"listeners": []any{object{"name": "web", "address": socket("127.0.0.1:0"), "filter_chains": []any{object{"filters": []any{
				object{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
			}}}}},
		},
	}
}

func virtualHost(name string, perFilter json.RawMessage) object {
	return object{
		"name": name, "domains": []string{name}, "typed_per_filter_config": perFilter,
		"routes": []any{
			object{"match": object{"path": "/direct"}, "direct_response": object{"status": 200}},
			object{"match": object{"path": "/redirect"}, "redirect": object{"path_redirect": "/"}},
			object{"match": object{"prefix": "/"}, "route": object{"cluster": "outbound|80||app.shop.svc.cluster.local"}},
		},
	}
}

// cluster is one as Istio makes it: with HTTP/2 but for the application's.
func cluster(name, address string) object {
	c := object{"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": object{
		"cluster_name": name, "endpoints": []any{object{"lb_endpoints": []any{object{"endpoint": object{"address": socket(address)}}}}},
	}}
	if !strings.Contains(name, "|80|") {
		c["typed_extension_protocol_options"] = object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
			"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			"explicit_http_config": object{"http2_protocol_options": object{}},
		}}
	}
	return c
}

func socket(address string) object {
	host, port, _ := net.SplitHostPort(address)
	return object{"socket_address": object{"address": host, "port_value": json.Number(port)}}
}

// envoy is a running one.
type envoy struct{ web, admin string }

func startEnvoy(t *testing.T, program string, config object) *envoy {
	t.Helper()
	text, err := json.MarshalIndent(config, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, admin := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), program, "--mode", "validate", "-c", file).CombinedOutput(); err != nil {
		t.Fatalf("Envoy refuses the configuration: %v\n%s", err, out)
	}
	ctx, end := context.WithCancel(context.Background())
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "-c", file, "--admin-address-path", admin, "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	t.Cleanup(func() {
		end()
		<-exited
		if t.Failed() {
			t.Logf("Envoy says:\n%s", log.String())
		}
	})
	e := &envoy{}
	for e.web == "" {
		select {
		case <-exited:
			t.Fatal("Envoy ended")
		case <-time.After(20 * time.Millisecond):
		}
		if address, err := os.ReadFile(admin); err == nil && len(address) > 0 {
			e.admin = "http://" + string(address)
			e.web = e.listener()
		}
	}
	return e
}

// listener is the address of the listener, empty until it is there.
func (e *envoy) listener() string {
	resp, err := http.Get(e.admin + "/listeners?format=json")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var all struct {
		Listeners []struct {
			Address struct {
				Socket struct {
					Port int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if json.NewDecoder(resp.Body).Decode(&all) != nil || len(all.Listeners) == 0 || all.Listeners[0].Address.Socket.Port == 0 {
		return ""
	}
	return fmt.Sprintf("127.0.0.1:%d", all.Listeners[0].Address.Socket.Port)
}

// ask sends a request, "host path client header=value…", and returns its status and headers. The client's address is what a
// trusted proxy in front would say.
func (e *envoy) ask(t *testing.T, request string) (int, http.Header) {
	t.Helper()
	words := strings.Fields(request)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.web+words[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = words[0]
	r.Header.Set("X-Forwarded-For", words[2])
	for _, h := range words[3:] {
		name, value, _ := strings.Cut(h, "=")
		r.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(r) // which follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header
}

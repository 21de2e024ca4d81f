//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The page is whole, and stays whole when no port 80 can be reached between the clusters: the calls cross on 15443.
func TestCallsCrossOn15443(t *testing.T) {
	if err := wholePage(t.Context()); err != nil {
		t.Fatal(err)
	}
	in(t, "core", "nft", "add", "rule", "inet", "wan", "user", "ip", "daddr", "198.19.0.0/16", "tcp", "dport", "80", "drop")
	t.Cleanup(func() { in(t, "core", "nft", "flush", "chain", "inet", "wan", "user") })
	for range 5 {
		if err := wholePage(t.Context()); err != nil {
			t.Fatalf("with port 80 of every load balancer blocked: %v", err)
		}
	}
	log := kubectl(t, back, "logs", "-n", "bookinfo-back", "deploy/bookinfo-back-gw", "--tail=50")
	want := []string{":15443", "/ns/bookinfo-front/sa/", "spiffe://", "/details/0"}
	for line := range strings.SplitSeq(log, "\n") {
		if containsAll(line, want) {
			return
		}
	}
	t.Errorf("no line of the back gateway's log has all of %q:\n%s", want, log)
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

func TestHeadOfThePage(t *testing.T) {
	out := in(t, "wan", "curl", "-sSI", "https://"+frontHost+"/productpage")
	if first, _, _ := strings.Cut(out, "\n"); !strings.Contains(first, " 200") {
		t.Errorf("curl -I: %q, want status 200", first)
	}
}

// On 15443 nobody gets in without a certificate of the mesh.
func TestStrangersAreRefusedOn15443(t *testing.T) {
	addr := address(t, back, "bookinfo-back", "bookinfo-back-gw")
	dir := t.TempDir()
	must(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/O=stranger",
		"-addext", "subjectAltName=URI:spiffe://cluster.local/ns/bookinfo-front/sa/default", "-keyout", filepath.Join(dir, "key.pem"), "-out", filepath.Join(dir, "cert.pem"))
	target := []string{"--resolve", backHost + ":15443:" + addr, "--max-time", "3", "-sS", "-o", "/dev/null", "-w", "%{http_code}"}
	for name, args := range map[string][]string{
		"PlainText":     {"http://" + backHost + ":15443/details/0"},
		"NoCertificate": {"-k", "https://" + backHost + ":15443/details/0"},
		"AnotherRoot":   {"-k", "--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"), "https://" + backHost + ":15443/details/0"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := tryIn(t.Context(), "wan", append(append([]string{"curl"}, target...), args...)...)
			if err == nil {
				t.Errorf("curl got status %s, want a refused connection", out)
			}
		})
	}
}

// address is the load balancer address of a Service.
func address(t *testing.T, cluster, namespace, service string) string {
	t.Helper()
	return kubectl(t, cluster, "get", "svc", "-n", namespace, service, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
}

// Both clusters hold ServiceEntry and DestinationRule of both hosts.
func TestMultiClusterObjects(t *testing.T) {
	addresses := map[string]string{
		frontHost: address(t, front, "bookinfo-front", "bookinfo-front-gw"),
		backHost:  address(t, back, "bookinfo-back", "bookinfo-back-gw"),
	}
	owner := map[string]string{frontHost: front, backHost: back}
	namespace := map[string]string{frontHost: "bookinfo-front", backHost: "bookinfo-back"}
	for _, cluster := range []string{front, back} {
		for host, lb := range addresses {
			t.Run(cluster+"/"+host, func(t *testing.T) {
				name := "global-gateway-" + strings.ReplaceAll(host, ".", "-")
				want := lb
				if owner[host] == cluster {
					want = kubectl(t, cluster, "get", "svc", "-n", namespace[host], namespace[host]+"-gw", "-o", "jsonpath={.spec.clusterIP}")
				}
				var se struct {
					Spec struct {
						Hosts, ExportTo, SubjectAltNames []string
						Location, Resolution             string
						Ports                            []map[string]any
						Endpoints                        []struct {
							Address string
							Ports   map[string]int
						}
					}
				}
				get(t, cluster, &se, "se", "-n", "xcp-multicluster", name)
				if diff := cmp.Diff([]string{host}, se.Spec.Hosts); diff != "" {
					t.Errorf("hosts (-want +got):\n%s", diff)
				}
				if se.Spec.Location != "MESH_INTERNAL" || se.Spec.Resolution != "STATIC" {
					t.Errorf("location %s, resolution %s", se.Spec.Location, se.Spec.Resolution)
				}
				if len(se.Spec.Endpoints) != 1 || se.Spec.Endpoints[0].Address != want || se.Spec.Endpoints[0].Ports["http"] != 15443 {
					t.Errorf("endpoints %+v, want one at %s:15443", se.Spec.Endpoints, want)
				}
				if len(se.Spec.SubjectAltNames) != 1 || !strings.HasSuffix(se.Spec.SubjectAltNames[0], "/ns/"+namespace[host]+"/sa/"+namespace[host]+"-gw-service-account") {
					t.Errorf("subjectAltNames %q", se.Spec.SubjectAltNames)
				}
				tls := kubectl(t, cluster, "get", "dr", "-n", "xcp-multicluster", name, "-o", "jsonpath={.spec.host} {.spec.trafficPolicy.portLevelSettings[0].port.number} {.spec.trafficPolicy.portLevelSettings[0].tls}")
				if wantTLS := host + ` 80 {"mode":"ISTIO_MUTUAL","sni":"` + host + `"}`; tls != wantTLS {
					t.Errorf("DestinationRule %s, want %s", tls, wantTLS)
				}
			})
		}
	}
}

// The names of the guide resolve with Istio's DNS and without it; both ways the call crosses on 15443.
func TestNamesResolveWithAndWithoutCapture(t *testing.T) {
	clients(t)
	for _, pod := range []string{captured, plainDNS} {
		within(t, 5*time.Second, pod+" gets details", answers(pod, "/details/0", "200"))
	}
	lb := address(t, back, "bookinfo-back", "bookinfo-back-gw")
	must(t, "", "sandbox", "dns", "delete", backHost)
	t.Cleanup(func() { must(t, "", "sandbox", "dns", "set", backHost, lb) })
	within(t, 5*time.Second, "Istio's DNS needs no other", answers(captured, "/details/0", "200"))
}

// The load balancer's address changes, the old one answers nothing any more.
func TestAddressChanges(t *testing.T) {
	clients(t)
	old := address(t, back, "bookinfo-back", "bookinfo-back-gw")
	const fresh = "198.19.2.77"
	change := func(to string) {
		patchGatewayService(t, to)
		start := time.Now()
		within(t, time.Second, "the ServiceEntry follows to "+to, func(ctx context.Context) error {
			out, err := tryKubectl(ctx, front, "get", "se", "-n", "xcp-multicluster", "global-gateway-bookinfo-back-tetrate-com", "-o", "jsonpath={.spec.endpoints[*].address}")
			if err != nil {
				return err
			}
			if out != to {
				return fmt.Errorf("endpoints %q", out)
			}
			return nil
		})
		within(t, 3*time.Second-time.Since(start), "a call succeeds", answers(captured, "/details/0", "200"))
	}
	t.Cleanup(func() { patchGatewayService(t, "") })
	change(fresh)
	change(old)
}

// patchGatewayService asks for an address for the back gateway and waits until the Service has it. The annotation is a wish of
// ours at the sandbox's load balancer; the installer leaves annotations of others alone.
func patchGatewayService(t *testing.T, address string) {
	t.Helper()
	value, err := json.Marshal(address)
	if err != nil {
		t.Fatal(err)
	}
	if address == "" {
		value = []byte("null")
	}
	kubectl(t, back, "patch", "svc", "-n", "bookinfo-back", "bookinfo-back-gw", "--type=merge", "-p",
		`{"metadata":{"annotations":{"sandbox.isthmus.dev/address":`+string(value)+`}}}`)
	if address == "" {
		return
	}
	for range 100 {
		if got := kubectl(t, back, "get", "svc", "-n", "bookinfo-back", "bookinfo-back-gw", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"); got == address {
			return
		}
	}
	t.Fatalf("the load balancer did not take the address %s", address)
}

// Without a ready gateway pod callers get 503, and nothing leaves in plain text; with one again they get 200.
func TestGatewayScaledToZero(t *testing.T) {
	clients(t)
	stop := plainTextWatch(t)
	kubectl(t, back, "patch", "ingressgateways.install.tetrate.io", "-n", "bookinfo-back", "bookinfo-back-gw", "--type=merge", "-p",
		`{"spec":{"kubeSpec":{"deployment":{"replicaCount":0,"hpaSpec":{"disabled":true}}}}}`)
	t.Cleanup(func() {
		kubectl(t, back, "patch", "ingressgateways.install.tetrate.io", "-n", "bookinfo-back", "bookinfo-back-gw", "--type=merge", "-p",
			`{"spec":{"kubeSpec":{"deployment":null}}}`)
		within(t, 30*time.Second, "scaled up", answers(captured, "/details/0", "200"))
	})
	within(t, 30*time.Second, "no endpoint is left", answers(captured, "/details/0", "503"))
	for range 20 {
		if err := answers(captured, "/details/0", "503")(t.Context()); err != nil {
			t.Error(err)
		}
	}
	stop()
}

// plainTextWatch counts packets from the clusters to port 80 of any load balancer. The returned function fails the
// test when there was one.
func plainTextWatch(t *testing.T) (stop func()) {
	t.Helper()
	in(t, "core", "nft", "add", "rule", "inet", "wan", "user", "ip", "saddr", "198.18.1.0/24", "ip", "daddr", "198.19.0.0/16", "tcp", "dport", "80", "counter")
	t.Cleanup(func() { in(t, "core", "nft", "flush", "chain", "inet", "wan", "user") })
	return func() {
		t.Helper()
		rules := func() string { return in(t, "core", "nft", "list", "chain", "inet", "wan", "user") }
		if got := rules(); !strings.Contains(got, "counter packets 0 ") {
			t.Errorf("calls left in plain text:\n%s", got)
		}
		// The counter counts: a call that is made in plain text on purpose shows in it.
		lb := address(t, back, "bookinfo-back", "bookinfo-back-gw")
		if _, err := tryIn(context.WithoutCancel(t.Context()), front, "curl", "-s", "--max-time", "1", "http://"+lb); err != nil {
			t.Logf("plain text to %s, on purpose: %v", lb, err) // a pod that is ending may still answer
		}
		if got := rules(); strings.Contains(got, "counter packets 0 ") {
			t.Errorf("the counter does not count:\n%s", got)
		}
	}
}

// auditWrites lists the writes that a user tried, with their status code, since the given offset of a cluster's audit log, Leases excepted.
func auditWrites(t *testing.T, cluster, user string, since int64) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(stateDir, "clusters", cluster, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(since, 0); err != nil {
		t.Fatal(err)
	}
	var writes []string
	for d := json.NewDecoder(f); ; {
		var e struct {
			Stage, Verb, RequestURI string
			User                    struct{ Username string }
			ResponseStatus          struct{ Code int }
			ObjectRef               struct{ Resource string }
		}
		if err := d.Decode(&e); err != nil {
			return writes
		}
		isWrite := e.Verb != "get" && e.Verb != "list" && e.Verb != "watch"
		if e.Stage == "ResponseComplete" && e.User.Username == user && isWrite && e.ObjectRef.Resource != "leases" {
			writes = append(writes, fmt.Sprint(e.ResponseStatus.Code, " ", e.Verb, " ", e.RequestURI))
		}
	}
}

// auditEnd is the offset of what is written to the audit log from now on.
func auditEnd(t *testing.T, cluster string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(stateDir, "clusters", cluster, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

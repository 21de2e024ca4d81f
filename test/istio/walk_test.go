package istio

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/simulation"
	v3 "istio.io/istio/pilot/pkg/xds/v3"
	"istio.io/istio/pkg/config/host"
)

// step is one request and where it has to lead.
type step struct {
	// Request is a method and a URL, whose scheme says whether TLS is used, or "TCP host:port" or
	// "TLS host:port" through a sidecar.
	Request string `json:"request"`
	// Port of the gateway's Service, or 0 for the one of the URL.
	Port int `json:"port"`
	// SNI is what the client names in TLS when it is not the URL's host.
	SNI string `json:"sni"`
	// Certificate is what the client shows: "client" one of the authority that gateways trust, "stranger" one of another,
	// "mesh" the identity of a sidecar, and "<trust domain>/ns/<namespace>/sa/<account>" another one of the mesh.
	Certificate string `json:"certificate"`
	// ALPN is what the client says that it speaks in TLS, such as "istio"; nothing when it is empty.
	ALPN    string            `json:"alpn"`
	Headers map[string]string `json:"headers"`
	// Times is how often it is sent; each time the outcome has to be the same. 0 means once.
	Times int `json:"times"`

	outcome
}

// outcome is what becomes of a request. Of what a step does not mention, nothing is expected.
type outcome struct {
	// Reaches is the service and port that answers, as host:port, or host:port/subset.
	Reaches string `json:"reaches"`
	// Answer is the status with which Envoy answers by itself.
	Answer int `json:"answer"`
	// Refused says that there is no answer at all.
	Refused bool `json:"refused"`
	// Route is the name of the route that was taken.
	Route string `json:"route"`
	// Sees are headers that the service receives, with ":path", ":authority" and ":method"; "" is one that it must not receive.
	Sees map[string]string `json:"sees"`
	// Response are headers of the answer; "" is one that it must not have.
	Response map[string]string `json:"response"`
	// Via are the addresses that a sidecar connects to, a string for each priority, and With the server name in TLS.
	Via  []string `json:"via"`
	With string   `json:"with"`
}

// readWalk reads the section walk.yaml of a golden.
func readWalk(t *testing.T, data []byte) map[string][]step {
	t.Helper()
	out := map[string][]step{}
	if err := yaml.UnmarshalStrict(data, &out); err != nil {
		t.Fatalf("walk.yaml: %v", err)
	}
	return out
}

// walk follows requests through the configuration of a proxy.
func (i *istiod) walk(t *testing.T, e *envoy, p *model.Proxy, sent configuration, steps []step) {
	t.Helper()
	if p.Type == model.Router {
		i.walkGateway(t, e, p, sent, steps)
		return
	}
	i.walkSidecar(t, p, sent, steps)
}

// walkGateway sends requests through a real Envoy, which serves the configuration on ports of the loopback interface, with
// a server of ours in the place of every cluster.
func (i *istiod) walkGateway(t *testing.T, e *envoy, p *model.Proxy, sent configuration, steps []step) {
	servable, behind := rewire(t, sent)
	defer behind.close()
	if rejected := e.try(t, servable); len(rejected) > 0 {
		t.Fatalf("Envoy rejects the rewired configuration: %s", strings.Join(rejected, "\n"))
	}
	ports := e.ports(t, behind)
	for _, s := range repeated(steps) {
		u, err := url.Parse(s.Request[strings.Index(s.Request, " ")+1:])
		if err != nil {
			t.Fatal(err)
		}
		port := s.Port
		if port == 0 {
			port = portOf(u)
		}
		got := outcome{Refused: true} // when nothing listens
		if name, ok := listenerAt(sent, i.targetPort(p, port)); ok {
			got = call(t, s, u, ports[name])
		}
		if diff := cmp.Diff(s.outcome, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Request, diff)
		}
	}
}

func repeated(steps []step) []step {
	var out []step
	for _, s := range steps {
		out = append(out, slices.Repeat([]step{s}, max(s.Times, 1))...)
	}
	return out
}

func portOf(u *url.URL) int {
	if n, err := strconv.Atoi(u.Port()); err == nil {
		return n
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}

// targetPort is the port of the pod that a port of its Service leads to.
func (i *istiod) targetPort(p *model.Proxy, port int) int {
	for _, target := range p.ServiceTargets {
		if target.Port.Port == port {
			return int(target.Port.TargetPort)
		}
	}
	return port
}

// call makes a request and says what became of it, in the terms of what is expected.
func call(t *testing.T, s step, u *url.URL, address string) outcome {
	t.Helper()
	config := &tls.Config{ServerName: s.SNI, InsecureSkipVerify: true} // whose certificate it is, is not what is asked here
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	if s.ALPN != "" {
		config.NextProtos = []string{s.ALPN}
	}
	if s.Certificate != "" {
		config.Certificates = []tls.Certificate{clientCertificate(t, s.Certificate)}
	}
	transport := &http.Transport{
		Dial:            func(string, string) (net.Conn, error) { return net.Dial("tcp", address) },
		TLSClientConfig: config, DisableKeepAlives: true, DisableCompression: true,
	}
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(t.Context(), s.Request[:strings.Index(s.Request, " ")], u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range s.Headers {
		req.Header.Set(name, value)
	}
	res, err := client.Do(req)
	if err != nil {
		return outcome{Refused: true}
	}
	defer res.Body.Close()
	got := outcome{Response: pick(s.Response, res.Header.Get)}
	if s.Route != "" {
		got.Route = res.Header.Get(routeHeader)
	}
	reached := res.Header.Get(reachedHeader)
	if reached == "" {
		got.Answer = res.StatusCode
		return got
	}
	got.Reaches = place(reached)
	var seen http.Header
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &seen); err != nil && req.Method != http.MethodHead {
		t.Fatalf("%v: %s", err, body)
	}
	got.Sees = pick(s.Sees, func(name string) string { return strings.Join(seen[http.CanonicalHeaderKey(name)], ",") })
	return got
}

func clientCertificate(t *testing.T, which string) tls.Certificate {
	t.Helper()
	signer, identity := throwAway(t), ""
	switch which {
	case "client":
	case "mesh":
		identity = "cluster.local/ns/default/sa/default"
	case "stranger":
		var err error
		if signer, err = makeAuthority(); err != nil {
			t.Fatal(err)
		}
	default:
		if !strings.Contains(which, "/ns/") {
			t.Fatalf("certificate %q is neither client nor mesh nor stranger nor an identity", which)
		}
		identity = which
	}
	c, err := signer.leaf("client.test", identity).parse()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pick takes the values that somebody has an expectation of.
func pick(want map[string]string, get func(string) string) map[string]string {
	if want == nil {
		return nil
	}
	got := map[string]string{}
	for name := range want {
		got[name] = get(name)
	}
	return got
}

// place says in few words what cluster of Envoy's was reached.
func place(clusterName string) string {
	direction, subset, hostname, port := model.ParseSubsetKey(clusterName)
	if direction == "" {
		return clusterName
	}
	out := string(hostname) + ":" + strconv.Itoa(port)
	if subset != "" {
		out += "/" + subset
	}
	return out
}

// walkSidecar follows requests through the configuration of a sidecar with Istio's own simulation: what iptables does with
// a connection cannot be had here.
func (i *istiod) walkSidecar(t *testing.T, p *model.Proxy, sent configuration, steps []step) {
	sim := simulation.NewSimulationFromConfigGen(t, i.ConfigGenTest, p)
	for _, s := range steps {
		method, target, _ := strings.Cut(s.Request, " ")
		c := simulation.Call{Protocol: simulation.HTTP, CallMode: simulation.CallModeOutbound, Sni: s.SNI}
		switch method {
		case "TCP":
			target, c.Protocol = "tcp://"+target, simulation.TCP
		case "TLS":
			target, c.Protocol, c.TLS = "tcp://"+target, simulation.TCP, simulation.TLS
		}
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		c.Port, c.HostHeader, c.Path = portOf(u), u.Host, u.Path
		if c.TLS == simulation.TLS && c.Sni == "" {
			c.Sni = u.Hostname()
		}
		if svc := i.PushContext().ServiceForHostname(p, host.Name(u.Hostname())); svc != nil {
			c.Address = svc.GetAddressForProxy(p)
		}
		got := outcome{}
		if r := sim.Run(c); r.ClusterMatched == "" {
			got.Refused = true
		} else {
			got.Reaches = place(r.ClusterMatched)
			got.Via, got.With = destination(t, sent, r.ClusterMatched)
		}
		if s.Via == nil {
			got.Via = nil
		}
		if s.With == "" {
			got.With = ""
		}
		if diff := cmp.Diff(s.outcome, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Request, diff)
		}
	}
}

// destination is where a cluster's connections go: the addresses of one priority are one string; and the server name that
// connections carry in TLS.
func destination(t *testing.T, sent configuration, name string) (addresses []string, sni string) {
	t.Helper()
	if m, ok := sent[v3.EndpointType][name]; ok {
		byPriority := map[uint32][]string{}
		for _, l := range m.(*endpoint.ClusterLoadAssignment).Endpoints {
			for _, ep := range l.LbEndpoints {
				a := ep.GetEndpoint().GetAddress().GetSocketAddress()
				byPriority[l.Priority] = append(byPriority[l.Priority], net.JoinHostPort(a.GetAddress(), strconv.Itoa(int(a.GetPortValue()))))
			}
		}
		for _, priority := range slices.Sorted(maps.Keys(byPriority)) {
			slices.Sort(byPriority[priority])
			addresses = append(addresses, strings.Join(byPriority[priority], " "))
		}
	}
	if m, ok := sent[v3.ClusterType][name]; ok {
		socket := m.(*cluster.Cluster).GetTransportSocket()
		for _, match := range m.(*cluster.Cluster).GetTransportSocketMatches() { // for endpoints that speak mutual TLS, or not
			if match.GetTransportSocket().GetName() == "envoy.transport_sockets.tls" {
				socket = match.GetTransportSocket()
			}
		}
		if socket != nil {
			var upstream tlsv3.UpstreamTlsContext
			if err := socket.GetTypedConfig().UnmarshalTo(&upstream); err != nil {
				t.Fatal(err)
			}
			sni = upstream.Sni
		}
	}
	return addresses, sni
}

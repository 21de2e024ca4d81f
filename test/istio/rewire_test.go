package istio

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	v3 "istio.io/istio/pilot/pkg/xds/v3"
)

const (
	// reachedHeader names, in an answer, the cluster that gave it.
	reachedHeader = "X-Isthmus-Reached"
	// routeHeader names the route that was taken, whoever answers.
	routeHeader = "X-Isthmus-Route"
)

// rewire makes a configuration that can be served here: listeners on free ports of the loopback interface, and in the place
// of every cluster a server that says what it received. Names, routes and filters stay as they are.
func rewire(t *testing.T, c configuration) (configuration, *servers) {
	t.Helper()
	out := maps.Clone(c)
	out[v3.ListenerType], out[v3.ClusterType] = map[string]proto.Message{}, map[string]proto.Message{}
	delete(out, v3.EndpointType)
	s := startServers(t)
	for name, m := range c[v3.ListenerType] {
		l := proto.CloneOf(m.(*listener.Listener))
		l.Address = &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 0},
		}}}
		l.AdditionalAddresses, l.BindToPort = nil, wrapperspb.Bool(true)
		l.Name = s.own(name)
		out[v3.ListenerType][l.Name] = l
	}
	out[v3.RouteType] = map[string]proto.Message{}
	for name, m := range c[v3.RouteType] {
		r := proto.CloneOf(m.(*route.RouteConfiguration))
		r.ResponseHeadersToAdd = append(r.ResponseHeadersToAdd, &core.HeaderValueOption{Header: &core.HeaderValue{Key: routeHeader, Value: "%ROUTE_NAME%"}})
		out[v3.RouteType][name] = r
	}
	for name, m := range c[v3.ClusterType] {
		x := proto.CloneOf(m.(*cluster.Cluster))
		x.ClusterDiscoveryType = &cluster.Cluster_Type{Type: cluster.Cluster_STATIC}
		x.EdsClusterConfig, x.LbConfig, x.LbSubsetConfig, x.HealthChecks = nil, nil, nil, nil
		x.LbPolicy, x.LoadBalancingPolicy = cluster.Cluster_ROUND_ROBIN, nil
		x.TransportSocket, x.TransportSocketMatches, x.UpstreamBindConfig = nil, nil, nil
		x.LoadAssignment = &endpoint.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpoint.LocalityLbEndpoints{{
			LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
				Address: &core.Address{Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: s.serve(t, name)}}},
			}}}},
		}}}
		out[v3.ClusterType][name] = x
	}
	return out, s
}

// listenerAt is the name of the listener on a port.
func listenerAt(c configuration, port int) (string, bool) {
	for name, m := range c[v3.ListenerType] {
		if int(m.(*listener.Listener).GetAddress().GetSocketAddress().GetPortValue()) == port {
			return name, true
		}
	}
	return "", false
}

// ports waits until everything that was sent is served, and returns the address of each listener.
func (e *envoy) ports(t *testing.T, behind *servers) map[string]string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		stats := string(e.ask(t, "/stats?filter=warming"))
		if strings.Contains(stats, "listener_manager.total_listeners_warming: 0\n") && strings.Contains(stats, "cluster_manager.warming_clusters: 0\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Envoy does not serve what it was sent:\n%s", stats)
		}
	}
	var list struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(e.ask(t, "/listeners?format=json"), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, l := range list.Statuses {
		name, own := strings.CutSuffix(l.Name, behind.own(""))
		if !own {
			continue // of the walk before, and going
		}
		out[name] = net.JoinHostPort(l.Address.Socket.Address, strconv.Itoa(l.Address.Socket.Port))
	}
	return out
}

// servers stand for the clusters of one configuration, each on a socket of its own.
type servers struct {
	dir         string
	certificate tls.Certificate
	http        []*http.Server
	group       sync.WaitGroup
}

func startServers(t *testing.T) *servers {
	t.Helper()
	dir, err := os.MkdirTemp(work(), "s")
	if err != nil {
		t.Fatal(err)
	}
	c, err := throwAway(t).leaf("upstream.test", "").parse()
	if err != nil {
		t.Fatal(err)
	}
	return &servers{dir: dir, certificate: c}
}

// own is a listener's name for this configuration alone: Envoy gives a listener that it has the port of the one before,
// which may still accept a connection, and then close it.
func (s *servers) own(listener string) string { return listener + "~" + filepath.Base(s.dir) }

// serve answers in the name of a cluster, HTTP/1.1 and 2 in the clear, and HTTP/1.1 in TLS, and returns the socket's path.
func (s *servers) serve(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(s.dir, strconv.Itoa(len(s.http)))
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header[":path"], r.Header[":authority"], r.Header[":method"] = []string{r.RequestURI}, []string{r.Host}, []string{r.Method}
		w.Header().Set(reachedHeader, name)
		if err := json.NewEncoder(w).Encode(r.Header); err != nil {
			fmt.Fprintln(os.Stderr, "upstream:", err)
		}
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	s.http = append(s.http, server)
	sniff := &sniffer{Listener: l, ready: make(chan net.Conn), closed: make(chan struct{})}
	s.group.Go(func() { sniff.run(s.certificate) })
	s.group.Go(func() { server.Serve(sniff) }) // it ends with close
	return path
}

func (s *servers) close() {
	for _, server := range s.http {
		server.Close()
	}
	s.group.Wait()
}

// sniffer is a listener that takes TLS and plain connections alike: what passes through a gateway unopened arrives in TLS.
type sniffer struct {
	net.Listener
	ready  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (s *sniffer) run(certificate tls.Certificate) {
	var group sync.WaitGroup
	defer group.Wait()
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			return
		}
		group.Go(func() {
			conn := &peeked{Conn: c, r: bufio.NewReader(c)}
			c.SetReadDeadline(time.Now().Add(patience))
			first, err := conn.r.Peek(1)
			if err != nil {
				c.Close()
				return
			}
			c.SetReadDeadline(time.Time{})
			var out net.Conn = conn
			if first[0] == 0x16 { // a handshake
				out = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
			}
			select {
			case s.ready <- out:
			case <-s.closed:
				c.Close()
			}
		})
	}
}

func (s *sniffer) Accept() (net.Conn, error) {
	select {
	case c := <-s.ready:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *sniffer) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Listener.Close()
}

type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

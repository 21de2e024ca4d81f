package istio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/protobuf/types/known/anypb"

	v3 "istio.io/istio/pilot/pkg/xds/v3"
)

// control is what one Envoy talks to in the place of istiod and pilot-agent. It sends configurations in the order in which
// istiod does, and hears what Envoy takes and what it rejects.
type control struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	secret.UnimplementedSecretDiscoveryServiceServer

	mu      sync.Mutex
	changed chan struct{} // closed whenever something below changes
	version int
	send    configuration
	want    []resourceID // what Envoy will have to say something about
	// taken is the version in which Envoy has each resource; those that are sent without being named have the name "*".
	taken    map[resourceID]int
	rejected []rejection
}

type resourceID struct{ typeURL, name string }

// rejection is Envoy's NACK.
type rejection struct {
	version int
	typeURL string
	message string
}

func newControl() *control {
	return &control{changed: make(chan struct{}), taken: map[resourceID]int{}}
}

// order is istiod's: what is pointed to comes first.
var order = []string{v3.ClusterType, v3.EndpointType, v3.ListenerType, v3.RouteType, v3.SecretType, v3.ExtensionConfigurationType}

// named says that Envoy asks for resources of a type by name; of the others it gets all.
func named(typeURL string) bool { return typeURL != v3.ClusterType && typeURL != v3.ListenerType }

// push sends a configuration and returns what Envoy rejects of it, when it has answered about all of it.
func (c *control) push(ctx context.Context, send configuration) ([]string, error) {
	want := append(referred(send), resourceID{v3.ClusterType, "*"}, resourceID{v3.ListenerType, "*"})
	c.mu.Lock()
	c.version++
	version := c.version
	c.send, c.want = send, want
	c.wake()
	c.mu.Unlock()
	for {
		c.mu.Lock()
		changed, open, rejected := c.changed, c.unanswered(), c.rejections(version)
		c.mu.Unlock()
		if len(open) == 0 {
			return rejected, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return rejected, fmt.Errorf("Envoy has not answered about %s: %w", strings.Join(open, ", "), context.Cause(ctx))
		}
	}
}

// wake tells everybody who waits that something has changed. The caller holds the lock.
func (c *control) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *control) rejections(version int) []string {
	var out []string
	for _, r := range c.rejected {
		if r.version == version {
			out = append(out, v3.GetShortType(r.typeURL)+": "+r.message)
		}
	}
	return out
}

// unanswered are the resources of the newest version that Envoy must speak about and has not. What a rejected listener or
// cluster refers to is never asked for.
func (c *control) unanswered() []string {
	bad := map[string]bool{}
	for _, r := range c.rejected {
		bad[r.typeURL] = bad[r.typeURL] || r.version == c.version
	}
	rejected := bad[v3.ClusterType] || bad[v3.ListenerType]
	var open []string
	for _, id := range c.want {
		if c.taken[id] == c.version || bad[id.typeURL] || rejected && named(id.typeURL) {
			continue
		}
		open = append(open, v3.GetShortType(id.typeURL)+" "+id.name)
	}
	slices.Sort(open)
	return open
}

// referred are the resources that listeners and clusters refer to by name.
func referred(send configuration) []resourceID {
	var out []resourceID
	for _, m := range send[v3.ClusterType] {
		if x := m.(*cluster.Cluster); x.GetType() == cluster.Cluster_EDS {
			out = append(out, resourceID{v3.EndpointType, cmp.Or(x.GetEdsClusterConfig().GetServiceName(), x.Name)})
		}
	}
	var listeners []*listener.Listener
	for _, m := range send[v3.ListenerType] {
		l := m.(*listener.Listener)
		listeners = append(listeners, l)
		for name := range routeNames(l) {
			out = append(out, resourceID{v3.RouteType, name})
		}
	}
	for name := range extensionNames(listeners) {
		out = append(out, resourceID{v3.ExtensionConfigurationType, name})
	}
	for name := range send.secrets() {
		out = append(out, resourceID{v3.SecretType, name})
	}
	return out
}

// StreamAggregatedResources is istiod's.
func (c *control) StreamAggregatedResources(s discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return c.serve(s)
}

// StreamSecrets is the agent's.
func (c *control) StreamSecrets(s secret.SecretDiscoveryService_StreamSecretsServer) error {
	return c.serve(s)
}

type stream interface {
	Context() context.Context
	Send(*discovery.DiscoveryResponse) error
	Recv() (*discovery.DiscoveryRequest, error)
}

// subscription is what one stream wants of one type.
type subscription struct {
	names []string
	// sent is the version that was sent last, under this nonce; 0 asks for sending.
	sent  int
	nonce string
	// of is what the nonce was about.
	of []string
}

// serve is the state-of-the-world protocol of one stream.
func (c *control) serve(s stream) error {
	requests, ended := make(chan *discovery.DiscoveryRequest), make(chan error, 1)
	go func() {
		for {
			r, err := s.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- r:
			case <-s.Context().Done():
				return
			}
		}
	}()
	subscriptions := map[string]*subscription{}
	nonce := 0
	for {
		c.mu.Lock()
		changed := c.changed
		responses, err := c.due(subscriptions, &nonce)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		for _, r := range responses {
			if err := s.Send(r); err != nil {
				return err
			}
		}
		select {
		case r := <-requests:
			c.hear(subscriptions, r)
		case <-changed:
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-s.Context().Done():
			return nil
		}
	}
}

// due makes the responses that a stream must be sent, and notes that they were.
func (c *control) due(subscriptions map[string]*subscription, nonce *int) ([]*discovery.DiscoveryResponse, error) {
	var out []*discovery.DiscoveryResponse
	for _, typeURL := range order {
		sub := subscriptions[typeURL]
		if sub == nil || sub.sent == c.version || c.version == 0 || named(typeURL) && len(sub.names) == 0 {
			continue
		}
		names := sub.names
		if !named(typeURL) {
			names = slices.Sorted(maps.Keys(c.send[typeURL]))
		}
		r := &discovery.DiscoveryResponse{TypeUrl: typeURL, VersionInfo: strconv.Itoa(c.version)}
		for _, name := range names {
			m, ok := c.send[typeURL][name]
			if !ok {
				continue
			}
			wrapped, err := anypb.New(m)
			if err != nil {
				return nil, err
			}
			r.Resources = append(r.Resources, wrapped)
		}
		*nonce++
		r.Nonce = strconv.Itoa(*nonce)
		sub.sent, sub.nonce, sub.of = c.version, r.Nonce, names
		out = append(out, r)
	}
	return out, nil
}

// hear takes a request: it may acknowledge or reject what was sent last, and may ask for other names.
func (c *control) hear(subscriptions map[string]*subscription, r *discovery.DiscoveryRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sub := subscriptions[r.TypeUrl]
	if sub == nil {
		sub = &subscription{}
		subscriptions[r.TypeUrl] = sub
	}
	if r.ResponseNonce != "" && r.ResponseNonce == sub.nonce {
		c.note(r, sub)
	}
	names := slices.Sorted(slices.Values(r.ResourceNames))
	if !slices.Equal(names, sub.names) {
		sub.names, sub.sent = names, 0
	}
	c.wake()
}

// note keeps Envoy's answer about what was sent.
func (c *control) note(r *discovery.DiscoveryRequest, sub *subscription) {
	if r.ErrorDetail != nil {
		c.rejected = append(c.rejected, rejection{version: sub.sent, typeURL: r.TypeUrl, message: r.ErrorDetail.Message})
		return
	}
	about := sub.of
	if !named(r.TypeUrl) {
		about = []string{"*"}
	}
	for _, name := range about {
		c.taken[resourceID{r.TypeUrl, name}] = sub.sent
	}
}

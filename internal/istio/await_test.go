package istio_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/istio"
)

// Callers of a host that is called already wait for whoever is new, and for nobody else.
func TestAwait(t *testing.T) {
	host := func(endpoints ...intent.Endpoint) *intent.Host {
		return &intent.Host{
			Host: "shop.test", Name: "shop-test", Ports: []intent.HostPort{{Name: "http", Number: 80, Protocol: intent.HTTP, MTLS: true}},
			Forms: map[intent.FormKey]*intent.Form{{}: {Endpoints: endpoints}},
		}
	}
	at := func(cluster, service, address string) intent.Endpoint {
		return intent.Endpoint{Cluster: cluster, Service: service, Address: address, Ports: map[string]uint32{"http": 15443}}
	}
	for name, tc := range map[string]struct {
		was, is *intent.Host
		want    []string
	}{
		"New":          {nil, host(at("c2", "gw", "192.0.2.1")), nil},
		"First":        {host(), host(at("c2", "gw", "192.0.2.1")), nil},
		"Address":      {host(at("c2", "gw", "192.0.2.1")), host(at("c2", "gw", "192.0.2.2")), nil},
		"Fewer":        {host(at("c2", "gw", "192.0.2.1"), at("c3", "gw", "192.0.2.3")), host(at("c2", "gw", "192.0.2.1")), nil},
		"OtherCluster": {host(at("c2", "gw", "192.0.2.1")), host(at("c3", "gw", "192.0.2.3")), []string{"c3"}},
		"OtherPods":    {host(at("c2", "gw", "192.0.2.1")), host(at("c2", "gw-b", "192.0.2.2")), []string{"c2"}},
		"More":         {host(at("c2", "gw", "192.0.2.1")), host(at("c2", "gw", "192.0.2.1"), at("c3", "gw", "192.0.2.3")), []string{"c3"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := istio.New()
			first := intent.Delta{Clusters: map[string]*intent.Cluster{"c1": {Name: "c1"}}, Hosts: map[string]*intent.Host{}}
			if tc.was != nil {
				first.Hosts["shop.test"] = tc.was
			}
			for _, ch := range r.Apply(first) {
				if len(ch.Await) > 0 {
					t.Errorf("at first something is waited for: %v", ch.Await)
				}
			}
			var want map[string][]string
			if tc.want != nil {
				want = map[string][]string{"networking.istio.io/v1/ServiceEntry/xcp-multicluster/global-gateway-shop-test": tc.want}
			}
			changes := r.Apply(intent.Delta{Hosts: map[string]*intent.Host{"shop.test": tc.is}})
			if len(changes) != 1 {
				t.Fatalf("%d changes, want 1", len(changes))
			}
			if diff := cmp.Diff(want, changes[0].Await); diff != "" {
				t.Errorf("who is waited for (-want +got):\n%s", diff)
			}
		})
	}
}

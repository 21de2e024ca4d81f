package istio

import (
	"fmt"
	"testing"

	networking "istio.io/api/networking/v1alpha3"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/core"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
)

// BenchmarkIstiod is an anchor for our own figures: what istiod itself needs from 1,000 Gateways and VirtualServices to the
// routes of one gateway pod.
func BenchmarkIstiod(b *testing.B) {
	const hosts = 1000
	var configs []config.Config
	for i := range hosts {
		name, host := fmt.Sprintf("g%d", i), fmt.Sprintf("h%d.example.com", i)
		configs = append(configs, config.Config{
			Meta: config.Meta{GroupVersionKind: gvk.Gateway, Namespace: "shop", Name: name},
			Spec: &networking.Gateway{Selector: map[string]string{"app": "gateway"}, Servers: []*networking.Server{{
				Hosts: []string{"shop/" + host}, Port: &networking.Port{Name: "http", Number: 80, Protocol: "HTTP"},
			}}},
		}, config.Config{
			Meta: config.Meta{GroupVersionKind: gvk.VirtualService, Namespace: "shop", Name: name},
			Spec: &networking.VirtualService{Hosts: []string{host}, Gateways: []string{name}, Http: []*networking.HTTPRoute{{
				Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "app.shop.svc.cluster.local"}}},
			}}},
		})
	}
	g := core.NewConfigGenTest(b, core.TestOptions{Configs: configs})
	proxy := g.SetupProxy(&model.Proxy{
		Type: model.Router, ConfigNamespace: "shop", Labels: map[string]string{"app": "gateway"},
		Metadata: &model.NodeMetadata{Namespace: "shop", Labels: map[string]string{"app": "gateway"}, IstioVersion: istioVersion},
	})
	virtualHosts := 0
	for b.Loop() {
		push := model.NewPushContext()
		push.InitContext(g.Env(), nil, nil)
		g.Env().SetPushContext(push)
		virtualHosts = 0
		for _, r := range g.Routes(g.SetupProxy(proxy)) {
			virtualHosts += len(r.VirtualHosts)
		}
	}
	if virtualHosts < hosts {
		b.Fatalf("%d virtual hosts, want at least %d", virtualHosts, hosts)
	}
	b.ReportMetric(float64(virtualHosts), "hosts")
}

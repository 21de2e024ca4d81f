package istio

import (
	"bytes"
	"iter"
	"slices"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	corev1 "k8s.io/api/core/v1"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/util"
	"istio.io/istio/pilot/pkg/serviceregistry/util/label"
	v3 "istio.io/istio/pilot/pkg/xds/v3"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/cluster"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/network"
	"istio.io/istio/pkg/spiffe"
	"istio.io/istio/pkg/test/util/assert"
	"istio.io/istio/pkg/util/sets"
)

// istioVersion is the minor version of the Istio in go.mod: what is sent to a proxy depends on the proxy's own.
const istioVersion = "1.31.0"

// istiod is the control plane of one cluster, in this process, over what was rendered for the cluster and seen of it.
type istiod struct {
	*xds.FakeDiscoveryServer
	cluster    *observedCluster
	kubernetes *kubernetes
}

func startIstiod(t *testing.T, c *observedCluster) *istiod {
	t.Helper()
	var configs []config.Config
	for _, o := range c.objects {
		cfg, err := decode(o)
		if err != nil {
			t.Fatalf("%s: %s: %v", c.name, o, err)
		}
		if cfg != nil {
			configs = append(configs, *cfg)
		}
	}
	m := mesh.DefaultMeshConfig()
	m.AccessLogFile = "/dev/stdout"
	if c.facts.Mesh.TrustDomain != "" {
		m.TrustDomain = c.facts.Mesh.TrustDomain
	}
	m.TrustDomainAliases = c.facts.Mesh.TrustDomainAliases
	k := reconstruct(t, c)
	k.pods = append(k.pods, pod("default", "client", "default", "10.244.2.1", map[string]string{"app": "client"}, nil, true))
	return &istiod{cluster: c, kubernetes: k, FakeDiscoveryServer: xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		DefaultClusterName:         cluster.ID(c.name),
		Configs:                    configs,
		KubernetesObjects:          k.objects(),
		MeshConfig:                 m,
		DisableSecretAuthorization: true,
	})}
}

// proxy is the Envoy of a pod, as it introduces itself to istiod.
func (i *istiod) proxy(kind model.NodeType, p *corev1.Pod) *model.Proxy {
	m := i.cluster.facts.Mesh
	proxy := &model.Proxy{
		Type: kind, ID: p.Name + "." + p.Namespace, ConfigNamespace: p.Namespace, DNSDomain: p.Namespace + ".svc.cluster.local",
		IPAddresses: []string{p.Status.PodIP}, Labels: p.Labels,
		Locality:         &core.Locality{Region: m.Region, Zone: m.Zone},
		VerifiedIdentity: &spiffe.Identity{TrustDomain: m.TrustDomain, Namespace: p.Namespace, ServiceAccount: p.Spec.ServiceAccountName},
		Metadata: &model.NodeMetadata{
			Namespace: p.Namespace, WorkloadName: p.Name, ServiceAccount: p.Spec.ServiceAccountName, Labels: p.Labels,
			IstioVersion: istioVersion, MeshID: "mesh", ClusterID: cluster.ID(i.cluster.name), Network: network.ID(m.Network),
			DNSCapture:  model.StringBool(m.DNSCapture),
			ProxyConfig: (*model.NodeMetaProxyConfig)(mesh.DefaultProxyConfig()),
		},
	}
	// As istiod does it when a proxy connects: who is nearest is told by labels.
	proxy.SetWorkloadLabels(i.Env())
	proxy.Labels = label.AugmentLabels(proxy.Labels, proxy.Metadata.ClusterID, util.LocalityToString(proxy.Locality), p.Spec.NodeName, proxy.Metadata.Network)
	return i.SetupProxy(proxy)
}

// proxies are those that are asked about, by a name for people: the gateways, the sidecar of a pod that calls others, and one of
// an application in each namespace where sidecars have filters of their own.
func (i *istiod) proxies() iter.Seq2[string, *model.Proxy] {
	return func(yield func(string, *model.Proxy) bool) {
		for _, w := range i.cluster.facts.Workloads {
			p := i.proxy(model.Router, i.kubernetes.pod(w.Namespace, w.Name))
			if !yield(w.Namespace+"."+w.Name, p) {
				return
			}
		}
		done := sets.String{}
		for _, p := range i.kubernetes.pods {
			if i.filtered(p.Namespace) && strings.HasPrefix(p.Name, applicationPrefix) && !done.InsertContains(p.Namespace) &&
				!yield(p.Namespace+"."+p.Name, i.proxy(model.SidecarProxy, p)) {
				return
			}
		}
		yield("sidecar", i.proxy(model.SidecarProxy, i.kubernetes.pod("default", "client")))
	}
}

// filtered says whether sidecars of a namespace have filters of their own.
func (i *istiod) filtered(namespace string) bool {
	return slices.ContainsFunc(i.cluster.objects, func(o object) bool {
		return o.Kind == "EnvoyFilter" && o.Metadata.Namespace == namespace && bytes.Contains(o.raw, []byte(`"SIDECAR_`))
	})
}

// send makes everything that a proxy asks for: of istiod, and of the agent beside it, which has the certificates of the mesh.
func (i *istiod) send(t *testing.T, p *model.Proxy) configuration {
	t.Helper()
	c := configuration{}
	listeners := i.Listeners(p)
	for _, l := range listeners {
		c.add(v3.ListenerType, l.Name, l)
	}
	for _, x := range i.Clusters(p) {
		c.add(v3.ClusterType, x.Name, x)
	}
	for _, r := range i.RoutesFromListeners(p, listeners) {
		c.add(v3.RouteType, r.Name, r)
	}
	for _, e := range i.Endpoints(p) {
		c.add(v3.EndpointType, e.ClusterName, e)
	}
	i.generate(t, p, c, v3.ExtensionConfigurationType, extensionNames(listeners))
	fetchModules(t, c)
	mountSecrets(t, c)
	wanted := c.secrets()
	names := sets.String{}
	for name, kind := range wanted {
		if strings.HasPrefix(name, "kubernetes://") {
			names.Insert(name)
			continue
		}
		c.add(v3.SecretType, name, agentSecret(t, name, kind, "cluster.local/ns/"+p.ConfigNamespace+"/sa/"+p.Metadata.ServiceAccount))
	}
	i.generate(t, p, c, v3.SecretType, names)
	return c
}

// generate asks istiod for resources by name.
func (i *istiod) generate(t *testing.T, p *model.Proxy, c configuration, typeURL string, names sets.String) {
	t.Helper()
	if len(names) == 0 {
		return
	}
	made, _, err := i.Discovery.Generators[typeURL].Generate(p, &model.WatchedResource{TypeUrl: typeURL, ResourceNames: names},
		&model.PushRequest{Forced: true, Push: i.PushContext()})
	assert.NoError(t, err)
	for _, r := range made {
		m, err := r.Resource.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		c.add(typeURL, r.Name, m)
	}
}

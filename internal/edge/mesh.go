package edge

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"slices"

	"sigs.k8s.io/yaml"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

const networkLabel = "topology.istio.io/network"

// meshConfig is what matters of Istio's MeshConfig.
type meshConfig struct {
	TrustDomain        string   `json:"trustDomain"`
	TrustDomainAliases []string `json:"trustDomainAliases"`
	DefaultConfig      struct {
		ProxyMetadata map[string]string `json:"proxyMetadata"`
		proxyConfig   `json:",inline"`
	} `json:"defaultConfig"`
}

// proxyConfig is what matters of Istio's ProxyConfig, which the mesh has for all pods and a pod in an annotation.
type proxyConfig struct {
	GatewayTopology *gatewayTopology `json:"gatewayTopology"`
}

// gatewayTopology says what stands in front of a gateway.
type gatewayTopology struct {
	NumTrustedProxies int64     `json:"numTrustedProxies"`
	ProxyProtocol     *struct{} `json:"proxyProtocol"`
}

// forwardsClients says whether proxies in front of gateways say who the client is; nil when the configuration says
// nothing about it.
func (c proxyConfig) forwardsClients() *bool {
	if c.GatewayTopology == nil {
		return nil
	}
	return new(c.GatewayTopology.NumTrustedProxies > 0 || c.GatewayTopology.ProxyProtocol != nil)
}

// meshInput is everything that the fact about the mesh is made from.
type meshInput struct {
	istiods    []*deployment
	configMaps map[string]map[string]string // by name, of the namespace of Istio
	namespace  *item                        // of Istio; nil when it does not exist
	nodes      []*isthmusv1.Node
	kubernetes string
	edge       string
	signer     string
}

// mesh is the fact about the cluster's Istio and Kubernetes.
func mesh(in meshInput) *isthmusv1.Fact {
	m := &isthmusv1.Mesh{KubernetesVersion: in.kubernetes, EdgeVersion: in.edge, Region: commonest(in.nodes, (*isthmusv1.Node).GetRegion), Zone: commonest(in.nodes, (*isthmusv1.Node).GetZone)}
	if in.namespace != nil {
		m.Network = in.namespace.Labels[networkLabel]
	}
	name := "istio"
	if d := active(in.istiods); d != nil {
		m.Revision, m.IstioVersion = d.revision, d.version
		if d.revision != "" && d.revision != "default" {
			name = "istio-" + d.revision
		}
		m.TrustDomain = "cluster.local" // Istio's default
	}
	var cfg meshConfig
	if text := in.configMaps[name]["mesh"]; text != "" {
		_ = yaml.Unmarshal([]byte(text), &cfg) // istiod refuses what cannot be read, and so does not run
	}
	m.TrustDomain = cmp.Or(cfg.TrustDomain, m.TrustDomain)
	m.TrustDomainAliases = cfg.TrustDomainAliases
	m.DnsCapture = cfg.DefaultConfig.ProxyMetadata["ISTIO_META_DNS_CAPTURE"] == "true"
	if told := cfg.DefaultConfig.forwardsClients(); told != nil {
		m.ForwardedClients = *told
	}
	if roots := fingerprints(in.configMaps["istio-ca-root-cert"]["root-cert.pem"]); len(roots) > 0 {
		m.RootSha256 = roots[0]
		slices.Sort(roots)
		m.RootsSha256 = slices.Compact(roots)
	}
	if slices.Contains(m.RootsSha256, in.signer) { // or istiod was asked before it changed what it trusts
		m.SignerSha256 = in.signer
	}
	return &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: m}}
}

// fingerprints of the certificates in a text, in its order.
func fingerprints(text string) []string {
	var all []string
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return all
		}
		all = append(all, fingerprint(block.Bytes))
	}
}

// fingerprint of a certificate, as openssl shows it without colons.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// active is the istiod that new workloads belong to: a ready one before others, then the one without a name, then the
// one whose name sorts last, which is the newest where names are versions.
func active(istiods []*deployment) *deployment {
	if len(istiods) == 0 {
		return nil
	}
	rank := func(d *deployment) int {
		n := 0
		if d.ready {
			n += 2
		}
		if d.revision == "" || d.revision == "default" {
			n++
		}
		return n
	}
	return slices.MaxFunc(istiods, func(a, b *deployment) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.revision, b.revision))
	})
}

// commonest value of the nodes, the first in order among equals.
func commonest(nodes []*isthmusv1.Node, of func(*isthmusv1.Node) string) string {
	count := map[string]int{}
	for _, n := range nodes {
		if v := of(n); v != "" {
			count[v]++
		}
	}
	best := ""
	for v, n := range count {
		if best == "" || n > count[best] || n == count[best] && v < best {
			best = v
		}
	}
	return best
}

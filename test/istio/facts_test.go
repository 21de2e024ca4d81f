package istio

import (
	"bytes"
	"testing"

	"sigs.k8s.io/yaml"
)

// facts is what the edge of one cluster had seen, in the words of a golden's observed.yaml.
type facts struct {
	Cluster    string          `json:"cluster"`
	Mesh       meshFact        `json:"mesh"`
	Namespaces []namespaceFact `json:"namespaces"`
	Services   []serviceFact   `json:"services"`
	Workloads  []workloadFact  `json:"workloads"`
	Backings   []backingFact   `json:"backings"`
	Secrets    []secretFact    `json:"secrets"`
	Nodes      []nodeFact      `json:"nodes"`
	Routed     []any           `json:"routed"` // what others wrote is not in the golden
}

type meshFact struct {
	Revision           string   `json:"revision"`
	IstioVersion       string   `json:"istioVersion"`
	KubernetesVersion  string   `json:"kubernetesVersion"`
	TrustDomain        string   `json:"trustDomain"`
	TrustDomainAliases []string `json:"trustDomainAliases"`
	Network            string   `json:"network"`
	DNSCapture         bool     `json:"dnsCapture"`
	RootSHA256         string   `json:"rootSha256"`
	RootsSHA256        []string `json:"rootsSha256"`
	SignerSHA256       string   `json:"signerSha256"`
	Region             string   `json:"region"`
	Zone               string   `json:"zone"`
	EdgeVersion        string   `json:"edgeVersion"`
	ForwardedClients   bool     `json:"forwardedClients"`
}

type namespaceFact struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Terminating bool              `json:"terminating"`
}

type serviceFact struct {
	Namespace         string            `json:"namespace"`
	Name              string            `json:"name"`
	Type              string            `json:"type"`
	ClusterIP         string            `json:"clusterIp"`
	Selector          map[string]string `json:"selector"`
	Ports             []portFact        `json:"ports"`
	ExternalAddresses []string          `json:"externalAddresses"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	ExternalName      string            `json:"externalName"`
	TrafficPolicy     string            `json:"externalTrafficPolicy"`
}

type portFact struct {
	Name        string `json:"name"`
	Number      int32  `json:"number"`
	TargetPort  string `json:"targetPort"`
	NodePort    int32  `json:"nodePort"`
	Protocol    string `json:"protocol"`
	AppProtocol string `json:"appProtocol"`
}

type workloadFact struct {
	Namespace       string            `json:"namespace"`
	Name            string            `json:"name"`
	Labels          map[string]string `json:"labels"`
	ServiceAccount  string            `json:"serviceAccount"`
	ServiceAccounts []string          `json:"serviceAccounts"`
	Ready           int               `json:"ready"`
	Total           int               `json:"total"`
	Ports           map[string]int32  `json:"ports"`
	Nodes           []string          `json:"nodes"`
	// ForwardedClients is nil when the pods say nothing.
	ForwardedClients *bool    `json:"forwardedClients"`
	Mounts           []string `json:"mounts"`
	Rejected         []string `json:"rejected"`
}

type backingFact struct {
	Namespace       string   `json:"namespace"`
	Name            string   `json:"name"`
	Mesh            bool     `json:"mesh"`
	Plain           bool     `json:"plain"`
	ServiceAccounts []string `json:"serviceAccounts"`
}

// backing is what was seen behind a service, nil when that was nothing.
func (f *facts) backing(s serviceFact) *backingFact {
	for i, b := range f.Backings {
		if b.Namespace == s.Namespace && b.Name == s.Name {
			return &f.Backings[i]
		}
	}
	return nil
}

type secretFact struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Type      string `json:"type"`
	CA        bool   `json:"ca"`
	Problem   string `json:"problem"`
	CAProblem string `json:"caProblem"`
	NotAfter  any    `json:"notAfter"`

	DNSNames      []string `json:"dnsNames"`
	ClientProblem string   `json:"clientProblem"`
	ClientFiles   any      `json:"clientFiles"`
}

type nodeFact struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
	Region    string   `json:"region"`
	Zone      string   `json:"zone"`
	Subzone   string   `json:"subzone"`
	Ready     bool     `json:"ready"`
}

// readFacts reads observed.yaml: one document per cluster. An unknown field is an error, or a new kind of fact would be
// overlooked here without a word.
func readFacts(t *testing.T, data []byte) map[string]facts {
	t.Helper()
	out := map[string]facts{}
	for doc := range bytes.SplitSeq(data, []byte("---\n")) {
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		var f facts
		if err := yaml.UnmarshalStrict(doc, &f); err != nil {
			t.Fatalf("observed.yaml: %v (a new field has to be added to test/istio/facts_test.go)\n%s", err, doc)
		}
		out[f.Cluster] = f
	}
	return out
}

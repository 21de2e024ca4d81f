package istio

import (
	"bytes"
	"fmt"
	"testing"

	"sigs.k8s.io/yaml"

	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/diag"
	"istio.io/istio/pkg/config/analysis/local"
)

// analyze says what "istioctl analyze --use-kube=false" would say of what was rendered for each cluster beside the cluster's
// own objects, except for mere information.
func analyze(t *testing.T, g golden) []string {
	t.Helper()
	var said []string
	for _, c := range g.clusters {
		if len(c.objects) == 0 {
			continue
		}
		a := local.NewIstiodAnalyzer(analyzers.AllCombined(), "", systemNamespace, nil)
		if err := a.AddTestReaderKubeSource([]local.ReaderSource{{Name: c.name, Reader: bytes.NewReader(manifest(t, c))}}); err != nil {
			t.Fatal(err)
		}
		cancel := make(chan struct{})
		result, err := a.Analyze(cancel)
		close(cancel)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range result.Messages.FilterOutLowerThan(diag.Warning) {
			said = append(said, fmt.Sprintf("%s: %s", c.name, m.String()))
		}
	}
	return said
}

// manifest is everything in a cluster as YAML.
func manifest(t *testing.T, c *observedCluster) []byte {
	t.Helper()
	rendered := map[string]bool{}
	var b bytes.Buffer
	for _, o := range c.objects {
		rendered[o.String()] = true
		text, err := yaml.JSONToYAML(o.raw)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s---\n", text)
	}
	for _, o := range reconstruct(t, c).objects() {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := yaml.YAMLToJSON(text); err != nil {
			t.Fatal(err)
		} else if rendered[parseObject(t, raw).String()] {
			continue // a namespace of ours
		}
		fmt.Fprintf(&b, "%s---\n", text)
	}
	return b.Bytes()
}

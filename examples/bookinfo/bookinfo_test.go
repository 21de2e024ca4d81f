// Package bookinfo proves that the files beside it are what they claim to be.
package bookinfo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// The published guide's own files are kept byte for byte: what users paste is what is tested.
func TestGuideIsVerbatim(t *testing.T) {
	want := map[string]string{
		"bookinfo-back-ingress.yaml":  "e55f6933f5749b6dbe791443c07c365fe9bb5fafddac47dead3e5f3f1926a479",
		"bookinfo-front-ingress.yaml": "f659125a67091f896048990660f9534646baab229c624e57cc6789e03ed28874",
		"bookinfo-gateways.yaml":      "aeaed6018f0dedb18af0ecee4bc47f437653974c5a8e97d6f61a2a29e3d6fabf",
		"mgmt-bookinfo.yaml":          "572e0d97e8705e19458a09f11f5a212e237ee30d326a5960c5be6f30aa9e44a5",
	}
	files, err := filepath.Glob("guide/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		got[filepath.Base(f)] = hex.EncodeToString(sum[:])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("SHA-256 of guide/*.yaml (-want +got):\n%s", diff)
	}
}

type object struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name      string            `yaml:"name"`
		Namespace string            `yaml:"namespace"`
		Labels    map[string]string `yaml:"labels"`
	} `yaml:"metadata"`
	Spec struct {
		Ports []struct {
			Name string `yaml:"name"`
		} `yaml:"ports"`
	} `yaml:"spec"`
}

// Every port has a protocol name: without one a proxy has to guess, and a stock Envoy guesses TCP.
func TestKubeFiles(t *testing.T) {
	cases := map[string]struct {
		file string
		want []string
	}{
		"Front": {"kube/front.yaml", []string{
			"Namespace//bookinfo-front", "Service/bookinfo-front/productpage",
			"ServiceAccount/bookinfo-front/bookinfo-productpage", "Deployment/bookinfo-front/productpage-v1",
		}},
		"Back": {"kube/back.yaml", []string{
			"Namespace//bookinfo-back",
			"Service/bookinfo-back/details", "ServiceAccount/bookinfo-back/bookinfo-details", "Deployment/bookinfo-back/details-v1",
			"Service/bookinfo-back/ratings", "ServiceAccount/bookinfo-back/bookinfo-ratings", "Deployment/bookinfo-back/ratings-v1",
			"Service/bookinfo-back/reviews", "ServiceAccount/bookinfo-back/bookinfo-reviews", "Deployment/bookinfo-back/reviews-v1",
			"Deployment/bookinfo-back/reviews-v2", "Deployment/bookinfo-back/reviews-v3",
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, o := range read(t, tc.file) {
				got = append(got, o.Kind+"/"+o.Metadata.Namespace+"/"+o.Metadata.Name)
				if o.Kind == "Namespace" && o.Metadata.Labels["istio-injection"] != "enabled" {
					t.Errorf("namespace %q does not ask for sidecars", o.Metadata.Name)
				}
				if i := slices.IndexFunc(o.Spec.Ports, func(p struct {
					Name string `yaml:"name"`
				}) bool {
					return p.Name != "http"
				}); i >= 0 {
					t.Errorf("service %q: ports[%d] is not named http", o.Metadata.Name, i)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("objects of %s (-want +got):\n%s", tc.file, diff)
			}
		})
	}
}

func read(t *testing.T, file string) []object {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []object
	for d := yaml.NewDecoder(bytes.NewReader(b)); ; {
		var o object
		if err := d.Decode(&o); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, o)
	}
}

package istio

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/go-multierror"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/resource"
	"istio.io/istio/pkg/kube"
)

// validate says what Istio's webhook would say of the rendered objects, warnings included; it also refuses unknown fields,
// which the webhook leaves to the API server.
func validate(t *testing.T, g golden) []string {
	t.Helper()
	var said []string
	for _, c := range g.clusters {
		for _, o := range c.objects {
			for _, what := range validateOne(o) {
				said = append(said, fmt.Sprintf("%s: %s: %s", c.name, o, what))
			}
		}
	}
	return said
}

func validateOne(o object) []string {
	cfg, err := decode(o)
	if err != nil {
		return []string{err.Error()}
	}
	if cfg == nil {
		return nil
	}
	schema, _ := collections.All.FindByGroupVersionKind(cfg.GroupVersionKind)
	warnings, err := schema.ValidateConfig(*cfg)
	return append(lines("error", err), lines("warning", warnings)...)
}

// decode makes Istio's own form of an object, and nil of one that belongs to Kubernetes; both without unknown fields.
func decode(o object) (*config.Config, error) {
	var kind crd.IstioKind
	if err := json.Unmarshal(o.raw, &kind); err != nil {
		return nil, err
	}
	gvk := kind.GroupVersionKind()
	schema, ok := collections.All.FindByGroupVersionAliasesKind(resource.FromKubernetesGVK(&gvk))
	if !ok || schema.IsBuiltin() {
		strict := serializer.NewCodecFactory(kube.IstioScheme, serializer.EnableStrict).UniversalDeserializer()
		_, _, err := strict.Decode(o.raw, nil, nil)
		return nil, err
	}
	return crd.ConvertObjectInternal(schema, &kind, "cluster.local", func(s resource.Schema, spec string) (config.Spec, error) {
		v, err := s.NewInstance()
		if err != nil {
			return nil, err
		}
		return v, config.ApplyJSONStrict(v, spec)
	})
}

// lines takes apart what Istio has put together.
func lines(severity string, err error) []string {
	if err == nil {
		return nil
	}
	all := []error{err}
	if several := new(multierror.Error); errors.As(err, &several) {
		all = several.Errors
	}
	var out []string
	for _, e := range all {
		out = append(out, severity+": "+e.Error())
	}
	return out
}

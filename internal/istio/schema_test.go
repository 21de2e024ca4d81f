package istio_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"isthmus.dev/isthmus/internal/istio"
)

// schemas are those of Istio's CRDs, by "<group>/<version>/<Kind>".
type schemas map[string]*kindSchema

type kindSchema struct {
	structural *schema.Structural
	validator  validation.SchemaValidator
	cel        *cel.Validator
}

// istioSchemas reads the CRDs out of the module that the types come from, so that both are of one version.
func istioSchemas(t testing.TB) schemas {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kubernetes", "customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all := schemas{}
	dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 1<<16)
	for {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := dec.Decode(&crd); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, v := range crd.Spec.Versions {
			served := v.Name == "v1" && (crd.Spec.Group == "networking.istio.io" || crd.Spec.Group == "security.istio.io") || crd.Spec.Names.Kind == "EnvoyFilter" || crd.Spec.Names.Kind == "WasmPlugin"
			if !served {
				continue
			}
			all[crd.Spec.Group+"/"+v.Name+"/"+crd.Spec.Names.Kind] = newKindSchema(t, v.Schema.OpenAPIV3Schema)
		}
	}
	if len(all) < 4 {
		t.Fatalf("read %d schemas of Istio's CRDs, want at least 4", len(all))
	}
	return all
}

func newKindSchema(t testing.TB, props *apiextensionsv1.JSONSchemaProps) *kindSchema {
	t.Helper()
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(props, &internal, nil); err != nil {
		t.Fatal(err)
	}
	structural, err := schema.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	validator, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		t.Fatal(err)
	}
	return &kindSchema{structural: structural, validator: validator, cel: cel.NewValidator(structural, true, celconfig.PerCallLimit)}
}

// check fails the test when an API server with Istio's CRDs would refuse an object, or drop a field of it.
func (s schemas) check(t *testing.T, o *istio.Object) {
	t.Helper()
	parts := strings.Split(o.ID, "/")
	if parts[0] == "" {
		return // Kubernetes' own kinds
	}
	k := s[strings.Join(parts[:3], "/")]
	if k == nil {
		t.Errorf("%s: no CRD of its kind", o.ID)
		return
	}
	object, pruned := map[string]any{}, map[string]any{}
	for _, into := range []*map[string]any{&object, &pruned} {
		if err := json.Unmarshal(o.JSON, into); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range validation.ValidateCustomResource(nil, object, k.validator) {
		t.Errorf("%s: %v", o.ID, err)
	}
	errs, _ := k.cel.Validate(t.Context(), nil, k.structural, object, nil, celconfig.RuntimeCELCostBudget)
	for _, err := range errs {
		t.Errorf("%s: %v", o.ID, err)
	}
	pruning.Prune(pruned, k.structural, true)
	if diff := cmp.Diff(object, pruned); diff != "" {
		t.Errorf("%s: fields that Istio does not know (-ours +known):\n%s", o.ID, diff)
	}
}

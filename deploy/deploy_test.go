package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	kyaml "sigs.k8s.io/yaml"
)

type manifest interface{ Manifest() ([]byte, error) }

// Whatever is filled in, a manifest is the same objects: a value never becomes structure.
func TestManifests(t *testing.T) {
	const nasty = "a\"\n- b: {c: d} # '\u2028"
	cases := map[string]struct {
		m    manifest
		want []string
	}{
		"ServerWithClaim": {Server{Image: "r/isthmus-server:dev", PullPolicy: "Always", Organization: nasty, DataClaim: "1Gi", StorageClass: nasty, ImagePullSecret: nasty, OwnCertificate: true}, []string{
			"Namespace /tsb", "ServiceAccount tsb/server", "PersistentVolumeClaim tsb/server-data", "Service tsb/envoy", "Deployment tsb/server",
		}},
		"ServerOnANode": {Server{Image: nasty, PullPolicy: "Always", DataHostPath: "/data"}, []string{
			"Namespace /tsb", "ServiceAccount tsb/server", "Service tsb/envoy", "Deployment tsb/server",
		}},
		"ServerSecrets":  {ServerSecrets{AdminPassword: nasty}, []string{"Secret tsb/admin-credentials"}},
		"OwnCertificate": {ServerSecrets{AdminPassword: "x", Certificate: nasty, Key: nasty}, []string{"Secret tsb/admin-credentials", "Secret tsb/tsb-certs"}},
		"Edge": {Edge{Image: nasty, PullPolicy: "Never", ImagePullSecret: nasty}, []string{
			"CustomResourceDefinition /egressgateways.install.tetrate.io", "CustomResourceDefinition /gateways.install.tetrate.io",
			"CustomResourceDefinition /ingressgateways.install.tetrate.io", "CustomResourceDefinition /tier1gateways.install.tetrate.io",
			"ServiceAccount istio-system/isthmus-edge", "ClusterRole /isthmus-edge", "ClusterRoleBinding /isthmus-edge",
			"Role istio-system/isthmus-edge", "RoleBinding istio-system/isthmus-edge", "Deployment istio-system/edge",
		}},
		"RateLimit": {RateLimit{Image: nasty, PullPolicy: "Always", ImagePullSecret: nasty}, []string{
			"ServiceAccount istio-system/isthmus-ratelimit", "Service istio-system/isthmus-ratelimit", "Deployment istio-system/isthmus-ratelimit",
		}},
		"EdgeSecrets": {EdgeSecrets{Server: nasty, Cluster: nasty, JWK: nasty, CA: nasty}, []string{
			"ConfigMap istio-system/management-plane", "Secret istio-system/cluster-service-account", "Secret istio-system/mp-certs",
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			text, err := tc.m.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range objects(t, text) {
				meta := o["metadata"].(map[string]any)
				ns, _ := meta["namespace"].(string)
				got = append(got, fmt.Sprintf("%s %s/%s", o["kind"], ns, meta["name"]))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("objects (-want +got):\n%s\n%s", diff, text)
			}
		})
	}
}

// A volume that no container has is something that was meant and is not there, such as the token with which the edge asks istiod.
func TestVolumesAreMounted(t *testing.T) {
	for name, m := range map[string]manifest{
		"Server": Server{Image: "r/a", DataClaim: "1Gi", OwnCertificate: true}, "Edge": Edge{Image: "r/a"}, "RateLimit": RateLimit{Image: "r/a"},
	} {
		text, err := m.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects(t, text) {
			if o["kind"] != "Deployment" {
				continue
			}
			spec := o["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
			var declared, mounted []string
			for _, v := range list(spec["volumes"]) {
				declared = append(declared, v["name"].(string))
			}
			for _, c := range list(spec["containers"]) {
				for _, m := range list(c["volumeMounts"]) {
					mounted = append(mounted, m["name"].(string))
				}
			}
			slices.Sort(declared)
			slices.Sort(mounted)
			if diff := cmp.Diff(declared, slices.Compact(mounted)); diff != "" {
				t.Errorf("%s: volumes (-declared +mounted):\n%s", name, diff)
			}
		}
	}
}

func list(v any) (out []map[string]any) {
	items, _ := v.([]any)
	for _, i := range items {
		out = append(out, i.(map[string]any))
	}
	return out
}

// The server's data never lies in a volume that goes with the pod.
func TestDataIsKept(t *testing.T) {
	for _, s := range []Server{{DataClaim: "1Gi"}, {DataHostPath: "/data"}} {
		text, err := s.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "name: data\n        emptyDir") {
			t.Errorf("%+v keeps its data in an emptyDir", s)
		}
	}
}

func objects(t *testing.T, text []byte) []map[string]any {
	t.Helper()
	var out []map[string]any
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var o map[string]any
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		out = append(out, o)
	}
}

// The CRDs are structural, so that API servers take them; what the reference writes is valid and kept, and typical
// mistakes are refused or dropped.
func TestCRD(t *testing.T) {
	cases := map[string]struct {
		kind    string // empty is all of them
		spec    string
		invalid string // part of the error
		pruned  []string
	}{
		"Empty":    {"", "{}", "", nil},
		"EastWest": {"IngressGateway", "{eastWestOnly: true}", "", nil},
		"Guide":    {"", "{kubeSpec: {service: {type: LoadBalancer, ports: [{name: mtls, port: 15443, targetPort: 15443}]}}}", "", nil},
		"FreeForm": {"", "{kubeSpec: {deployment: {affinity: {a: {b: [1]}}, resources: {limits: {cpu: 1, memory: 1Gi}}, tolerations: [{x: y}]," +
			" env: [{name: A, valueFrom: {fieldRef: {fieldPath: a}}}]}, overlays: [{kind: Service, name: x, patches: [{path: a, value: {b: [1, {c: d}]}}, {path: b, value: null}, {path: c}]}]}}", "", nil},
		"Typed": {"Gateway", "{type: EASTWEST, concurrency: -1, proxyConfigOverride: x, targetCluster: c, targetNamespace: ns," +
			" configGenerationMetadata: {labels: {a: b}, annotations: {c: d}}}", "", nil},
		"WrongType":     {"IngressGateway", "{eastWestOnly: maybe}", "spec.eastWestOnly", nil},
		"WrongGateway":  {"Gateway", "{type: MIXED}", "spec.type", nil},
		"WrongService":  {"", "{kubeSpec: {service: {type: Loadbalancer}}}", "spec.kubeSpec.service.type", nil},
		"ExternalName":  {"", "{kubeSpec: {service: {type: ExternalName}}}", "spec.kubeSpec.service.type", nil},
		"NoPort":        {"", "{kubeSpec: {service: {ports: [{name: x}]}}}", "spec.kubeSpec.service.ports[0].port", nil},
		"LargePort":     {"", "{kubeSpec: {service: {ports: [{port: 70000}]}}}", "spec.kubeSpec.service.ports[0].port", nil},
		"UnknownField":  {"", "{kubeSpec: {deployment: {replicas: 3}}}", "", []string{"spec.kubeSpec.deployment.replicas"}},
		"FieldOfOthers": {"EgressGateway", "{eastWestOnly: true, type: EGRESS}", "", []string{"spec.eastWestOnly", "spec.type"}},
	}
	for name, tc := range cases {
		for _, c := range crds {
			if tc.kind != "" && tc.kind != c.Kind {
				continue
			}
			t.Run(name+"/"+c.Kind, func(t *testing.T) {
				s, validator := schemaOf(t, "crds/"+c.file())
				obj := map[string]any{}
				text := "{apiVersion: install.tetrate.io/v1alpha1, kind: " + c.Kind + ", metadata: {name: x}, spec: " + tc.spec + "}"
				if err := kyaml.Unmarshal([]byte(text), &obj); err != nil {
					t.Fatal(err)
				}
				pruned := pruning.PruneWithOptions(obj, s, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
				if diff := cmp.Diff(tc.pruned, pruned); diff != "" {
					t.Errorf("pruned (-want +got):\n%s", diff)
				}
				errs := validation.ValidateCustomResource(nil, obj, validator).ToAggregate()
				if tc.invalid == "" && errs != nil || tc.invalid != "" && (errs == nil || !strings.Contains(errs.Error(), tc.invalid)) {
					t.Errorf("validation: %v, want %q", errs, tc.invalid)
				}
			})
		}
	}
}

func schemaOf(t *testing.T, file string) (*structuralschema.Structural, validation.SchemaValidator) {
	t.Helper()
	crd := readCRD(t, file)
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil); err != nil {
		t.Fatal(err)
	}
	s, err := structuralschema.NewStructural(&props)
	if err != nil {
		t.Fatal(err)
	}
	if errs := structuralschema.ValidateStructural(nil, s); len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	v, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

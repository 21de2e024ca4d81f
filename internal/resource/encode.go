package resource

import (
	"bytes"
	"cmp"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Envelope is a resource as maps, slices and scalars, in the form that tctl applies. It states the name twice, in
// metadata and in spec.fqn, and the etag twice, as metadata.resourceVersion and spec.etag.
func Envelope(r *Resource) map[string]any {
	metadata := map[string]any{"name": r.FQN.Name(), "resourceVersion": r.Etag}
	for _, k := range r.Kind.Lineage() {
		if k != r.Kind {
			metadata[k.Key] = r.FQN.Ancestor(k.Plural).Name()
		}
	}
	return map[string]any{"apiVersion": r.Kind.APIVersion, "kind": r.Kind.Name, "metadata": metadata, "spec": Flat(r)}
}

// GitOps is a resource as maps, slices and scalars, in the form of a Kubernetes object: its parents are annotations.
func GitOps(r *Resource) map[string]any {
	annotations := map[string]any{}
	for _, k := range r.Kind.Lineage() {
		if k != r.Kind {
			annotations[annotationPrefix+cmp.Or(k.Annotation, k.Key)] = r.FQN.Ancestor(k.Plural).Name()
		}
	}
	metadata := map[string]any{"name": r.FQN.Name()}
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	version := r.Kind.APIVersion
	if version == coreV2 {
		version = coreGitOpsV2
	}
	return map[string]any{"apiVersion": version, "kind": r.Kind.Name, "metadata": metadata, "spec": tree(r.Spec.ProtoReflect())}
}

// Flat is the specification as maps, slices and scalars with its fqn and etag: what REST calls the resource.
func Flat(r *Resource) map[string]any {
	flat, _ := tree(r.Spec.ProtoReflect()).(map[string]any)
	flat["fqn"] = string(r.FQN)
	if r.Etag != "" {
		flat["etag"] = r.Etag
	}
	return flat
}

// Encode writes resources as YAML documents that tctl applies. Equal resources give the same bytes.
func Encode(rs []*Resource) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	for _, r := range rs {
		if err := e.Encode(Envelope(r)); err != nil {
			return nil, fmt.Errorf("encode %q: %w", r.FQN, err)
		}
	}
	return b.Bytes(), e.Close()
}

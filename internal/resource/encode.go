package resource

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// Envelope is a resource as maps, slices and scalars, in the form that tctl applies. It states the name twice, in
// metadata and in spec.fqn, and the etag twice, as metadata.resourceVersion and spec.etag.
func Envelope(r *Resource) map[string]any {
	if r.Kind.Istio() {
		doc := GitOps(r)
		doc["metadata"].(map[string]any)["resourceVersion"] = r.Etag
		return doc
	}
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
	for k, v := range r.Object.GetAnnotations() {
		annotations[k] = v
	}
	if r.Kind.Istio() {
		maps.Copy(metadata, objectTree(r.Object))
	}
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	version := r.Kind.APIVersion
	if version == coreV2 {
		version = coreGitOpsV2
	}
	return map[string]any{"apiVersion": version, "kind": r.Kind.Name, "metadata": metadata, "spec": tree(r.Spec.ProtoReflect())}
}

// objectTree is the metadata of an object of Istio's kinds as maps and scalars.
func objectTree(o *isthmusv1.ObjectMeta) map[string]any {
	out, _ := tree(o.ProtoReflect()).(map[string]any)
	return out
}

// Flat is the specification as maps, slices and scalars with its fqn and etag: what REST calls the resource. That of an object of
// Istio's kinds also has its metadata.
func Flat(r *Resource) map[string]any {
	flat, _ := tree(r.Spec.ProtoReflect()).(map[string]any)
	if r.Kind.Istio() {
		flat["metadata"] = objectTree(r.Object)
	}
	flat["fqn"] = string(r.FQN)
	if r.Etag != "" {
		flat["etag"] = r.Etag
	}
	return flat
}

// Encode writes resources as YAML documents that tctl applies. Equal resources give the same bytes.
func Encode(rs []*Resource) ([]byte, error) {
	docs := make([]any, 0, len(rs))
	for _, r := range rs {
		docs = append(docs, Envelope(r))
	}
	return YAML(docs)
}

// YAML writes maps, slices and scalars as YAML documents with sorted keys, such that every text is read back as it is.
func YAML(docs []any) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	for i, d := range docs {
		n, err := node(d)
		if err == nil {
			err = e.Encode(n)
		}
		if err != nil {
			return nil, fmt.Errorf("encode document %d: %w", i+1, err)
		}
	}
	return b.Bytes(), e.Close()
}

// node is a value as the YAML library writes it, its texts in a style that survives.
func node(v any) (*yaml.Node, error) {
	n := new(yaml.Node)
	switch v := v.(type) {
	case map[string]any:
		n.Kind = yaml.MappingNode
		for _, k := range slices.Sorted(maps.Keys(v)) {
			value, err := node(v[k])
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, textNode(k), value)
		}
	case []any:
		n.Kind = yaml.SequenceNode
		for _, item := range v {
			value, err := node(item)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, value)
		}
	case string:
		return textNode(v), nil
	default:
		return n, n.Encode(v)
	}
	return n, nil
}

// textNode is a text. Of several lines that start with white space the library gets the indentation wrong, so those
// are quoted.
func textNode(s string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(s)
	if strings.ContainsAny(s, "\n\r") && strings.TrimLeft(s, " \t\r\n") != s {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

package istio

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"

	"google.golang.org/protobuf/proto"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// Waves of kinds: what is pointed to comes before what points to it.
const (
	waveNamespace       = 0
	waveServiceEntry    = 1
	waveDestinationRule = 2
	waveGateway         = 3
	waveVirtualService  = 4
)

const networkingV1 = "networking.istio.io/v1"

// config is a typed object before it is encoded.
type config struct {
	apiVersion, kind string
	namespace, name  string
	labels           map[string]string
	annotations      map[string]string
	spec             proto.Message // nil for an object without one
	wave             uint32
	owners           []resource.FQN
}

func (c *config) id() string {
	group := c.apiVersion
	if c.spec == nil {
		group = "/" + group // the core group has no name
	}
	return group + "/" + c.kind + "/" + c.namespace + "/" + c.name
}

// encode makes the object that is applied.
func (c *config) encode(e *encoder) *Object {
	b := make([]byte, 0, 1024)
	b = append(b, `{"apiVersion":`...)
	b = appendString(b, c.apiVersion)
	b = append(b, `,"kind":`...)
	b = appendString(b, c.kind)
	b = append(b, `,"metadata":{`...)
	if len(c.annotations) > 0 {
		b = append(b, `"annotations":`...)
		b = appendStrings(b, c.annotations)
		b = append(b, ',')
	}
	b = append(b, `"labels":`...)
	b = appendStrings(b, c.labels)
	b = append(b, `,"name":`...)
	b = appendString(b, c.name)
	if c.namespace != "" {
		b = append(b, `,"namespace":`...)
		b = appendString(b, c.namespace)
	}
	b = append(b, '}')
	if c.spec != nil {
		b = append(b, `,"spec":`...)
		b = e.message(b, c.spec.ProtoReflect())
	}
	b = append(b, '}')
	sum := sha256.Sum256(b)
	return &Object{ID: c.id(), Wave: c.wave, JSON: b, Digest: hex.EncodeToString(sum[:]), Owners: c.owners}
}

// dress puts the user's metadata and ours on an object.
func (c *config) dress(m intent.Metadata, workspace, group string, owners []resource.FQN) *config {
	c.labels = map[string]string{}
	maps.Copy(c.labels, m.Labels)
	c.labels["app.kubernetes.io/managed-by"] = "isthmus"
	if workspace != "" {
		c.labels["xcp.tetrate.io/workspace"] = workspace
	}
	if group != "" {
		c.labels["xcp.tetrate.io/gatewayGroup"] = group
	}
	c.owners = owners
	c.annotations = map[string]string{}
	maps.Copy(c.annotations, m.Annotations)
	if len(owners) > 0 {
		c.annotations["tsb.tetrate.io/fqn"] = string(owners[0])
	}
	return c
}

// namespace holds the global hosts. No sidecar is ever wanted there.
func globalNamespace() *Object {
	c := &config{apiVersion: "v1", kind: "Namespace", name: intent.GlobalNamespace, wave: waveNamespace}
	c.dress(intent.Metadata{Labels: map[string]string{"istio-injection": "disabled"}}, "", "", nil)
	return c.encode(newEncoder())
}

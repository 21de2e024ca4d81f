package istio

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// Waves of kinds: what is pointed to comes before what points to it.
const (
	waveNamespace       = 0
	waveServiceEntry    = 1
	waveDestinationRule = 2
	waveEnvoyFilter     = 2 // before the hosts that it guards
	waveWasmPlugin      = 2 // likewise
	waveVirtualService  = 3
	waveNamedEntry      = 3 // after the DestinationRules, which must not order its endpoints by labels any more
	waveGateway         = 4 // after its routes: a listener without any answers 404
	waveSidecar         = 5 // after the gateway that it sends to

	// What opens the gateways of a namespace comes before what closes the namespace. Of a service, what keeps callers out comes
	// before what lets others in. Mutual TLS is last: who has to be somebody needs it anyway.
	waveOpenGateway = 2
	waveDeny        = 2
	waveService     = 3
	waveAccess      = 4
	waveMTLS        = 5
)

const (
	networkingV1 = "networking.istio.io/v1"
	securityV1   = "security.istio.io/v1"
)

// config is a typed object before it is encoded.
type config struct {
	apiVersion, kind string
	namespace, name  string
	dress            *dress
	spec             proto.Message // nil for an object without one
	wave             uint32
	leads            []string // hosts that others expose
}

// dress is the metadata that the objects of one unit have in common.
type dress struct {
	// labels and annotations in the order of their keys.
	labels, annotations []pair
	owners              []resource.FQN
}

type pair struct{ key, value string }

func (c *config) id() string {
	group := c.apiVersion
	if c.spec == nil {
		group = "/" + group // the core group has no name
	}
	return group + "/" + c.kind + "/" + c.namespace + "/" + c.name
}

// encode makes the object that is applied.
func (c *config) encode(e *encoder) *Object {
	b := e.buf[:0]
	b = append(b, `{"apiVersion":`...)
	b = appendString(b, c.apiVersion)
	b = append(b, `,"kind":`...)
	b = appendString(b, c.kind)
	b = append(b, `,"metadata":{`...)
	if len(c.dress.annotations) > 0 {
		b = append(b, `"annotations":`...)
		b = appendPairs(b, c.dress.annotations)
		b = append(b, ',')
	}
	b = append(b, `"labels":`...)
	b = appendPairs(b, c.dress.labels)
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
	e.buf = b
	sum := sha256.Sum256(b)
	own := make([]byte, len(b)) // as much as it needs: it is kept for as long as the bundle
	copy(own, b)
	return &Object{ID: c.id(), Wave: c.wave, JSON: own, Digest: hex.EncodeToString(sum[:]), Owners: c.dress.owners, Leads: c.leads}
}

// newDress joins the user's metadata and ours, which wins.
func newDress(m intent.Metadata, workspace, group string, owners []resource.FQN) *dress {
	labels := make([]pair, 0, 3+len(m.Labels))
	labels = append(labels, pair{"app.kubernetes.io/managed-by", "isthmus"})
	if group != "" {
		labels = append(labels, pair{"xcp.tetrate.io/gatewayGroup", group})
	}
	if workspace != "" {
		labels = append(labels, pair{"xcp.tetrate.io/workspace", workspace})
	}
	var annotations []pair
	if len(owners) > 0 {
		annotations = append(make([]pair, 0, 1+len(m.Annotations)), pair{"tsb.tetrate.io/fqn", string(owners[0])})
	}
	return &dress{labels: join(labels, m.Labels), annotations: join(annotations, m.Annotations), owners: owners}
}

// with is the dress with one more annotation, which wins.
func (d *dress) with(key, value string) *dress {
	out := *d
	out.annotations = slices.DeleteFunc(slices.Clone(d.annotations), func(p pair) bool { return p.key == key })
	out.annotations = append(out.annotations, pair{key, value})
	slices.SortFunc(out.annotations, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return &out
}

// join adds to sorted pairs what a map has under other keys.
func join(own []pair, more map[string]string) []pair {
	if len(more) == 0 {
		return own
	}
	n := len(own)
	for k, v := range more {
		if !slices.ContainsFunc(own[:n], func(p pair) bool { return p.key == k }) {
			own = append(own, pair{k, v})
		}
	}
	slices.SortFunc(own, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return own
}

// namespace holds the global hosts. No sidecar is ever wanted there.
func globalNamespace() *Object {
	c := &config{
		apiVersion: "v1", kind: "Namespace", name: wellknown.GlobalNamespace, wave: waveNamespace,
		dress: newDress(intent.Metadata{Labels: map[string]string{"istio-injection": "disabled"}}, "", "", nil),
	}
	return c.encode(&encoder{})
}

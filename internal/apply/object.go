// Package apply converges a cluster to a set of objects: it creates what is missing, undoes drift, prunes what the
// inventory says is ours and no longer wanted, and leaves everything else alone.
//
// It writes nothing when nothing differs: not even a patch that the API server would find empty.
package apply

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Every object that Isthmus makes carries this label. An object without it was made by somebody else.
const (
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedBy      = "isthmus"
)

// ID names one object: "<group>/<version>/<Kind>/<namespace>/<name>".
type ID string

// Ref is an ID taken apart.
type Ref struct {
	schema.GroupVersionKind
	Namespace, Name string
}

// Ref takes an ID apart.
func (id ID) Ref() (Ref, error) {
	p := strings.Split(string(id), "/")
	if len(p) != 5 || p[1] == "" || p[2] == "" || p[4] == "" {
		return Ref{}, fmt.Errorf("object id %q is not group/version/Kind/namespace/name", string(id))
	}
	gvk := schema.GroupVersionKind{Group: p[0], Version: p[1], Kind: p[2]}
	return Ref{GroupVersionKind: gvk, Namespace: p[3], Name: p[4]}, nil
}

// ID puts a Ref together again.
func (r Ref) ID() ID {
	return ID(strings.Join([]string{r.Group, r.Version, r.Kind, r.Namespace, r.Name}, "/"))
}

func (r Ref) key() string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

// Object is one object as it is wanted. It is shared and never changes.
type Object struct {
	ID ID
	// Digest is the SHA-256 of JSON in hex.
	Digest string
	// Wave orders the application: lower ones first. Removals go in the opposite order, after all puts.
	Wave uint32
	JSON []byte
}

// Generation orders bundles within an epoch.
type Generation struct {
	Epoch    string `json:"epoch"`
	Revision int64  `json:"revision"`
}

// Bundle is everything that should exist. It is complete, shared, and never changes.
type Bundle struct {
	At      Generation
	Objects map[ID]*Object
}

// Check says whether the object's JSON is what its ID and digest say.
func (o *Object) Check() error {
	ref, err := o.ID.Ref()
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(o.JSON); hex.EncodeToString(sum[:]) != o.Digest {
		return fmt.Errorf("object %q is not what its digest says", string(o.ID))
	}
	_, err = decode(ref, o.JSON)
	return err
}

func decode(ref Ref, text []byte) (*unstructured.Unstructured, error) {
	u := new(unstructured.Unstructured)
	if err := u.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("decode %q: %w", string(ref.ID()), err)
	}
	if u.GroupVersionKind() != ref.GroupVersionKind || u.GetNamespace() != ref.Namespace || u.GetName() != ref.Name {
		return nil, fmt.Errorf("object %q calls itself %s %s/%s", string(ref.ID()), u.GroupVersionKind(), u.GetNamespace(), u.GetName())
	}
	return u, nil
}

// fingerprint is short for what a field of an object says.
type fingerprint [16]byte

func fingerprintOf(v any) fingerprint {
	var b bytes.Buffer
	enc := json.NewEncoder(&b) // sorts the keys of maps
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // decoded JSON always encodes
	sum := sha256.Sum256(b.Bytes())
	return fingerprint(sum[:16])
}

// fingerprints of all fields that one side wants or has. Status belongs to whoever runs the object.
func fingerprints(object map[string]any) map[string]fingerprint {
	out := make(map[string]fingerprint, 1)
	for k, v := range object {
		switch k {
		case "apiVersion", "kind", "metadata", "status":
		default:
			out[k] = fingerprintOf(v)
		}
	}
	return out
}

package apply

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// State is what outlives a process: the last complete bundle, and which objects may exist because of us.
type State struct {
	Bundle *Bundle
	// Inventory has every object that this bundle or one before it may have made, with its wave.
	Inventory map[ID]uint32
}

// ErrStateLost says that a State was stored and cannot be read any more: somebody changed or removed a part of it.
var ErrStateLost = errors.New("the stored state is lost")

// chunkBytes is how much goes into one Secret: the API server takes a little over a megabyte.
const chunkBytes = 700 << 10

const (
	pointerKey = "pointer"
	chunkKey   = "chunk"
	secretType = "isthmus.dev/bundle"
)

// Secrets keeps a State in Secrets of the cluster itself: the text in chunks "<name>-<n>", and a Secret "<name>" that
// points to the chunks which are in force. Replacing the pointer is the switch, so a crash leaves the old state or the
// new one.
type Secrets struct {
	Client          dynamic.Interface
	Namespace, Name string
	Manager         string // field manager

	chunks  []string        // in force
	existed map[string]bool // chunk Secrets that are there
}

type pointer struct {
	Generation
	SHA256 string   `json:"sha256"`
	Chunks []string `json:"chunks"`
}

func (s *Secrets) secrets() dynamic.ResourceInterface {
	return s.Client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(s.Namespace)
}

// Load returns the state in force, nil when there is none, and ErrStateLost when trying again will not help.
func (s *Secrets) Load(ctx context.Context) (*State, error) {
	s.existed = map[string]bool{}
	list, err := s.secrets().List(ctx, metav1.ListOptions{LabelSelector: ManagedByLabel + "=" + ManagedBy, FieldSelector: "type=" + secretType})
	if err != nil {
		return nil, fmt.Errorf("list bundle secrets in %q: %w", s.Namespace, err)
	}
	data := map[string][]byte{}
	var p *pointer
	for i := range list.Items {
		u := &list.Items[i]
		switch name := u.GetName(); {
		case name == s.Name:
			text, err := secretData(u, pointerKey)
			if err != nil {
				return nil, err
			}
			p = new(pointer)
			if err := json.Unmarshal(text, p); err != nil {
				return nil, fmt.Errorf("%w: decode secret %q: %w", ErrStateLost, name, err)
			}
		case strings.HasPrefix(name, s.Name+"-"):
			s.existed[name] = true
			if data[name], err = secretData(u, chunkKey); err != nil {
				return nil, err
			}
		}
	}
	if p == nil {
		return nil, nil
	}
	s.chunks = p.Chunks
	var all []byte
	for _, c := range p.Chunks {
		all = append(all, data[c]...)
	}
	if sum := sha256.Sum256(all); hex.EncodeToString(sum[:]) != p.SHA256 {
		return nil, fmt.Errorf("%w: the chunks %v are not what secret %q says", ErrStateLost, p.Chunks, s.Name)
	}
	st, err := unpack(all)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStateLost, err)
	}
	return st, nil
}

// Save replaces the state.
func (s *Secrets) Save(ctx context.Context, st *State) error {
	all, err := pack(st)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(all)
	p := pointer{Generation: st.Bundle.At, SHA256: hex.EncodeToString(sum[:])}
	for n := 0; len(all) > 0; n++ {
		name := s.Name + "-" + strconv.Itoa(n)
		if slices.Contains(s.chunks, name) {
			continue // in force until the pointer moves
		}
		part := all[:min(chunkBytes, len(all))]
		all = all[len(part):]
		if err := s.put(ctx, name, chunkKey, part, s.existed[name]); err != nil {
			return err
		}
		s.existed[name] = true
		p.Chunks = append(p.Chunks, name)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := s.put(ctx, s.Name, pointerKey, text, s.chunks != nil); err != nil {
		return err
	}
	before := s.chunks
	s.chunks = p.Chunks
	s.sweep(ctx, before)
	return nil
}

// sweep removes chunks that are neither in force nor the ones to write next. What stays behind is found again by Load.
func (s *Secrets) sweep(ctx context.Context, before []string) {
	for _, name := range slices.Sorted(maps.Keys(s.existed)) {
		if slices.Contains(s.chunks, name) || slices.Contains(before, name) {
			continue
		}
		if err := s.secrets().Delete(ctx, name, metav1.DeleteOptions{}); err == nil || apierrors.IsNotFound(err) {
			delete(s.existed, name)
		}
	}
}

func (s *Secrets) put(ctx context.Context, name, key string, value []byte, exists bool) error {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": secretType,
		"metadata": map[string]any{"name": name, "namespace": s.Namespace, "labels": map[string]any{ManagedByLabel: ManagedBy}},
		"data":     map[string]any{key: base64.StdEncoding.EncodeToString(value)},
	}}
	var err error
	if exists {
		_, err = s.secrets().Update(ctx, u, metav1.UpdateOptions{FieldManager: s.Manager})
		exists = !apierrors.IsNotFound(err)
	}
	if !exists {
		_, err = s.secrets().Create(ctx, u, metav1.CreateOptions{FieldManager: s.Manager})
		if apierrors.IsAlreadyExists(err) { // Load did not see it: it lost its label, or could not be read
			_, err = s.secrets().Update(ctx, u, metav1.UpdateOptions{FieldManager: s.Manager})
		}
	}
	if err != nil {
		return fmt.Errorf("write secret %q: %w", name, err)
	}
	return nil
}

func secretData(u *unstructured.Unstructured, key string) ([]byte, error) {
	text, _, _ := unstructured.NestedString(u.Object, "data", key)
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: decode secret %q: %w", ErrStateLost, u.GetName(), err)
	}
	return b, nil
}

// stored is the text form of a State.
type stored struct {
	At        Generation     `json:"at"`
	Objects   []storedObject `json:"objects"`
	Inventory map[ID]uint32  `json:"inventory"` // beside the objects
}

type storedObject struct {
	ID     ID     `json:"id"`
	Digest string `json:"digest"`
	Wave   uint32 `json:"wave"`
	JSON   string `json:"json"` // as text, byte for byte: the digest is over it
}

func pack(st *State) ([]byte, error) {
	out := stored{At: st.Bundle.At, Inventory: map[ID]uint32{}}
	for _, id := range slices.Sorted(maps.Keys(st.Bundle.Objects)) {
		o := st.Bundle.Objects[id]
		out.Objects = append(out.Objects, storedObject{ID: id, Digest: o.Digest, Wave: o.Wave, JSON: string(o.JSON)})
	}
	for id, wave := range st.Inventory {
		if st.Bundle.Objects[id] == nil {
			out.Inventory[id] = wave
		}
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(out); err != nil {
		return nil, fmt.Errorf("pack the bundle: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack the bundle: %w", err)
	}
	return b.Bytes(), nil
}

func unpack(text []byte) (*State, error) {
	z, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("unpack the bundle: %w", err)
	}
	var in stored
	if err := json.NewDecoder(z).Decode(&in); err != nil {
		return nil, fmt.Errorf("unpack the bundle: %w", err)
	}
	st := &State{Bundle: &Bundle{At: in.At, Objects: make(map[ID]*Object, len(in.Objects))}, Inventory: in.Inventory}
	if st.Inventory == nil {
		st.Inventory = map[ID]uint32{}
	}
	for _, o := range in.Objects {
		st.Bundle.Objects[o.ID] = &Object{ID: o.ID, Digest: o.Digest, Wave: o.Wave, JSON: []byte(o.JSON)}
		st.Inventory[o.ID] = o.Wave
	}
	return st, nil
}

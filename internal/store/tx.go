package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"isthmus.dev/isthmus/internal/resource"
)

// Outcome says what a Put did.
type Outcome int

// The outcomes.
const (
	Unchanged Outcome = iota
	Created
	Updated
)

// Tx is a commit in the making. It is not safe for concurrent use, and is dead when its function has returned.
type Tx struct {
	base    *state
	cfg     *Config
	changes map[Key]any // nil removes; private keys included
	done    bool
}

func newTx(base *state, cfg *Config) *Tx {
	return &Tx{base: base, cfg: cfg, changes: map[Key]any{}}
}

func (tx *Tx) finish() { tx.done = true }

// Snapshot is the state before the commit. Nothing that the Tx does changes it.
func (tx *Tx) Snapshot() *Snapshot { return tx.base.public }

// Revision is the one that the commit will have.
func (tx *Tx) Revision() int64 { return tx.base.revision() + 1 }

// Get returns a resource as the Tx has it so far, nil when there is none.
func (tx *Tx) Get(fqn resource.FQN) *resource.Resource {
	if v, ok := tx.changes[ResourceKey(fqn)]; ok {
		r, _ := v.(*resource.Resource)
		return r
	}
	return tx.base.public.Resource(fqn)
}

// Put creates or replaces a resource. Its Etag, Created and Revision are ignored; the stored ones are those of the
// Resource that Get returns afterwards. A resource that is stored with the same content stays untouched. A missing
// parent is an error at the end of the function, so that parents may be put after children.
//
// r.Spec must not change any more.
func (tx *Tx) Put(r *resource.Resource) (Outcome, error) { return tx.put(r, tx.Get(r.FQN)) }

// Create is Put for a resource that must not exist: otherwise ErrExists.
func (tx *Tx) Create(r *resource.Resource) error {
	if tx.Get(r.FQN) != nil {
		return fmt.Errorf("%q %w", r.FQN, ErrExists)
	}
	_, err := tx.put(r, nil)
	return err
}

// Replace is Put for a resource that must exist, otherwise ErrNotFound, and that must have the etag, otherwise a
// *ConflictError.
func (tx *Tx) Replace(r *resource.Resource, etag string) (Outcome, error) {
	old, err := tx.expect(r.FQN, etag)
	if err != nil {
		return Unchanged, err
	}
	return tx.put(r, old)
}

// expect returns the resource if it has the etag.
func (tx *Tx) expect(fqn resource.FQN, etag string) (*resource.Resource, error) {
	old := tx.Get(fqn)
	if old == nil {
		return nil, fmt.Errorf("%q %w", fqn, ErrNotFound)
	}
	if old.Etag != etag {
		return nil, &ConflictError{FQN: fqn, Want: etag, Stored: old.Etag}
	}
	return old, nil
}

func (tx *Tx) put(r, old *resource.Resource) (Outcome, error) {
	switch {
	case tx.done:
		return Unchanged, fmt.Errorf("put %q: transaction %w", r.FQN, ErrClosed)
	case r.Kind == nil || r.Spec == nil || r.FQN == "":
		return Unchanged, fmt.Errorf("put %q: a resource needs a kind, a name and a specification", r.FQN)
	}
	n := &resource.Resource{Kind: r.Kind, FQN: r.FQN, Spec: r.Spec, Object: r.Object, Created: tx.Revision(), Revision: tx.Revision()}
	n.Etag = resource.Etag(n)
	outcome := Created
	if old != nil {
		if old.Etag == n.Etag && old.Kind.ID() == n.Kind.ID() {
			return Unchanged, nil
		}
		n.Created, outcome = old.Created, Updated
	}
	tx.changes[ResourceKey(r.FQN)] = n
	return outcome, nil
}

// DeleteOptions limit or widen a Delete.
type DeleteOptions struct {
	// Etag that the resource must have; empty is any.
	Etag string
	// Force ignores deletion protection.
	Force bool
}

// Delete removes a resource and everything below it, and returns their names in order. ErrNotFound when it does not
// exist, a *ConflictError when its etag is another one, a *ProtectedError when it or one below it is protected.
func (tx *Tx) Delete(fqn resource.FQN, o DeleteOptions) ([]resource.FQN, error) {
	if tx.done {
		return nil, fmt.Errorf("delete %q: transaction %w", fqn, ErrClosed)
	}
	r := tx.Get(fqn)
	if r == nil {
		return nil, fmt.Errorf("%q %w", fqn, ErrNotFound)
	}
	if o.Etag != "" && o.Etag != r.Etag {
		return nil, &ConflictError{FQN: fqn, Want: o.Etag, Stored: r.Etag}
	}
	doomed := tx.subtree(fqn)
	for _, d := range doomed {
		if !o.Force && protected(tx.Get(d)) {
			return nil, &ProtectedError{FQN: d}
		}
	}
	for _, d := range doomed {
		tx.remove(d)
	}
	return doomed, nil
}

// subtree lists a resource and all below it, in name order.
func (tx *Tx) subtree(fqn resource.FQN) []resource.FQN {
	names := map[resource.FQN]bool{fqn: true}
	below := ResourceKey(fqn) + "/"
	for k := range tx.base.public.Prefix(below) {
		names[k.FQN()] = true
	}
	for k := range tx.changes {
		if strings.HasPrefix(string(k), string(below)) {
			names[k.FQN()] = true
		}
	}
	maps.DeleteFunc(names, func(n resource.FQN, _ bool) bool { return tx.Get(n) == nil })
	return slices.Sorted(maps.Keys(names))
}

// remove takes a resource away together with what is kept about it.
func (tx *Tx) remove(fqn resource.FQN) {
	tx.set(ResourceKey(fqn), nil)
	tx.set(statusKey(fqn), nil)
	if fqn.Plural() != "clusters" {
		return
	}
	tx.set(sessionKey(fqn.Name()), nil) // what its edge still says is refused
	for k := range tx.base.public.Prefix(FactKey(fqn.Name(), "")) {
		tx.set(k, nil)
	}
}

// set makes a change, or no change when the base has no such key and shall have none.
func (tx *Tx) set(k Key, v any) {
	if v == nil && !tx.base.has(k) {
		delete(tx.changes, k)
		return
	}
	tx.changes[k] = v
}

// PutPrivate stores a value below "x/" that only Private returns; nil removes it.
func (tx *Tx) PutPrivate(key Key, data []byte) error {
	switch {
	case tx.done:
		return fmt.Errorf("put %q: transaction %w", key, ErrClosed)
	case !isPrivate(key):
		return fmt.Errorf("put %q: a private key starts with x/", key)
	case data == nil:
		tx.set(key, nil)
	default:
		tx.set(key, slices.Clone(data))
	}
	return nil
}

// Private returns a private value as the Tx has it so far.
func (tx *Tx) Private(key Key) ([]byte, bool) {
	v, ok := tx.changes[key]
	if !ok {
		v, _ = tx.base.hidden.Get(key)
	}
	b, ok := v.([]byte)
	return b, ok && isPrivate(key)
}

// protected says whether the specification has deletion protection; kinds without the field have none.
func protected(r *resource.Resource) bool {
	m := r.Spec.ProtoReflect()
	f := m.Descriptor().Fields().ByJSONName("deletionProtectionEnabled")
	return f != nil && f.Kind() == protoreflect.BoolKind && !f.IsList() && m.Get(f).Bool()
}

// commit is what the Tx wants to store; nil when it changed nothing.
func (tx *Tx) commit(meta Meta) (*commit, error) {
	if err := tx.checkParents(); err != nil {
		return nil, err
	}
	for k, v := range tx.changes {
		if tx.base.same(k, v) { // put and taken back
			delete(tx.changes, k)
		}
	}
	if len(tx.changes) == 0 {
		return nil, nil
	}
	c := &commit{meta: meta, changes: tx.changes, history: tx.history()}
	maps.Copy(c.changes, claimChanges(tx.base, tx.Revision(), tx.changes, tx.cfg))
	return c, nil
}

// checkParents finds the first resource, in name order, whose parent the commit would lack.
func (tx *Tx) checkParents() error {
	for _, k := range slices.Sorted(maps.Keys(tx.changes)) {
		r, ok := tx.changes[k].(*resource.Resource)
		if !ok {
			continue
		}
		if p := r.FQN.Parent(); p != "" && tx.Get(p) == nil {
			return &MissingParentError{FQN: r.FQN, Parent: p}
		}
	}
	return nil
}

// history lists the changes to resources in name order.
func (tx *Tx) history() []Change {
	var cs []Change
	for _, k := range slices.Sorted(maps.Keys(tx.changes)) {
		if k.FQN() == "" {
			continue
		}
		after, _ := tx.changes[k].(*resource.Resource)
		cs = append(cs, change(tx.base.public.Resource(k.FQN()), after))
	}
	return cs
}

// change from one state of a resource to another one; at most one of them is nil.
func change(before, after *resource.Resource) Change {
	c := Change{Operation: "UPDATE"}
	if before == nil {
		c.Operation = "CREATE"
	} else {
		c.FQN, c.Kind, c.Before = before.FQN, before.Kind.ID(), string(resource.ContentJSON(before))
	}
	if after == nil {
		c.Operation = "DELETE"
	} else {
		c.FQN, c.Kind, c.After = after.FQN, after.Kind.ID(), string(resource.ContentJSON(after))
	}
	return c
}

// sameValue compares two values of one key.
func sameValue(a, b any) bool {
	switch a := a.(type) {
	case *resource.Resource:
		b, ok := b.(*resource.Resource)
		return ok && a.Etag == b.Etag && a.Kind.ID() == b.Kind.ID()
	case []byte:
		b, ok := b.([]byte)
		return ok && string(a) == string(b)
	case proto.Message:
		b, ok := b.(proto.Message)
		return ok && proto.Equal(a, b)
	}
	return false
}

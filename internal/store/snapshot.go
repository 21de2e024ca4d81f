package store

import (
	"iter"
	"strings"

	"github.com/tidwall/btree"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
)

// Key names one value of a snapshot. The key space is ordered, so that a prefix is a set:
//
//	r/<fqn>                        a *resource.Resource
//	f/<cluster name>/<fact id>     an *isthmusv1.Fact that the edge of the cluster observed
//	c/host/<hostname>              a *Claim
//	c/namespace/<selector pattern> a *Claim
type Key string

// ResourceKey is the key of a resource.
func ResourceKey(fqn resource.FQN) Key { return Key("r/" + fqn) }

// ChildPrefix is the prefix of the keys of all children of a kind, and of what lies below them.
func ChildPrefix(parent resource.FQN, plural string) Key {
	if parent == "" {
		return Key("r/" + plural + "/")
	}
	return Key("r/" + string(parent) + "/" + plural + "/")
}

// FactKey is the key of a fact of a cluster; with an id that ends in "/" it is a prefix.
func FactKey(cluster, id string) Key { return Key("f/" + cluster + "/" + id) }

// HostClaimKey is the key of the claim to a hostname.
func HostClaimKey(host string) Key { return Key("c/host/" + host) }

// FrontClaimKey is the key of the claim to be in front of those who expose a hostname.
func FrontClaimKey(host string) Key { return Key("c/front/" + host) }

// NamespaceClaimKey is the key of the claim to a namespace pattern such as "*/bookinfo-front".
func NamespaceClaimKey(pattern string) Key { return Key("c/namespace/" + pattern) }

// FQN of a resource key; empty for other keys.
func (k Key) FQN() resource.FQN {
	if rest, ok := strings.CutPrefix(string(k), "r/"); ok {
		return resource.FQN(rest)
	}
	return ""
}

// Claim is who asked for something that only one workspace can have. It is taken at commit by the first claimant
// and freed only by it, so that ownership can never be stolen by name order or by re-creation: then the next in
// line has it.
type Claim struct {
	// Claimants in the order in which they asked; the first one owns.
	Claimants []Claimant
}

// Claimant is a workspace and the commit in which it asked.
type Claimant struct {
	Workspace resource.FQN
	Since     int64
}

// Owner is the workspace that has the claim.
func (c *Claim) Owner() resource.FQN {
	if c == nil || len(c.Claimants) == 0 {
		return ""
	}
	return c.Claimants[0].Workspace
}

// Snapshot is the whole state at one revision. It never changes, nor does any value in it; it is cheap to keep and
// to pass around.
type Snapshot struct {
	revision int64
	tree     *btree.Map[Key, any] // never written after the snapshot is handed out
}

// NewSnapshot is the state with the given values, for tools and tests that have no store.
func NewSnapshot(revision int64, values map[Key]any) *Snapshot {
	s := &Snapshot{revision: revision, tree: new(btree.Map[Key, any])}
	for k, v := range values {
		s.tree.Set(k, v)
	}
	return s
}

// With is a snapshot at revision with the changes made; a nil value removes its key. s stays as it was, and may be
// used by others at the same time.
func (s *Snapshot) With(revision int64, changes map[Key]any) *Snapshot {
	if len(changes) == 0 {
		return &Snapshot{revision: revision, tree: s.tree}
	}
	// Copy gives its receiver a new identity, so that two callers at once would race: they copy copies.
	own := *s.tree
	t := own.Copy()
	for k, v := range changes {
		if v == nil {
			t.Delete(k)
			continue
		}
		t.Set(k, v)
	}
	return &Snapshot{revision: revision, tree: t}
}

// Revision of the last commit that is in the snapshot.
func (s *Snapshot) Revision() int64 { return s.revision }

// Get returns the value of a key.
func (s *Snapshot) Get(k Key) (any, bool) { return s.tree.Get(k) }

// Prefix yields all values whose keys start with p, in key order.
func (s *Snapshot) Prefix(p Key) iter.Seq2[Key, any] {
	return func(yield func(Key, any) bool) {
		s.tree.Ascend(p, func(k Key, v any) bool {
			return strings.HasPrefix(string(k), string(p)) && yield(k, v)
		})
	}
}

// Resource returns a resource by name, nil when there is none.
func (s *Snapshot) Resource(fqn resource.FQN) *resource.Resource {
	v, _ := s.tree.Get(ResourceKey(fqn))
	r, _ := v.(*resource.Resource)
	return r
}

// Children yields the direct children of a parent below one plural, in name order.
func (s *Snapshot) Children(parent resource.FQN, plural string) iter.Seq[*resource.Resource] {
	return func(yield func(*resource.Resource) bool) {
		p := ChildPrefix(parent, plural)
		for k, v := range s.Prefix(p) {
			if strings.Contains(string(k[len(p):]), "/") {
				continue // a grandchild
			}
			if r, ok := v.(*resource.Resource); ok && !yield(r) {
				return
			}
		}
	}
}

// Fact returns a fact of a cluster, nil when it was not observed.
func (s *Snapshot) Fact(cluster, id string) *isthmusv1.Fact {
	v, _ := s.tree.Get(FactKey(cluster, id))
	f, _ := v.(*isthmusv1.Fact)
	return f
}

package compile

import (
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// layer derives one kind of unit.
type layer struct {
	name string
	// unitOf returns the unit whose existence depends on a key; empty for keys that make no unit of this layer.
	unitOf func(key string) string
	// root is the key, or with a trailing "/" the prefix of keys, that a unit exists for.
	root func(unit string) string
	// derive computes a unit that exists.
	derive func(r *Reads, unit string, out *output)
}

// output is what a unit publishes. Values are plain data, shared, and never change.
type output struct {
	values     map[string]any
	conditions map[resource.FQN][]resource.Condition
}

func (o *output) put(key string, value any) {
	if o.values == nil {
		o.values = map[string]any{}
	}
	o.values[key] = value
}

func (o *output) say(fqn resource.FQN, c resource.Condition) {
	if o.conditions == nil {
		o.conditions = map[resource.FQN][]resource.Condition{}
	}
	o.conditions[fqn] = append(o.conditions[fqn], c)
}

// Reads is how a unit looks at the world. It remembers what was read; what was not there counts as read.
type Reads struct {
	snapshot *store.Snapshot
	derived  *btree.Map[string, any]
	seen     map[string]bool
}

// get reads one key. Keys of the snapshot are those of store; keys of layers start with "u/".
func (r *Reads) get(key string) any {
	r.seen[key] = true
	if isDerived(key) {
		v, _ := r.derived.Get(key)
		return v
	}
	v, _ := r.snapshot.Get(store.Key(key))
	return v
}

// prefix reads all keys below a prefix, which ends in "/".
func (r *Reads) prefix(p string) iter.Seq2[string, any] {
	r.seen[p] = true
	if !isDerived(p) {
		return func(yield func(string, any) bool) {
			for k, v := range r.snapshot.Prefix(store.Key(p)) {
				if !yield(string(k), v) {
					return
				}
			}
		}
	}
	return func(yield func(string, any) bool) {
		r.derived.Ascend(p, func(k string, v any) bool {
			return strings.HasPrefix(k, p) && yield(k, v)
		})
	}
}

func isDerived(key string) bool { return strings.HasPrefix(key, "u/") }

// engine runs layers and remembers who read what.
type engine struct {
	layers   []*layer
	snapshot *store.Snapshot
	derived  *btree.Map[string, any]
	// units by layer and name.
	units []map[string]*unitState
	// readers of a key or prefix, by layer.
	readers []map[string]map[string]bool
	// spoken is what units say, by resource and unit.
	spoken map[resource.FQN]map[string][]resource.Condition
	// forget, in tests, leaves reads unrecorded.
	forget func(layer, unit, key string) bool
}

type unitState struct {
	out   output
	reads []string
}

func newEngine(layers []*layer) *engine {
	e := &engine{
		layers:  layers,
		derived: new(btree.Map[string, any]),
		spoken:  map[resource.FQN]map[string][]resource.Condition{},
	}
	for range layers {
		e.units = append(e.units, map[string]*unitState{})
		e.readers = append(e.readers, map[string]map[string]bool{})
	}
	return e
}

// run derives what depends on the changed keys, and returns the keys of layers that changed and the resources about
// which something else has to be said.
func (e *engine) run(s *store.Snapshot, changed []string) (derived []string, said map[resource.FQN]bool) {
	e.snapshot = s
	said = map[resource.FQN]bool{}
	dirtyKeys := changed
	for i, l := range e.layers {
		var next []string
		for _, unit := range e.dirty(i, l, dirtyKeys) {
			next = append(next, e.update(i, l, unit, said)...)
		}
		derived = append(derived, next...)
		dirtyKeys = append(slices.Clip(dirtyKeys), next...)
	}
	return derived, said
}

// dirty returns the units of a layer that a change of keys touches, in order.
func (e *engine) dirty(i int, l *layer, keys []string) []string {
	units := map[string]bool{}
	readers := e.readers[i]
	for _, k := range keys {
		if u := l.unitOf(k); u != "" {
			units[u] = true
		}
		maps.Copy(units, readers[k])
		for at := strings.IndexByte(k, '/'); at >= 0; {
			maps.Copy(units, readers[k[:at+1]])
			n := strings.IndexByte(k[at+1:], '/')
			if n < 0 {
				break
			}
			at += n + 1
		}
	}
	return slices.Sorted(maps.Keys(units))
}

// update derives one unit anew, or drops it, and returns the keys whose values changed.
func (e *engine) update(i int, l *layer, unit string, said map[resource.FQN]bool) []string {
	old := e.units[i][unit]
	if old == nil {
		old = &unitState{}
	}
	var now unitState
	if e.exists(l.root(unit)) {
		r := &Reads{snapshot: e.snapshot, derived: e.derived, seen: make(map[string]bool, 16)}
		l.derive(r, unit, &now.out)
		for k := range r.seen {
			if e.forget == nil || !e.forget(l.name, unit, k) {
				now.reads = append(now.reads, k)
			}
		}
		e.units[i][unit] = &now
	} else {
		delete(e.units[i], unit)
	}
	e.record(i, unit, old.reads, now.reads)
	e.speak(l.name+"/"+unit, old.out.conditions, now.out.conditions, said)
	return e.publish(old.out.values, now.out.values)
}

// speak replaces what a unit said, and marks the resources about which it says something else now.
func (e *engine) speak(who string, old, now map[resource.FQN][]resource.Condition, said map[resource.FQN]bool) {
	for fqn := range old {
		if len(now[fqn]) > 0 {
			continue
		}
		said[fqn] = true
		delete(e.spoken[fqn], who)
		if len(e.spoken[fqn]) == 0 {
			delete(e.spoken, fqn)
		}
	}
	for fqn, cs := range now {
		if slices.Equal(old[fqn], cs) {
			continue
		}
		said[fqn] = true
		if e.spoken[fqn] == nil {
			e.spoken[fqn] = map[string][]resource.Condition{}
		}
		e.spoken[fqn][who] = cs
	}
}

func (e *engine) exists(root string) bool {
	r := Reads{snapshot: e.snapshot, derived: e.derived, seen: map[string]bool{}}
	if !strings.HasSuffix(root, "/") {
		return r.get(root) != nil
	}
	for range r.prefix(root) {
		return true
	}
	return false
}

func (e *engine) record(i int, unit string, old, now []string) {
	readers := e.readers[i]
	for _, k := range old {
		delete(readers[k], unit)
		if len(readers[k]) == 0 {
			delete(readers, k)
		}
	}
	for _, k := range now {
		if readers[k] == nil {
			readers[k] = map[string]bool{}
		}
		readers[k][unit] = true
	}
}

// publish makes the values of a unit visible to the layers above and returns the keys that are different.
func (e *engine) publish(old, now map[string]any) []string {
	var changed []string
	for k := range old {
		if _, ok := now[k]; !ok {
			e.derived.Delete(k)
			changed = append(changed, k)
		}
	}
	for k, v := range now {
		if o, ok := old[k]; ok && reflect.DeepEqual(o, v) {
			now[k] = o // keep what others already hold
			continue
		}
		e.derived.Set(k, v)
		changed = append(changed, k)
	}
	slices.Sort(changed)
	return changed
}

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
	seen     []string
	// more is seen once that is too long to be searched.
	more map[string]bool
}

// note remembers a key, once.
func (r *Reads) note(key string) {
	const many = 48
	switch {
	case r.more != nil:
		if r.more[key] {
			return
		}
		r.more[key] = true
	case slices.Contains(r.seen, key):
		return
	case len(r.seen) == many:
		r.more = make(map[string]bool, 4*many)
		for _, k := range r.seen {
			r.more[k] = true
		}
		r.more[key] = true
	}
	r.seen = append(r.seen, key)
}

// get reads one key. Keys of the snapshot are those of store; keys of layers start with "u/".
func (r *Reads) get(key string) any {
	r.note(key)
	if isDerived(key) {
		v, _ := r.derived.Get(key)
		return v
	}
	v, _ := r.snapshot.Get(store.Key(key))
	return v
}

// prefix reads all keys below a prefix, which ends in "/".
func (r *Reads) prefix(p string) iter.Seq2[string, any] {
	r.note(p)
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
	// readers of a key or prefix, by layer. Most keys have one.
	readers []map[string]readerSet
	// spoken is what units say, by resource.
	spoken map[resource.FQN][]statement
	reads  Reads // its space is used again
	// forget, in tests, leaves reads unrecorded.
	forget func(layer, unit, key string) bool
}

type unitState struct {
	name string
	out  output
	// reads, sorted.
	reads []string
}

// readerSet are the units that read a key. Most keys have one reader, so that it needs no space of its own.
type readerSet struct {
	first *unitState
	rest  []*unitState
}

func (s readerSet) with(u *unitState) readerSet {
	if s.first == nil {
		return readerSet{first: u}
	}
	s.rest = append(s.rest, u)
	return s
}

// without u the set is empty when its first is nil.
func (s readerSet) without(u *unitState) readerSet {
	if s.first != u {
		s.rest = slices.DeleteFunc(s.rest, func(x *unitState) bool { return x == u })
		return s
	}
	if len(s.rest) == 0 {
		return readerSet{}
	}
	last := len(s.rest) - 1
	s.first, s.rest = s.rest[last], s.rest[:last]
	return s
}

// statement is what one unit says of one resource.
type statement struct {
	layer, unit string
	conditions  []resource.Condition
}

func newEngine(layers []*layer) *engine {
	e := &engine{
		layers:  layers,
		derived: new(btree.Map[string, any]),
		spoken:  map[resource.FQN][]statement{},
	}
	for range layers {
		e.units = append(e.units, map[string]*unitState{})
		e.readers = append(e.readers, map[string]readerSet{})
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
	add := func(key string) {
		set, ok := readers[key]
		if !ok {
			return
		}
		units[set.first.name] = true
		for _, u := range set.rest {
			units[u.name] = true
		}
	}
	for _, k := range keys {
		if u := l.unitOf(k); u != "" {
			units[u] = true
		}
		add(k)
		for at := 0; len(readers) > 0; {
			n := strings.IndexByte(k[at:], '/')
			if n < 0 || at+n+1 == len(k) {
				break
			}
			at += n + 1
			add(k[:at])
		}
	}
	return slices.Sorted(maps.Keys(units))
}

// update derives one unit anew, or drops it, and returns the keys whose values changed.
func (e *engine) update(i int, l *layer, unit string, said map[resource.FQN]bool) []string {
	state := e.units[i][unit]
	if state == nil {
		state = &unitState{name: unit}
	}
	var out output
	var reads []string
	if e.exists(l.root(unit)) {
		r := &e.reads
		r.snapshot, r.derived, r.seen, r.more = e.snapshot, e.derived, r.seen[:0], nil
		l.derive(r, unit, &out)
		if e.forget != nil {
			r.seen = slices.DeleteFunc(r.seen, func(k string) bool { return e.forget(l.name, unit, k) })
		}
		slices.Sort(r.seen)
		reads = r.seen
		e.units[i][unit] = state
	} else {
		delete(e.units[i], unit)
	}
	e.record(i, state, reads)
	e.speak(l.name, unit, state.out.conditions, out.conditions, said)
	old := state.out.values
	state.out = out
	return e.publish(old, out.values)
}

// speak replaces what a unit said, and marks the resources about which it says something else now.
func (e *engine) speak(layer, unit string, old, now map[resource.FQN][]resource.Condition, said map[resource.FQN]bool) {
	for fqn := range old {
		if len(now[fqn]) == 0 {
			said[fqn] = true
			e.state(fqn, statement{layer: layer, unit: unit})
		}
	}
	for fqn, cs := range now {
		if !slices.Equal(old[fqn], cs) {
			said[fqn] = true
			e.state(fqn, statement{layer, unit, cs})
		}
	}
}

// state puts a statement in the place of the one that the unit made before; an empty one is none.
func (e *engine) state(fqn resource.FQN, s statement) {
	all := slices.DeleteFunc(e.spoken[fqn], func(x statement) bool { return x.layer == s.layer && x.unit == s.unit })
	if len(s.conditions) > 0 {
		all = append(all, s)
	}
	if len(all) == 0 {
		delete(e.spoken, fqn)
		return
	}
	e.spoken[fqn] = all
}

func (e *engine) exists(root string) bool {
	if !strings.HasSuffix(root, "/") {
		if isDerived(root) {
			_, ok := e.derived.Get(root)
			return ok
		}
		_, ok := e.snapshot.Get(store.Key(root))
		return ok
	}
	r := Reads{snapshot: e.snapshot, derived: e.derived}
	for range r.prefix(root) {
		return true
	}
	return false
}

// record makes a unit a reader of what it has read now, and of nothing else. Both lists are sorted.
func (e *engine) record(i int, unit *unitState, now []string) {
	old := unit.reads
	if slices.Equal(old, now) {
		return
	}
	readers := e.readers[i]
	for _, k := range old {
		if _, still := slices.BinarySearch(now, k); still {
			continue
		}
		if set := readers[k].without(unit); set.first == nil {
			delete(readers, k)
		} else {
			readers[k] = set
		}
	}
	for _, k := range now {
		if _, had := slices.BinarySearch(old, k); !had {
			readers[k] = readers[k].with(unit)
		}
	}
	unit.reads = slices.Clone(now)
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

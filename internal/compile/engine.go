package compile

import (
	"iter"
	"reflect"
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"isthmus.dev/isthmus/internal/cores"
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

// output is what a unit publishes. Both lists are sorted once the unit is derived: slices, because most units publish one
// thing, and a map for each of them was a large part of the time of a full run.
type output struct {
	values  []value
	remarks []remark
}

// value is plain data, shared, and never changes.
type value struct {
	key string
	v   any
}

// remark is one condition of a resource.
type remark struct {
	fqn       resource.FQN
	condition resource.Condition
}

// put publishes a value. The first value of a key stays.
func (o *output) put(key string, v any) { o.values = append(o.values, value{key, v}) }

func (o *output) say(fqn resource.FQN, c resource.Condition) {
	o.remarks = append(o.remarks, remark{fqn, c})
}

// sort puts values and remarks in order, and leaves one value of each key.
func (o *output) sort() {
	if len(o.values) > 1 {
		slices.SortStableFunc(o.values, func(a, b value) int { return strings.Compare(a.key, b.key) })
		o.values = slices.CompactFunc(o.values, func(a, b value) bool { return a.key == b.key })
	}
	if len(o.remarks) > 1 {
		slices.SortStableFunc(o.remarks, func(a, b remark) int { return strings.Compare(string(a.fqn), string(b.fqn)) })
	}
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
	return func(yield func(string, any) bool) { r.scan(p, yield) }
}

func (r *Reads) scan(p string, yield func(string, any) bool) {
	if isDerived(p) {
		r.derived.Ascend(p, func(k string, v any) bool { return strings.HasPrefix(k, p) && yield(k, v) })
		return
	}
	for k, v := range r.snapshot.Prefix(store.Key(p)) {
		if !yield(string(k), v) {
			return
		}
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
	// readers of keys and prefixes, by layer; nil until somebody asks for them, which a full run never does.
	readers []*readers
	// spoken is what units say, by resource.
	spoken map[resource.FQN][]statement
	runs   int
	// forget, in tests, leaves reads unrecorded.
	forget func(layer, unit, key string) bool
}

type unitState struct {
	name string
	out  output
	// reads, sorted.
	reads []string
	// marked is the run in which it was last found dirty.
	marked int
}

// readers are the units of a layer that read a key or prefix. Most keys have one reader, so that the others are apart.
type readers struct {
	first map[string]*unitState
	rest  map[string][]*unitState
}

func (r *readers) add(key string, u *unitState) {
	if _, taken := r.first[key]; taken {
		r.rest[key] = append(r.rest[key], u)
		return
	}
	r.first[key] = u
}

func (r *readers) remove(key string, u *unitState) {
	rest := r.rest[key]
	switch {
	case r.first[key] != u:
		rest = slices.DeleteFunc(rest, func(x *unitState) bool { return x == u })
	case len(rest) == 0:
		delete(r.first, key)
		return
	default:
		last := len(rest) - 1
		r.first[key], rest[last] = rest[last], nil
		rest = rest[:last]
	}
	if len(rest) == 0 {
		delete(r.rest, key)
		return
	}
	r.rest[key] = rest
}

// statement is what one unit says of one resource.
type statement struct {
	layer, unit string
	remarks     []remark
}

func newEngine(layers []*layer) *engine {
	e := &engine{
		layers:  layers,
		derived: new(btree.Map[string, any]),
		spoken:  map[resource.FQN][]statement{},
	}
	e.readers = make([]*readers, len(layers))
	for range layers {
		e.units = append(e.units, map[string]*unitState{})
	}
	return e
}

// run derives what depends on the changed keys, and returns the keys of layers that changed and the resources about
// which something else has to be said.
func (e *engine) run(s *store.Snapshot, changed []string) (derived []string, said map[resource.FQN]bool) {
	e.snapshot = s
	e.runs++
	said = map[resource.FQN]bool{}
	const made = 4 // keys of layers for each key of a snapshot, or so
	dirtyKeys := append(make([]string, 0, made*len(changed)), changed...)
	for i, l := range e.layers {
		units := e.dirty(i, l, dirtyKeys)
		e.expect(i, len(units))
		for n, d := range e.derive(l, units) {
			dirtyKeys = e.update(i, units[n], d, said, dirtyKeys)
		}
	}
	return dirtyKeys[len(changed):], said
}

// expect makes room for the units of a layer that has none yet.
func (e *engine) expect(i, units int) {
	if len(e.units[i]) == 0 && units > 100 {
		e.units[i] = make(map[string]*unitState, units)
	}
}

// readersOf are the readers of a layer. To keep them is a tenth of the work of a full run, so that they are gathered when
// the first change comes.
func (e *engine) readersOf(i int) *readers {
	if e.readers[i] == nil {
		const own = 8 // keys that a unit does not share with others, or so
		e.readers[i] = &readers{first: make(map[string]*unitState, own*len(e.units[i])), rest: map[string][]*unitState{}}
		for _, u := range e.units[i] {
			for _, k := range u.reads {
				e.readers[i].add(k, u)
			}
		}
	}
	return e.readers[i]
}

// dirty returns the units of a layer that a change of keys touches, in order.
func (e *engine) dirty(i int, l *layer, keys []string) []string {
	var units []string
	add := func(u *unitState) {
		if u.marked != e.runs {
			u.marked = e.runs
			units = append(units, u.name)
		}
	}
	var readers *readers // of no units there are none
	if len(e.units[i]) > 0 {
		readers = e.readersOf(i)
	}
	addReaders := func(key string) {
		if u := readers.first[key]; u != nil {
			add(u)
			for _, u := range readers.rest[key] {
				add(u)
			}
		}
	}
	for _, k := range keys {
		if u := l.unitOf(k); u != "" {
			units = append(units, u)
		}
		if readers == nil {
			continue
		}
		addReaders(k)
		for at := 0; ; {
			n := strings.IndexByte(k[at:], '/')
			if n < 0 || at+n+1 == len(k) {
				break
			}
			at += n + 1
			addReaders(k[:at])
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}

// derivation is a unit as it is now.
type derivation struct {
	exists bool
	out    output
	reads  []string
}

// derive looks at units of one layer. They read only what layers below have published, so that none has to wait for
// another: when there are many, as in a full run, all cores take part.
func (e *engine) derive(l *layer, units []string) []derivation {
	all := make([]derivation, len(units))
	start := func() func(int) {
		r := &Reads{snapshot: e.snapshot, derived: e.derived}
		return func(n int) { e.deriveOne(l, units[n], r, &all[n]) }
	}
	if e.forget != nil {
		do := start()
		for n := range units {
			do(n)
		}
		return all
	}
	cores.Each(len(units), start)
	return all
}

func (e *engine) deriveOne(l *layer, unit string, r *Reads, d *derivation) {
	if d.exists = e.exists(l.root(unit)); !d.exists {
		return
	}
	r.seen, r.more = r.seen[:0], nil
	l.derive(r, unit, &d.out)
	d.out.sort()
	if e.forget != nil {
		r.seen = slices.DeleteFunc(r.seen, func(k string) bool { return e.forget(l.name, unit, k) })
	}
	slices.Sort(r.seen)
	d.reads = slices.Clone(r.seen)
}

// update makes a derivation the state of its unit, and appends the keys whose values changed.
func (e *engine) update(i int, unit string, d derivation, said map[resource.FQN]bool, changed []string) []string {
	state := e.units[i][unit]
	switch {
	case !d.exists && state == nil:
		return changed
	case !d.exists:
		delete(e.units[i], unit)
	case state == nil:
		state = &unitState{name: unit}
		e.units[i][unit] = state
	}
	e.record(i, state, d.reads)
	e.speak(e.layers[i].name, unit, state.out.remarks, d.out.remarks, said)
	old := state.out.values
	state.out = d.out
	return e.publish(old, d.out.values, changed)
}

// speak replaces what a unit said, and marks the resources about which it says something else now.
func (e *engine) speak(layer, unit string, old, now []remark, said map[resource.FQN]bool) {
	for len(old)+len(now) > 0 {
		fqn := firstOf(old, now)
		was, is := about(fqn, old), about(fqn, now)
		old, now = old[len(was):], now[len(is):]
		if !slices.Equal(was, is) {
			said[fqn] = true
			e.state(fqn, statement{layer, unit, is})
		}
	}
}

// firstOf is the first resource that one of two lists speaks of; not both are empty.
func firstOf(a, b []remark) resource.FQN {
	switch {
	case len(a) == 0:
		return b[0].fqn
	case len(b) == 0:
		return a[0].fqn
	}
	return min(a[0].fqn, b[0].fqn)
}

// about are the remarks at the beginning of a list that are about a resource.
func about(fqn resource.FQN, list []remark) []remark {
	n := 0
	for n < len(list) && list[n].fqn == fqn {
		n++
	}
	return list[:n:n]
}

// state puts a statement in the place of the one that the unit made before; an empty one is none.
func (e *engine) state(fqn resource.FQN, s statement) {
	all := slices.DeleteFunc(e.spoken[fqn], func(x statement) bool { return x.layer == s.layer && x.unit == s.unit })
	if len(s.remarks) > 0 {
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
	unit.reads = now
	readers := e.readers[i]
	if readers == nil {
		return
	}
	for _, k := range old {
		if _, still := slices.BinarySearch(now, k); !still {
			readers.remove(k, unit)
		}
	}
	for _, k := range now {
		if _, had := slices.BinarySearch(old, k); !had {
			readers.add(k, unit)
		}
	}
}

// publish makes the values of a unit visible to the layers above and appends the keys that are different. Both lists
// are sorted.
func (e *engine) publish(old, now []value, changed []string) []string {
	for i, j := 0, 0; i < len(old) || j < len(now); {
		switch {
		case j == len(now) || i < len(old) && old[i].key < now[j].key:
			e.derived.Delete(old[i].key)
			changed = append(changed, old[i].key)
			i++
			continue
		case i == len(old) || now[j].key < old[i].key:
		case reflect.DeepEqual(old[i].v, now[j].v):
			now[j] = old[i] // keep what others already hold
			i, j = i+1, j+1
			continue
		default:
			i++
		}
		e.derived.Set(now[j].key, now[j].v)
		changed = append(changed, now[j].key)
		j++
	}
	return changed
}

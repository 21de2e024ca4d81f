package istio

// unitKey names a unit that is in one cluster.
type unitKey interface {
	comparable
	// In is the name of the cluster.
	In() string
}

// units are the objects of all units of a sort.
type units[K unitKey] map[K][]*Object

// applyUnits renders what is different in the units of a sort, and notes it for their clusters. What is nil is gone.
func applyUnits[K unitKey, V any](all units[K], changed map[K]*V, render func(*V) []config, pending map[string]*patch) {
	for _, m := range renderAll(changed, func(e *encoder, key K, unit *V) []*Object { return encodeAll(e, render(unit), all[key]) }) {
		old := all[m.key]
		if len(m.out) == 0 {
			delete(all, m.key)
		} else {
			all[m.key] = m.out
		}
		at(pending, m.key.In()).replace(old, m.out)
	}
}

// begin puts the objects of a cluster that is new into its patch.
func (all units[K]) begin(cluster string, p *patch) {
	for key, objects := range all {
		if key.In() == cluster {
			p.replace(nil, objects)
		}
	}
}

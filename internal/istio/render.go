package istio

import (
	"maps"
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/cores"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// Renderer keeps the bundles of all clusters. It is used by one goroutine at a time; what it returns is shared and
// never changes.
type Renderer struct {
	namespace *Object
	clusters  map[string]*bundle
	hosts     map[string]*host
	// gateways, outgoing, fronts, and so on are the objects of those units.
	gateways, outgoing, fronts, security, hidden, eastWest, shared, directs units[intent.GatewayKey]
	routes                                                                  units[intent.ServiceKey]
}

// bundle is one cluster's objects while they change.
type bundle struct {
	cluster *intent.Cluster
	objects map[string]*Object
}

// host is a global host with its objects, by form.
type host struct {
	intent *intent.Host
	forms  map[intent.FormKey][]*Object
}

// New makes a Renderer without clusters.
func New() *Renderer {
	return &Renderer{
		namespace: globalNamespace(),
		clusters:  map[string]*bundle{},
		hosts:     map[string]*host{},
		gateways:  units[intent.GatewayKey]{},
		outgoing:  units[intent.GatewayKey]{},
		fronts:    units[intent.GatewayKey]{},
		security:  units[intent.GatewayKey]{},
		hidden:    units[intent.GatewayKey]{},
		routes:    units[intent.ServiceKey]{},
		eastWest:  units[intent.GatewayKey]{},
		shared:    units[intent.GatewayKey]{},
		directs:   units[intent.GatewayKey]{},
	}
}

// Apply renders what is different in an intent, and returns what is different in the bundles, in the order of
// clusters. A cluster that is new gets all of its bundle, one that is gone an empty one.
func (r *Renderer) Apply(d intent.Delta) []Change {
	pending := map[string]*patch{}
	applyUnits(r.gateways, d.Gateways, renderGateway, pending)
	applyUnits(r.outgoing, d.Outgoing, renderOutgoing, pending)
	applyUnits(r.fronts, d.Fronts, renderFront, pending)
	applyUnits(r.routes, d.Routes, renderRoute, pending)
	applyUnits(r.security, d.Security, renderSecurity, pending)
	applyUnits(r.hidden, d.Hidden, renderHidden, pending)
	applyUnits(r.eastWest, d.EastWest, renderEastWest, pending)
	applyUnits(r.shared, d.Shared, renderShared, pending)
	applyUnits(r.directs, d.Directs, renderDirect, pending)
	for _, m := range renderAll(d.Hosts, r.hostObjects) {
		r.applyHost(m.key, m.out, pending)
	}
	for name, c := range d.Clusters { // at the end, so that a new one gets what is true now
		r.applyCluster(name, c, pending)
	}
	return r.commit(pending)
}

// made is what was rendered of a unit.
type made[K comparable, O any] struct {
	key K
	out O
}

// renderAll renders units, on all cores when there are many. What is nil, because it is gone, renders as nothing.
func renderAll[K comparable, V, O any](units map[K]*V, render func(*encoder, K, *V) O) []made[K, O] {
	keys, all := make([]K, 0, len(units)), make([]made[K, O], len(units))
	for k := range units {
		keys = append(keys, k)
	}
	cores.Each(len(keys), func() func(int) {
		e := &encoder{}
		return func(i int) {
			all[i].key = keys[i]
			if unit := units[keys[i]]; unit != nil {
				all[i].out = render(e, keys[i], unit)
			}
		}
	})
	return all
}

// patch is what units say about a cluster's objects in one Apply. A put wins over a drop: when one unit takes over a
// name from another, both speak of it.
type patch struct {
	full  bool
	put   map[string]*Object
	drop  map[string]bool
	await map[string][]string
}

func at(pending map[string]*patch, cluster string) *patch {
	p := pending[cluster]
	if p == nil {
		p = &patch{put: map[string]*Object{}, drop: map[string]bool{}}
		pending[cluster] = p
	}
	return p
}

// replace says that one unit has other objects now.
func (p *patch) replace(old, now []*Object) {
	for _, o := range old {
		p.drop[o.ID] = true
		if p.put[o.ID] == o {
			delete(p.put, o.ID)
		}
	}
	for _, o := range now {
		p.put[o.ID] = o
	}
}

// expect says that a ServiceEntry has endpoints in clusters that have to be ready for it.
func (p *patch) expect(objects []*Object, clusters []string) {
	for _, o := range objects {
		if len(clusters) > 0 && strings.Contains(o.ID, "/ServiceEntry/") {
			if p.await == nil {
				p.await = map[string][]string{}
			}
			p.await[o.ID] = clusters
		}
	}
}

// newcomers are the clusters of endpoints that a cluster did not have before, while it had others: until they are ready, those
// are called. Endpoints of a host that had none are not waited for.
func newcomers(old, now *host, c *intent.Cluster) []string {
	if old == nil || now == nil {
		return nil
	}
	_, was := old.intent.FormFor(c)
	_, is := now.intent.FormFor(c)
	if was == nil || is == nil || len(was.Endpoints) == 0 {
		return nil
	}
	var clusters []string
	for _, e := range is.Endpoints {
		if !slices.ContainsFunc(was.Endpoints, func(x intent.Endpoint) bool { return x.Cluster == e.Cluster && x.Service == e.Service }) {
			clusters = append(clusters, e.Cluster)
		}
	}
	slices.Sort(clusters)
	return slices.Compact(clusters)
}

func (r *Renderer) applyCluster(name string, c *intent.Cluster, pending map[string]*patch) {
	if c == nil {
		delete(r.clusters, name)
		p := at(pending, name)
		p.full = true
		return
	}
	b := r.clusters[name]
	if b == nil {
		b = &bundle{objects: map[string]*Object{}}
		r.clusters[name] = b
	}
	old := b.cluster
	b.cluster = c
	p := at(pending, name)
	if old == nil {
		p.full = true
		p.replace(nil, []*Object{r.namespace})
	}
	for _, h := range r.hosts {
		var was []*Object
		if old != nil {
			was = h.seenBy(old)
		}
		p.replace(was, h.seenBy(c))
	}
	if old == nil {
		for _, all := range []units[intent.GatewayKey]{r.gateways, r.outgoing, r.fronts, r.security, r.hidden, r.eastWest, r.shared, r.directs} {
			all.begin(name, p)
		}
		r.routes.begin(name, p)
	}
}

// seenBy returns the host's objects in a cluster.
func (h *host) seenBy(c *intent.Cluster) []*Object {
	if h == nil {
		return nil
	}
	key, _ := h.intent.FormFor(c)
	return h.forms[key]
}

// hostObjects are those of a global host.
func (r *Renderer) hostObjects(e *encoder, name string, in *intent.Host) *host {
	old, now := r.hosts[name], &host{intent: in, forms: map[intent.FormKey][]*Object{}}
	dress := dressOf(in)
	for key, f := range in.Forms {
		var before []*Object
		if old != nil {
			before = old.forms[key]
		}
		now.forms[key] = encodeAll(e, renderForm(in, f, dress), before)
	}
	return now
}

// applyHost puts a host in the place of the one with its name; nil when it is gone.
func (r *Renderer) applyHost(name string, now *host, pending map[string]*patch) {
	old := r.hosts[name]
	if now == nil {
		delete(r.hosts, name)
	} else {
		r.hosts[name] = now
	}
	for cluster, b := range r.clusters {
		was, is := old.seenBy(b.cluster), now.seenBy(b.cluster)
		if !slices.Equal(was, is) {
			p := at(pending, cluster)
			p.replace(was, is)
			p.expect(is, newcomers(old, now, b.cluster))
		}
	}
}

// encodeAll encodes objects, and keeps the old ones that are the same, so that clusters share them.
func encodeAll(e *encoder, configs []config, old []*Object) []*Object {
	out := make([]*Object, len(configs))
	for i := range configs {
		o := configs[i].encode(e)
		if at := slices.IndexFunc(old, func(x *Object) bool {
			return x.ID == o.ID && x.Digest == o.Digest && slices.Equal(x.Owners, o.Owners)
		}); at >= 0 {
			o = old[at]
		}
		out[i] = o
	}
	return out
}

// commit writes the patches into the bundles.
func (r *Renderer) commit(pending map[string]*patch) []Change {
	var changes []Change
	for _, name := range slices.Sorted(maps.Keys(pending)) {
		p := pending[name]
		ch := Change{Cluster: name, Full: p.full, Await: p.await}
		b := r.clusters[name]
		if b == nil { // gone, and whatever its units said does not matter
			if p.full {
				changes = append(changes, Change{Cluster: name, Gone: true})
			}
			continue
		}
		for id := range p.drop {
			if p.put[id] == nil {
				delete(b.objects, id)
				ch.Drop = append(ch.Drop, id)
			}
		}
		for id, o := range p.put {
			if b.objects[id] != o {
				b.objects[id] = o
				ch.Put = append(ch.Put, o)
				r.need(&ch, o, b.cluster)
			}
		}
		slices.Sort(ch.Drop)
		slices.SortFunc(ch.Put, byWave)
		if ch.Full || len(ch.Put)+len(ch.Drop) > 0 {
			changes = append(changes, ch)
		}
	}
	return changes
}

// need says which objects make the hosts known that one leads to.
func (r *Renderer) need(ch *Change, o *Object, c *intent.Cluster) {
	for _, name := range o.Leads {
		for _, entry := range r.hosts[name].seenBy(c) {
			if !strings.Contains(entry.ID, "/ServiceEntry/") {
				continue
			}
			if ch.Needs == nil {
				ch.Needs = map[string][]string{}
			}
			ch.Needs[o.ID] = append(ch.Needs[o.ID], entry.ID)
		}
	}
}

func byWave(a, b *Object) int {
	if a.Wave != b.Wave {
		return int(a.Wave) - int(b.Wave)
	}
	if a.ID < b.ID {
		return -1
	}
	return 1
}

// Bundle is a copy of a cluster's bundle; nil for a cluster that has none.
func (r *Renderer) Bundle(cluster string) *Bundle {
	b := r.clusters[cluster]
	if b == nil {
		return nil
	}
	return &Bundle{Cluster: cluster, Objects: maps.Clone(b.objects)}
}

// Clusters that have a bundle, in order.
func (r *Renderer) Clusters() []string { return slices.Sorted(maps.Keys(r.clusters)) }

// Sorted are the objects of a bundle in the order in which they are applied.
func (b *Bundle) Sorted() []*Object {
	return slices.SortedFunc(maps.Values(b.Objects), byWave)
}

// Made returns the IDs of the objects in each cluster that were made from a resource, sorted.
func (r *Renderer) Made(fqn resource.FQN) map[string][]string {
	out := map[string][]string{}
	for name, b := range r.clusters {
		for id, o := range b.objects {
			if slices.Contains(o.Owners, fqn) {
				out[name] = append(out[name], id)
			}
		}
		slices.Sort(out[name])
	}
	return out
}

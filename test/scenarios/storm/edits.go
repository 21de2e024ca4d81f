package storm

import (
	"fmt"
	"maps"
	"slices"
)

// Edit is one change; its steps are made one after the other without a pause.
type Edit struct {
	What  string
	Steps []Step
}

// Step is one thing to do, and what is true from then on.
type Step struct {
	// Apply is YAML for tctl.
	Apply string
	// Delete is a resource, as tctl takes it: kind, name and group.
	Delete []string
	// Certificate: the one of the gateway in front is replaced.
	Certificate bool
	// Recreate is CLUSTER/NAME of an installed gateway that is deleted and made again as soon as that is possible, beside what
	// follows. When it serves again, Up says so.
	Recreate string
	// Stall is a cluster whose edge does nothing for a while, beside what follows. When it goes on, Goes says so.
	Stall string

	// Begins may answer as soon as the step begins, Ends may not any more some time after it is done.
	Begins []Truth
	Ends   []int
	Fronts []Choice
}

// Truth is one version of what a cluster answers for a host.
type Truth struct {
	Version       int
	Host, Cluster string
	// Apps by path.
	Apps map[string]string
}

// Choice are the clusters that the gateway in front may call for a host.
type Choice struct {
	Host     string
	Clusters []string
}

func (s *Step) merge(o Step) {
	if s.Apply != "" {
		s.Apply += "---\n"
	}
	s.Apply += o.Apply
	s.Begins, s.Ends, s.Fronts = append(s.Begins, o.Begins...), append(s.Ends, o.Ends...), append(s.Fronts, o.Fronts...)
}

// Next makes a change: one after which every host still has a gateway that answers, wherever the one in front sends requests to.
func (w *World) Next() Edit {
	kinds := Kinds()
	if len(w.Only) > 0 {
		kinds = w.Only
	}
	for {
		what := kinds[w.rnd.IntN(len(kinds))]
		i := w.rnd.IntN(len(w.hosts))
		before, down, stalled := w.hosts[i].clone(), maps.Clone(w.down), w.stalled
		if steps := changes()[what](w, w.hosts[i]); steps != nil && w.answers() {
			return Edit{What: fmt.Sprint(what, " ", w.hosts[i]), Steps: steps}
		}
		w.hosts[i], w.down, w.stalled = before, down, stalled
	}
}

// Up says that a gateway that was made again serves.
func (w *World) Up(gateway string) { delete(w.down, gateway) }

// Goes says that the edge that was stalled goes on.
func (w *World) Goes() { w.stalled = "" }

// answers says that every host is exposed by a gateway that is there, and in each cluster that is called by its name.
func (w *World) answers() bool {
	return !slices.ContainsFunc(w.hosts, func(h *host) bool {
		up := func(c string) bool { return h.sides[c] != nil && !w.down[c+"/"+h.sides[c].gateway] }
		return !slices.ContainsFunc(Backends, up) || slices.ContainsFunc(h.front.names, func(c string) bool { return !up(c) })
	})
}

func (h *host) clone() *host {
	c := *h
	c.sides = map[string]*side{}
	for name, s := range h.sides {
		t := *s
		t.order, t.rules = slices.Clone(s.order), slices.Clone(s.rules)
		c.sides[name] = &t
	}
	return &c
}

// String says where a host is exposed, and which clusters are called from the front.
func (h *host) String() string {
	return fmt.Sprint(h.name, " in ", slices.Sorted(maps.Keys(h.sides)), ", called in ", h.front.clusters())
}

// changes by name. Each returns nil when it cannot be made now.
func changes() map[string]func(*World, *host) []Step {
	return map[string]func(*World, *host) []Step{
		"reorder":     onSide((*World).reorder),
		"backend":     onSide((*World).backend),
		"port":        onSide((*World).port),
		"server":      onSide((*World).serverName),
		"gateway":     onSide((*World).otherGateway),
		"rename":      (*World).rename,
		"spread":      (*World).spread,
		"leave":       (*World).leave,
		"move":        (*World).move,
		"weights":     (*World).weigh,
		"certificate": func(*World, *host) []Step { return []Step{{Certificate: true}} },
		"recreate":    (*World).recreate,
		"stall":       (*World).stall,
	}
}

// onSide changes the resource of one cluster.
func onSide(change func(*World, *side)) func(*World, *host) []Step {
	return func(w *World, h *host) []Step {
		c := w.there(h)
		change(w, h.sides[c])
		return []Step{w.put(h, c)}
	}
}

// there is a cluster that exposes a host.
func (w *World) there(h *host) string {
	var all []string
	for _, c := range Backends {
		if h.sides[c] != nil {
			all = append(all, c)
		}
	}
	return all[w.rnd.IntN(len(all))]
}

func other(all []string, one string) string { return all[1-slices.Index(all, one)] }

func (w *World) reorder(s *side) {
	w.rnd.Shuffle(len(s.order), func(i, j int) { s.order[i], s.order[j] = s.order[j], s.order[i] })
}

func (w *World) backend(s *side) {
	r := &s.rules[w.rnd.IntN(len(s.rules))]
	r.app = other(Apps, r.app)
}

func (w *World) port(s *side) {
	r := &s.rules[w.rnd.IntN(len(s.rules))]
	r.port = ports[0] + ports[1] - r.port
}

func (w *World) serverName(s *side) {
	s.server = map[string]string{"s": "t", "t": "s"}[s.server]
}

func (w *World) otherGateway(s *side) { s.gateway = other(Gateways, s.gateway) }

// rename makes the resource under another name, and then removes the one that it was.
func (w *World) rename(h *host) []Step {
	c := w.there(h)
	s := h.sides[c]
	old := *s
	base, letter := s.resource[:len(s.resource)-1], s.resource[len(s.resource)-1:]
	s.resource = base + map[string]string{"a": "b", "b": "a"}[letter]
	made := w.put(h, c)
	made.Ends = nil // the first one in the order of names answers until it is gone
	return []Step{made, {Delete: ingressName(old.resource, c), Ends: []int{old.version}}}
}

func ingressName(resource, cluster string) []string {
	return []string{"ingressgateway", resource, "-l", cluster}
}

func (w *World) spread(h *host) []Step {
	for _, c := range Backends {
		if h.sides[c] == nil {
			from := h.sides[other(Backends, c)]
			h.sides[c] = &side{
				resource: from.resource, gateway: Gateways[w.rnd.IntN(2)], server: from.server,
				order: slices.Clone(from.order), rules: slices.Clone(from.rules),
			}
			return []Step{w.put(h, c)}
		}
	}
	return nil
}

// leave removes the host from a cluster.
func (w *World) leave(h *host) []Step {
	c := w.there(h)
	s := h.sides[c]
	delete(h.sides, c)
	if len(h.sides) == 0 {
		return nil
	}
	return []Step{{Delete: ingressName(s.resource, c), Ends: []int{s.version}}}
}

// move takes the host from one cluster to the other.
func (w *World) move(h *host) []Step {
	c := w.there(h)
	if len(h.sides) > 1 {
		return nil
	}
	steps := w.spread(h)
	s := h.sides[c]
	delete(h.sides, c)
	return append(steps, Step{Delete: ingressName(s.resource, c), Ends: []int{s.version}})
}

func (w *World) weigh(h *host) []Step {
	var c choice
	switch w.rnd.IntN(4) {
	case 0:
	case 1:
		c.label = true
	case 2:
		c.names = []string{w.there(h)}
	default:
		n := 1 + w.rnd.IntN(99)
		c.names, c.weights = slices.Clone(Backends), []int{n, 100 - n}
	}
	return []Step{w.choose(h, c)}
}

// recreate deletes an installed gateway and makes it again as soon as it is gone.
func (w *World) recreate(*host) []Step {
	if len(w.down) > 0 || w.stalled != "" || w.rnd.IntN(10) > 0 { // it takes as long as a hundred other changes
		return nil
	}
	gateway := Backends[w.rnd.IntN(2)] + "/" + Gateways[w.rnd.IntN(2)]
	w.down[gateway] = true
	return []Step{{Recreate: gateway}}
}

// stall makes the edge of a cluster do nothing for a while: it is the caller of some hosts and the owner of others. A gateway that
// is deleted meanwhile would not be heard of in the time that it serves on.
func (w *World) stall(*host) []Step {
	if len(w.down) > 0 || w.stalled != "" || w.rnd.IntN(5) > 0 {
		return nil
	}
	all := append([]string{FrontCluster}, Backends...)
	w.stalled = all[w.rnd.IntN(len(all))]
	return []Step{{Stall: w.stalled}}
}

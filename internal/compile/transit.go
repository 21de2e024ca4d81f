package compile

import (
	"slices"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// transit is what a gateway offers that exposes nothing itself and leads on to those that do, for callers who cannot reach these.
type transit struct {
	offered
	Kind string
	// Sets of clusters that it leads to.
	Sets []clusterSet
}

func transitPrefix(host string) string { return "u/transit/" + host + "/" }

// transit publishes, for each host that the gateway is in front of within the mesh, how the gateway can be called.
func (s *scene) transit(configured bool) {
	made := map[string]*transit{}
	for _, f := range s.plan.Fronts {
		if !f.Mesh {
			continue
		}
		t := made[f.Host]
		if t == nil {
			t = &transit{offered: s.offered(), Kind: f.Kind}
			made[f.Host] = t
			if configured {
				quiet := func(resource.Condition) {} // nobody may have to be sent here
				_, t.Remote = s.endpoints(f.Host, []intent.HostPort{{Name: "http", Number: 80, MTLS: true}}, quiet)
			}
		}
		for _, w := range undrained(s.r, f.Sets) {
			t.Sets = append(t.Sets, w.clusterSet)
		}
	}
	for host, t := range made {
		s.out.put(transitPrefix(host)+string(s.plan.FQN)+"/"+s.cluster.Name, *t)
	}
}

// findTransits finds the gateways that lead on to the host, and how many hops away it is from each. One that is so many hops away leads only
// to those that are fewer, so that no request goes in a circle.
func (w *ways) findTransits(r *Reads) {
	var offers []offered
	for _, v := range r.prefix(transitPrefix(w.host.Host)) {
		t := v.(transit)
		if t.Kind != w.kind || len(t.Remote) == 0 || len(w.host.Ports) != 1 {
			continue // what arrives does not say for which of several ports it is
		}
		t.Remote = onPort(t.Remote, w.host.Ports[0].Name)
		w.transits, offers = append(w.transits, t), append(offers, t.offered)
	}
	for i, o := range labelled(r, w.host.Host, offers) {
		w.transits[i].offered = o
	}
	for hops := 1; ; hops++ {
		var found []int
		for i, t := range w.transits {
			if t.Hops == 0 && w.leads(t) {
				found = append(found, i)
			}
		}
		if len(found) == 0 {
			return
		}
		for _, i := range found {
			w.transits[i].Hops = hops
		}
	}
}

// onPort are endpoints whose only port has a name; they are shared and stay as they were.
func onPort(endpoints []intent.Endpoint, name string) []intent.Endpoint {
	endpoints = slices.Clone(endpoints)
	for i := range endpoints {
		for _, number := range endpoints[i].Ports {
			endpoints[i].Ports = map[string]uint32{name: number}
		}
	}
	return endpoints
}

// leads says whether a gateway leads to any endpoint, as its cluster sees the host now.
func (w *ways) leads(t transit) bool {
	f := form(w.host, w.seen(t.Reach, t.Cluster), false)
	return slices.ContainsFunc(f.Endpoints, func(e intent.Endpoint) bool {
		return slices.ContainsFunc(t.Sets, func(s clusterSet) bool { return s.Name == "" || s.holds(e) })
	})
}

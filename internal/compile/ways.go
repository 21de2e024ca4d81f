package compile

import (
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/intent"
)

// ways are how a host can be called: who calls which gateways depends on the networks that they reach.
type ways struct {
	host *intent.Host
	kind string
	// direct is what the gateways that expose the host offer, transits what those offer that only lead on to them.
	direct   []offered
	transits []transit
	out      *output
}

// forms makes one form for each sort of clusters that see the host in the same way, and one for each cluster with a gateway of it.
func (w *ways) forms(r *Reads) map[intent.FormKey]*intent.Form {
	everything := w.seen("", "")
	sayNowhereElse(w.host, everything, "", w.out)
	forms := map[intent.FormKey]*intent.Form{{}: form(w.host, everything, false)}
	networks := slices.ContainsFunc(w.direct, func(o offered) bool { return hasNetwork(o.Remote) || hasNetwork(o.Local) })
	if networks {
		forms[intent.FormKey{Networks: true}] = form(w.host, everything, true)
	}
	all := reaches(r)
	if len(all) > 0 {
		w.findTransits(r)
	}
	for _, reach := range all {
		if !slices.ContainsFunc(w.direct, func(o offered) bool { return len(o.Remote) > 0 && !within(reach, o.Network) }) {
			continue // all of the host is within reach
		}
		offers := w.seen(reach, "")
		forms[intent.FormKey{Reach: reach}] = form(w.host, offers, false)
		if networks {
			forms[intent.FormKey{Reach: reach, Networks: true}] = form(w.host, offers, true)
		}
		sayNowhereElse(w.host, offers, reach, w.out)
		if !w.called(offers) && w.called(everything) {
			w.sayUnreachable(r, reach)
		}
	}
	for _, o := range w.direct {
		key := intent.FormKey{Own: o.Cluster}
		if _, done := forms[key]; !done && len(o.Local) > 0 {
			forms[key] = form(w.host, w.seen(o.Reach, o.Cluster), hasNetwork(o.Local))
		}
	}
	return forms
}

// reaches are those that any organization has, sorted.
func reaches(r *Reads) []string {
	var all []string
	for _, v := range r.prefix(reachPrefix) {
		all = append(all, v.([]string)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// seen are the offers that callers with a reach call, or those in the cluster own: what exposes the host, or where none of that is within reach
// the gateways from which it is the fewest hops away.
func (w *ways) seen(reach, own string) []offered {
	var all []offered
	for _, o := range w.direct {
		switch {
		case o.Cluster == own:
			o.Remote = o.Local
		case !within(reach, o.Network):
			continue
		}
		all = append(all, o)
	}
	if w.called(all) {
		return evacuated(w.host, all)
	}
	nearest := 0
	for _, t := range w.transits {
		switch {
		case t.Hops == 0 || !within(reach, t.Network) || nearest > 0 && t.Hops > nearest:
			continue
		case t.Hops < nearest:
			all = slices.DeleteFunc(all, func(o offered) bool { return o.Hops > 0 })
		}
		nearest = t.Hops
		all = append(all, t.offered)
	}
	return evacuated(w.host, all)
}

// called says whether any of the offers can be.
func (w *ways) called(offers []offered) bool {
	return slices.ContainsFunc(offers, func(o offered) bool { return slices.ContainsFunc(o.Remote, w.host.Serves) })
}

// sayUnreachable names the clusters with a reach that have no way to the host.
func (w *ways) sayUnreachable(r *Reads, reach string) {
	var names []string
	for key := range r.prefix(callersPrefix(reach)) {
		name := strings.TrimPrefix(key, callersPrefix(reach))
		if !slices.ContainsFunc(w.direct, func(o offered) bool { return o.Cluster == name && len(o.Local) > 0 }) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return
	}
	for _, fqn := range w.host.Owners {
		w.out.say(fqn, no(reasonUnreachable, "", "Host %q cannot be called in %s: from there no gateway of the host can be reached, and none that leads on to it.", w.host.Host, strings.Join(names, ", ")))
	}
}

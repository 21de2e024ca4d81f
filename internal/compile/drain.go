package compile

import (
	"slices"

	"isthmus.dev/isthmus/internal/intent"
)

// evacuated marks what gateways in drained clusters offer of a host as leaving, for callers who see these offers, as long as a gateway
// elsewhere can be called. Their identities stay: calls that are under way end there, and the cluster may come back.
func evacuated(h *intent.Host, all []offered) []offered {
	if !slices.ContainsFunc(all, func(o offered) bool { return o.Drained }) {
		return all
	}
	if !slices.ContainsFunc(all, func(o offered) bool { return !o.Drained && slices.ContainsFunc(o.Remote, h.Serves) }) {
		return all
	}
	all = slices.Clone(all)
	for i := range all {
		all[i].Leaving = all[i].Drained
	}
	return all
}

// sayNowhereElse names the drained clusters in which the host is called on, by all or by callers with a reach.
func sayNowhereElse(h *intent.Host, all []offered, reach string, out *output) {
	whom := ""
	if reach != "" {
		whom = " by callers that reach only the networks " + reach
	}
	for _, o := range all {
		if o.Drained && !o.Leaving && len(o.Remote) > 0 {
			c := h.Owners[0].Ancestor("organizations").Child("clusters", o.Cluster)
			out.say(c, no(reasonNowhereElse, "labels", "Host %q can be called in no other cluster%s, and is called here on.", h.Host, whom))
		}
	}
}

// undrained leaves out the sets with nothing but drained clusters, so that the others have their shares. Where nothing else was chosen,
// the host is called wherever it can be.
func undrained(r *Reads, sets []weighed) []weighed {
	if !slices.ContainsFunc(sets, func(w weighed) bool { return w.Name != "" && w.drained(r) }) {
		return sets
	}
	kept := slices.DeleteFunc(slices.Clone(sets), func(w weighed) bool { return w.drained(r) })
	if len(kept) == 0 {
		return []weighed{{Weight: 100}}
	}
	return kept
}

// drained says that all clusters of the set are, and that there are some.
func (s *clusterSet) drained(r *Reads) bool {
	some := false
	for _, v := range r.prefix(clustersPrefix) {
		c, ok := v.(cluster)
		if !ok || len(s.Selectors) > 0 && !s.has(c) {
			continue
		}
		if !c.Drained {
			return false
		}
		some = true
	}
	return some
}

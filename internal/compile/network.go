package compile

import (
	"maps"
	"slices"
	"strings"

	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// A reach is what can be called from a network: the names of the networks, sorted, with commas between them. Empty is everything.

// networkLayer decides what the clusters of an organization can reach.
func networkLayer() *layer {
	return &layer{
		name: "network",
		unitOf: func(key string) string {
			if fqn := store.Key(key).FQN(); fqn.Plural() == "clusters" {
				return string(fqn.Parent())
			}
			return ""
		},
		root:   func(unit string) string { return string(store.ChildPrefix(resource.FQN(unit), "clusters")) },
		derive: deriveNetworks,
	}
}

// reachPrefix is where the organizations say which reaches there are beside everything.
const reachPrefix = "u/reach/"

// callersPrefix is where the clusters with a reach are.
func callersPrefix(reach string) string { return "u/callers/" + reach + "/" }

func deriveNetworks(r *Reads, unit string, out *output) {
	org := resource.FQN(unit)
	setting, reachable := networkReachability(r, org, out)
	known, reaches := map[string]bool{}, map[string]bool{}
	for _, v := range r.prefix(clustersPrefix) {
		c, ok := v.(cluster)
		if !ok || c.Organization != org {
			continue
		}
		known[c.Declared] = true
		reach := reachOf(reachable, c.Declared)
		if reach != "" {
			reaches[reach] = true
			out.put(callersPrefix(reach)+c.Name, true)
		}
		out.put(intentClusters+c.Name, &intent.Cluster{Name: c.Name, Networks: c.Network != "", Reach: reach})
	}
	if len(reaches) > 0 {
		out.put(reachPrefix+unit, slices.Sorted(maps.Keys(reaches)))
	}
	for _, from := range slices.Sorted(maps.Keys(reachable)) {
		for _, n := range append([]string{from}, reachable[from]...) {
			if !known[n] {
				out.say(setting, no(reasonUnknownNetwork, `networkSettings.networkReachability["`+from+`"]`, "No cluster is in network %q.", n))
			}
		}
	}
}

// networkReachability is what the settings of an organization say, by the network of the caller; nil when they say nothing. Of several settings
// the first one in name order that says something holds.
func networkReachability(r *Reads, org resource.FQN, out *output) (setting resource.FQN, reachable map[string][]string) {
	for _, v := range r.prefix(string(store.ChildPrefix(org, "settings"))) {
		res, _ := v.(*resource.Resource)
		if res == nil {
			continue
		}
		spec, _ := res.Spec.(*tsbv2.OrganizationSetting)
		said := spec.GetNetworkSettings().GetNetworkReachability()
		if len(said) == 0 {
			continue
		}
		if reachable != nil {
			out.say(res.FQN, no(reasonNoEffect, "networkSettings", "An organization has one networkReachability, and that of %q comes first.", setting))
			continue
		}
		setting, reachable = res.FQN, map[string][]string{}
		for from, to := range said {
			reachable[from] = resource.Networks(to)
		}
	}
	return setting, reachable
}

// reachOf is what can be called from a network, once anything is said of networks: itself, and what is listed. From a cluster that is in
// no network everything can be.
func reachOf(reachable map[string][]string, network string) string {
	if reachable == nil || network == "" {
		return ""
	}
	to := slices.Concat([]string{network}, reachable[network])
	slices.Sort(to)
	return strings.Join(slices.Compact(to), ",")
}

// within says whether a network can be called from clusters with a reach. A cluster that is in no network can be called from everywhere.
func within(reach, network string) bool {
	return reach == "" || network == "" || slices.Contains(strings.Split(reach, ","), network)
}

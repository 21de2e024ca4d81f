package compile

import (
	"iter"
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// clusterSet is a choice of clusters: all that match one of its selectors.
type clusterSet struct {
	// Name of the subset of endpoints; empty for the set of all clusters.
	Name      string
	Selectors []clusterSelector
	// Field in which it was chosen.
	Field string
}

// setName is how the names of sets begin that are not a single cluster by its name.
const setName = "clusters-"

// clusterSelector matches the cluster with a name, or those with labels; in a network, if one is named.
type clusterSelector struct {
	Name    string
	Labels  map[string]string
	Network string
}

// label that the endpoints of the set have, and no others.
func (s *clusterSet) label() (key, value string) {
	if s.single() {
		return intent.ClusterLabel, s.Name
	}
	return wellknown.SetPrefix + strings.TrimPrefix(s.Name, setName), "true"
}

// single says that the set is one cluster by its name, which every endpoint says of itself.
func (s *clusterSet) single() bool {
	return len(s.Selectors) == 1 && s.Selectors[0].Name == s.Name
}

func (s *clusterSet) has(c cluster) bool {
	return slices.ContainsFunc(s.Selectors, func(x clusterSelector) bool {
		return (x.Name == "" || x.Name == c.Name) && subset(x.Labels, c.Labels) && (x.Network == "" || x.Network == c.Declared)
	})
}

// newSet is named after what it selects, so that the servers of a gateway share it.
func newSet(field string, selectors ...clusterSelector) clusterSet {
	s := clusterSet{Selectors: selectors, Field: field}
	switch {
	case len(selectors) == 0:
	case len(selectors) == 1 && selectors[0].Network == "" && selectors[0].Name != "":
		s.Name = selectors[0].Name
	default:
		var all []string
		for _, x := range selectors {
			all = append(all, x.text())
		}
		slices.Sort(all)
		s.Name = setName + shortHash(strings.Join(all, "|"))
	}
	return s
}

func (x clusterSelector) text() string {
	return x.Name + ";" + selectorText(x.Labels) + ";" + x.Network
}

// weighed is a set with its share of the requests.
type weighed struct {
	clusterSet
	Weight uint32
}

// sets are the clusters that a target chooses. With weights each choice has its share, whatever happens to the others;
// without, all of them together are one set, in which the nearest is called.
func sets(t *target) []weighed {
	var all []weighed
	var union []clusterSelector
	sum := uint32(0)
	for i, d := range t.clusters {
		x := clusterSelector{Name: d.GetName(), Labels: d.GetLabels(), Network: d.GetNetwork()}
		union = append(union, x)
		all = append(all, weighed{newSet(t.chosen(i), x), d.GetWeight()})
		sum += d.GetWeight()
	}
	if sum == 0 {
		return []weighed{{newSet(t.field, union...), 100}}
	}
	all = slices.DeleteFunc(all, func(w weighed) bool { return w.Weight == 0 })
	// The same set twice is one with both shares.
	for i := 0; i < len(all); i++ {
		for j := len(all) - 1; j > i; j-- {
			if all[j].Name == all[i].Name {
				all[i].Weight += all[j].Weight
				all = slices.Delete(all, j, j+1)
			}
		}
	}
	return all
}

// chosen is the field of one of the choices.
func (t *target) chosen(i int) string {
	return strings.TrimSuffix(t.field, ".clusters") + ".clusters[" + itoa(i) + "]"
}

// checkClusters says which clusters of a target do not exist.
func checkClusters(r *Reads, fqn resource.FQN, t *target, out *output) {
	for i, d := range t.clusters {
		if name := d.GetName(); name != "" && !clusterThere(r, fqn, name) {
			out.say(fqn, no(reasonUnknownCluster, t.chosen(i)+".name", "Cluster %q does not exist.", name))
		}
	}
}

func clusterThere(r *Reads, fqn resource.FQN, name string) bool {
	for c := range clustersOf(r, fqn) { // which place reads too
		if c == name {
			return true
		}
	}
	return false
}

// clustersOf are the names of the clusters of the organization that a resource is in, in order.
func clustersOf(r *Reads, fqn resource.FQN) iter.Seq[string] {
	org := fqn.Ancestor("organizations")
	return func(yield func(string) bool) {
		for key, v := range r.prefix(clusterNamesPrefix) {
			if v.(resource.FQN) == org && !yield(strings.TrimPrefix(key, clusterNamesPrefix)) {
				return
			}
		}
	}
}

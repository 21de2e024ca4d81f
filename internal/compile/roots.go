package compile

import (
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/resource"
)

// sayRoots names the first cluster with which calls are refused, because one of the two does not trust the root of the other's
// certificates; without such a one, the first with which they will be once workloads get certificates of a root that only one of the
// two trusts.
func sayRoots(r *Reads, fqn resource.FQN, out *output) {
	var self cluster
	var others []cluster
	for _, v := range r.prefix(clustersPrefix) {
		c, ok := v.(cluster)
		switch {
		case !ok || len(c.Roots) == 0 || c.Organization != fqn.Parent():
		case c.Name == fqn.Name():
			self = c
		default:
			others = append(others, c)
		}
	}
	if len(self.Roots) == 0 {
		return
	}
	for _, c := range others {
		switch {
		case !self.trusts(c):
			out.say(fqn, no(reasonRoot, "", "Calls between the cluster and %q are refused: the mesh trusts root certificate %s, and workloads there have certificates of %s.", c.Name, self.trusted(), c.signed()))
			return
		case !c.trusts(self):
			out.say(fqn, no(reasonRoot, "", "Calls between the cluster and %q are refused: the mesh there trusts root certificate %s, and workloads here have certificates of %s.", c.Name, c.trusted(), self.signed()))
			return
		}
	}
	for _, c := range others {
		if !slices.Equal(self.Roots, c.Roots) {
			out.say(fqn, no(reasonRootsDiffer, "", "The mesh trusts root certificate %s, and the one of cluster %q trusts %s: calls between them are refused once workloads get certificates of one that the other does not trust.", self.trusted(), c.Name, c.trusted()))
			return
		}
	}
}

// trusts says that workloads of c accept those of o; where it is not known which root those have, that they may.
func (c cluster) trusts(o cluster) bool {
	if o.Signer != "" {
		return slices.Contains(c.Roots, o.Signer)
	}
	return slices.ContainsFunc(o.Roots, func(root string) bool { return slices.Contains(c.Roots, root) })
}

func (c cluster) trusted() string { return strings.Join(c.Roots, " and ") }

func (c cluster) signed() string {
	if c.Signer != "" {
		return c.Signer
	}
	return strings.Join(c.Roots, " or ")
}

package compile

import (
	"slices"

	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	"isthmus.dev/isthmus/internal/wellknown"
)

// visible are the hosts, as "<namespace>/<host>", that services of the group know of in a cluster. Global hosts are always among
// them: without theirs a call would leave the mesh instead of going to the gateway of another cluster.
func (o *outgoing) visible(r *Reads, cluster string) []string {
	var hosts []string
	inAll := func(namespaces []string) {
		for _, ns := range namespaces {
			hosts = append(hosts, ns+"/*")
		}
	}
	switch o.Reach.GetMode() {
	case trafficv2.Reachability_NAMESPACE:
		hosts = []string{"./*"}
	case trafficv2.Reachability_GROUP:
		if o.Scope.Index == "" { // in no group a namespace is alone
			hosts = []string{"./*"}
			break
		}
		inAll(o.Scope.namespaces(r, cluster))
	case trafficv2.Reachability_WORKSPACE:
		inAll(o.Owned.namespaces(r, cluster))
	case trafficv2.Reachability_CUSTOM:
		hosts = slices.Clone(o.Reach.GetHosts())
	default:
		return []string{"*/*"}
	}
	if slices.Contains(hosts, "*/*") {
		return []string{"*/*"}
	}
	if o.Exit != nil {
		if to, ref := o.Exit.service(); !slices.Contains(hosts, ref.Namespace+"/*") {
			hosts = append(hosts, ref.Namespace+"/"+to.Host)
		}
	}
	hosts = append(hosts, wellknown.GlobalNamespace+"/*")
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

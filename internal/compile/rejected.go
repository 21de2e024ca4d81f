package compile

import (
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/intent"
)

// sayRejected passes on what the gateway's Envoys refuse. A refusal that names a host or a server of a gateway on the pods is
// about that gateway; one that names none may be about any.
func (s *scene) sayRejected() {
	for _, w := range s.pods {
		for _, words := range w.GetRejected() {
			if s.meant(words) {
				s.say(no(reasonRejected, "", "Envoy of %q in namespace %q refuses the configuration: %s", w.GetName(), s.plan.Namespace, words))
			}
		}
	}
}

// meant says whether a refusal is about this gateway: it names something of it, or nothing of any gateway on the pods.
func (s *scene) meant(words string) bool {
	if names(s.plan, words) {
		return true
	}
	for _, v := range s.r.prefix(placePrefix(s.cluster.Name)) {
		if p, ok := v.(*plan); ok && p != s.plan && p.Namespace == s.plan.Namespace && samePods(p.Labels, s.plan.Labels) && names(p, words) {
			return false
		}
	}
	return true
}

// names says whether a text has the name of a host of a gateway in it, as the names of its filters have.
func names(p *plan, words string) bool {
	return slices.ContainsFunc(p.Servers, func(s intent.Server) bool { return strings.Contains(words, s.Host) })
}

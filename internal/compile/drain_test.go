package compile

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// Who leaves, and which hosts stay.
func TestEvacuated(t *testing.T) {
	http, both := map[string]uint32{"http": 15443}, map[string]uint32{"http": 15443, "tcp": 15443}
	at := func(cluster string, drained bool, ports map[string]uint32) offered {
		o := offered{Cluster: cluster, Drained: drained}
		if ports != nil {
			o.Remote = []intent.Endpoint{{Cluster: cluster, Address: "192.0.2.1", Ports: ports}}
		}
		return o
	}
	for name, tc := range map[string]struct {
		offers  []offered
		leaving []string
		stays   bool
	}{
		"Nobody":           {offers: []offered{at("c1", false, both), at("c2", false, both)}},
		"One":              {offers: []offered{at("c1", true, both), at("c2", false, both)}, leaving: []string{"c1"}},
		"OneOfOne":         {offers: []offered{at("c1", true, both)}, stays: true},
		"All":              {offers: []offered{at("c1", true, both), at("c2", true, both)}, stays: true},
		"OtherIsNotReady":  {offers: []offered{at("c1", true, both), at("c2", false, nil)}, stays: true},
		"OtherLacksAPort":  {offers: []offered{at("c1", true, both), at("c2", false, http)}, stays: true},
		"NothingThere":     {offers: []offered{at("c1", true, nil), at("c2", false, nil)}},
		"LeavingIsNothing": {offers: []offered{at("c1", true, nil), at("c2", false, both)}, leaving: []string{"c1"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := &intent.Host{
				Host: "a.test", Owners: []resource.FQN{"organizations/o/tenants/t/workspaces/w/gatewaygroups/g/ingressgateways/i"},
				Ports: []intent.HostPort{{Name: "http"}, {Name: "tcp"}},
			}
			out := new(output)
			var leaving []string
			all := evacuated(h, tc.offers)
			sayNowhereElse(h, all, "", out)
			for _, o := range all {
				if o.Leaving {
					leaving = append(leaving, o.Cluster)
				}
			}
			if diff := cmp.Diff(tc.leaving, leaving); diff != "" {
				t.Errorf("leaving (-want +got):\n%s", diff)
			}
			said := slices.ContainsFunc(out.remarks, func(r remark) bool {
				return r.fqn == "organizations/o/clusters/c1" && r.condition.Reason == NowhereElse
			})
			if said != tc.stays {
				t.Errorf("it is said that the host stays in c1: %v, want %v", said, tc.stays)
			}
		})
	}
}

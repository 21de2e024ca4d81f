package compile

import (
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	profilev2 "isthmus.dev/isthmus/api/tsb/profile/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
)

// TestProfileElsewhere stores what no door lets in: a workspace that attaches the profile of another one. It has none, as if that one did
// not exist.
func TestProfileElsewhere(t *testing.T) {
	workspace := testOrg.Child("tenants", "t").Child("workspaces", "w1")
	foreign := testOrg.Child("tenants", "t").Child("workspaces", "w2").Child("profiles", "p")
	attaching := func(name resource.FQN) map[string]string {
		f := newFollower()
		f.apply(append(goodWorld(),
			profileResource(foreign, &profilev2.Profile{Defaults: read[profilev2.ProfileConfig](profileSections[7])}),
			testResource("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{
				NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/a", "*/b"}}, Profiles: []string{string(name)},
			}),
		)...)
		if !slices.ContainsFunc(f.conditions[workspace], func(c resource.Condition) bool { return c.Reason == reasonProfileMissing }) {
			t.Errorf("with %s the workspace is told %v", name, f.conditions[workspace])
		}
		facts := f.facts()
		delete(facts, "conditions of "+string(workspace))
		return facts
	}
	if diff := cmp.Diff(attaching(workspace.Child("profiles", "none")), attaching(foreign)); diff != "" {
		t.Errorf("one that is missing and one that may not be attached differ (-missing +foreign):\n%s", diff)
	}
}

func TestTrafficPaths(t *testing.T) {
	for path, want := range map[string][]string{
		"authenticationSettings.http":                    nil,
		"traffic.outbound.reachability":                  {"outbound.reachability", "reachability"},
		"trafficSettings.reachability.hosts":             {"reachability.hosts", "outbound.reachability.hosts"},
		"trafficSettings.resilience":                     {"resilience"},
		"traffic.inbound.resilience.connectionPool":      {"inbound.resilience.connectionPool", "resilience.keepAlive.tcp.downstream"},
		"traffic.outbound.upstreamTrafficSettings":       {"outbound.upstreamTrafficSettings", "resilience", "upstreamTrafficSettings"},
		"traffic.outbound.upstreamTrafficSettings.hosts": {"outbound.upstreamTrafficSettings.hosts", "upstreamTrafficSettings.hosts"},
		"traffic.outbound":                               {"egress", "outbound", "reachability", "resilience", "upstreamTrafficSettings"},
		"trafficSettings.inbound.resilience.meshTimeout": {"inbound.resilience.meshTimeout"},
		"traffic": {
			"egress", "inbound", "outbound", "rateLimiting", "reachability", "resilience", "resilience.keepAlive.tcp.downstream", "upstreamTrafficSettings",
		},
	} {
		got := trafficPaths(path)
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// TestMandatedCalls lays every mandate over every setting: what is mandated of a host is what the host has, and what is not
// mandated is what the setting says.
func TestMandatedCalls(t *testing.T) {
	ways := []string{
		`[]`,
		`[{"hosts": ["*"], "settings": {"resilience": {"circuitBreakerSensitivity": "LOW", "connectionPool": {"http": {"requestTimeout": "1s"}, "tcp": {"maxConnections": 1}}}}}]`,
		`[{"hosts": ["*"], "settings": {"resilience": {"connectionPool": {"http": {"requestTimeout": "2s", "maxRequests": 2}}}}}]`,
		`[{"hosts": ["h.test"], "settings": {"loadBalancer": {"simple": "RANDOM"}, "resilience": {"connectionPool": {"http": {"requestTimeout": "3s", "retries": {"attempts": 3}}}}}}]`,
		`[{"hosts": ["*"], "settings": {"resilience": {"circuitBreakerSensitivity": "HIGH"}}}, {"hosts": ["h.test", "g.test"], "settings": {"resilience": {"connectionPool": {"tcp": {"connectTimeout": "4s", "maxConnections": 4}}}}}]`,
	}
	calls := func(way string) *callsWanted {
		l := &trafficLevel{FQN: "x", Setting: read[trafficv2.TrafficSetting](`{"upstreamTrafficSettings": ` + way + `}`)}
		return l.calls()
	}
	words := func(c *callsWanted, host string) map[string]any {
		out := map[string]any{}
		if c == nil {
			return out
		}
		for _, at := range []string{"", host} {
			w := c.of(at)
			for word, v := range map[string]any{"timeout": w.Timeout, "retries": w.Retries, "ejection": w.Ejection, "balance": w.Balance} {
				if !reflect.ValueOf(v).IsNil() {
					out[word] = v
				}
			}
			for word, n := range map[string]any{"connections": w.Pool.MaxConnections, "requests": w.Pool.MaxRequests, "connect": int64(w.Pool.Connect)} {
				if n != uint32(0) && n != int64(0) {
					out[word] = n
				}
			}
		}
		return out
	}
	for _, mandated := range ways {
		for _, own := range ways {
			for _, host := range []string{"h.test", "g.test", "other.test"} {
				want := words(calls(own), host)
				for word, v := range words(calls(mandated), host) {
					want[word] = v
				}
				if diff := cmp.Diff(want, words(calls(mandated).mandating(calls(own)), host)); diff != "" {
					t.Errorf("%s over %s for %s (-want +got):\n%s", mandated, own, host, diff)
				}
			}
		}
	}
}

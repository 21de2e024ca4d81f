package status

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

const (
	org     = "organizations/o"
	tenant  = org + "/tenants/t"
	space   = tenant + "/workspaces/w"
	setting = space + "/settings/s"
	group   = space + "/gatewaygroups/g"
	gateA   = group + "/ingressgateways/a"
	gateB   = group + "/ingressgateways/b"
)

// world is what a case says of the parts of a View.
type world struct {
	fqns       []string
	compiled   int64 // 0 means that all is compiled
	conditions map[string][]resource.Condition
	objects    map[string]map[string][]string
	clusters   map[string]Cluster
}

func (w world) view(t *testing.T) View {
	t.Helper()
	values := map[store.Key]any{}
	for _, text := range w.fqns {
		fqn, kind, err := resource.ParseFQN(text)
		if err != nil {
			t.Fatal(err)
		}
		r := resource.New(kind, fqn, kind.Spec())
		r.Revision = 7
		values[store.ResourceKey(fqn)] = r
	}
	compiled := w.compiled
	if compiled == 0 {
		compiled = 7
	}
	return View{
		Snapshot: store.NewSnapshot(7, values), Compiled: compiled,
		Conditions: func(f resource.FQN) []resource.Condition { return w.conditions[string(f)] },
		Objects:    func(f resource.FQN) map[string][]string { return w.objects[string(f)] },
		Cluster:    func(n string) Cluster { return w.clusters[n] },
	}
}

func outcome(id string, o isthmusv1.ObjectOutcome_Outcome, reason string) map[string]*isthmusv1.ObjectOutcome {
	return map[string]*isthmusv1.ObjectOutcome{id: {Id: id, Outcome: o, Reason: reason}}
}

func TestOf(t *testing.T) {
	chain := []string{org, tenant, space, group, gateA}
	both := append(chain, gateB)
	on := Cluster{Connected: true, Reported: true}
	made := map[string]map[string][]string{gateA: {"c1": {"x", "y"}, "c2": {"x"}}}
	bad := resource.Condition{Type: "Accepted", Reason: "HostTaken", Message: "it belongs to somebody"}
	unresolved := resource.Condition{Type: "Resolved", Reason: "ServiceUnknown", Message: "no such service", Field: "spec.http[0]", Cluster: "c1"}
	unsupported := resource.Condition{Type: "Supported", Reason: "NotTranslated", Message: "waf is not translated"}
	idle := resource.Condition{Type: "Effective", Reason: "NoWorkload", Message: "no pod has these labels"}
	note := resource.Condition{Type: "Effective", Reason: "AmbiguousService", Message: "two services"}
	type want struct{ status, message, event string }
	for name, tc := range map[string]struct {
		world world
		of    string
		want  want
	}{
		"NotCompiled": {world{fqns: chain, compiled: 6, objects: made}, gateA, want{Accepted, "Stored; not compiled yet", "TSB_ACCEPTED"}},
		"NothingMade": {world{fqns: chain}, gateA, want{Accepted, "Nothing to apply yet", "XCP_ACCEPTED"}},
		"NothingMadeAndWhy": {world{fqns: chain, conditions: map[string][]resource.Condition{gateA: {idle}}}, gateA,
			want{Accepted, "no pod has these labels", "XCP_ACCEPTED"}},
		"Refused": {world{fqns: chain, conditions: map[string][]resource.Condition{gateA: {bad, unresolved}}}, gateA,
			want{Failed, "it belongs to somebody (and 1 more)", "XCP_REJECTED"}},
		"Unresolved": {world{fqns: chain, objects: made, conditions: map[string][]resource.Condition{gateA: {unresolved}}}, gateA,
			want{Failed, "spec.http[0]: no such service (in c1)", "XCP_REJECTED"}},
		"NotTranslated": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": on, "c2": on}, conditions: map[string][]resource.Condition{gateA: {unsupported}}}, gateA,
			want{Partial, "waf is not translated", "XCP_PARTIALLY_APPLIED"}},
		"Applied": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": on, "c2": on}}, gateA,
			want{Ready, "Applied in c1, c2", "XCP_APPLIED"}},
		"AppliedInVain": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": on, "c2": on}, conditions: map[string][]resource.Condition{gateA: {idle}}}, gateA,
			want{Accepted, "no pod has these labels", "XCP_ACCEPTED"}},
		"AppliedWithNote": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": on, "c2": on}, conditions: map[string][]resource.Condition{gateA: {note}}}, gateA,
			want{Ready, "Applied in c1, c2; two services", "XCP_APPLIED"}},
		"Unsent": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": {Connected: true, Unsent: map[string]bool{"y": true}}, "c2": on}}, gateA,
			want{Dirty, "On its way to c1", "XCP_ACCEPTED"}},
		"Unanswered": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": {Connected: true, Unanswered: map[string]bool{"y": true}}, "c2": on}}, gateA,
			want{Dirty, "On its way to c1", "XCP_ACCEPTED"}},
		"NewerThanTheOutcome": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c2": on,
			"c1": {Connected: true, Unsent: map[string]bool{"y": true}, NotOK: outcome("y", isthmusv1.ObjectOutcome_OUTCOME_REJECTED, "old")}}}, gateA,
			want{Dirty, "On its way to c1", "XCP_ACCEPTED"}},
		"Foreign": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": on, "c2": {Connected: true, NotOK: outcome("x", isthmusv1.ObjectOutcome_OUTCOME_FOREIGN, "")}}}, gateA,
			want{Failed, "In c2: x belongs to somebody else and is left alone", "XCP_ERRORED"}},
		"Waiting": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": on, "c2": {Connected: true, NotOK: outcome("x", isthmusv1.ObjectOutcome_OUTCOME_WAITING, "no namespace")}}}, gateA,
			want{Partial, "Applied in c1; waiting for a namespace or kind: c2", "XCP_PARTIALLY_APPLIED"}},
		"TriedAgain": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": on, "c2": {Connected: true, NotOK: outcome("x", isthmusv1.ObjectOutcome_OUTCOME_FAILED, "timeout")}}}, gateA,
			want{Dirty, "On its way to c2", "XCP_ACCEPTED"}},
		"OneDisconnected": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": on}}, gateA,
			want{Partial, "Applied in c1; not connected: c2", "XCP_PARTIALLY_APPLIED"}},
		"AllDisconnected": {world{fqns: chain, objects: made}, gateA,
			want{Accepted, "Not connected: c1, c2", "XCP_ACCEPTED"}},
		"ContainerOfReady": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": on, "c2": on}}, space,
			want{Ready, "1 child ready", "XCP_ACCEPTED"}},
		"ContainerOfFailed": {world{fqns: both, objects: made, clusters: map[string]Cluster{"c1": on, "c2": on}, conditions: map[string][]resource.Condition{gateB: {bad}}}, tenant,
			want{Failed, "failed: workspaces/w", "XCP_REJECTED"}},
		"ContainerOfReadyAndIdle": {world{fqns: both, objects: made, clusters: map[string]Cluster{"c1": on, "c2": on}}, group,
			want{Partial, "Not in place yet: ingressgateways/b", "XCP_PARTIALLY_APPLIED"}},
		"SettingsDoNotHoldUp": {world{fqns: append(chain, setting), objects: made, clusters: map[string]Cluster{"c1": on, "c2": on}}, space,
			want{Ready, "1 child ready", "XCP_ACCEPTED"}},
		"WrongSettingsDo": {world{fqns: append(chain, setting), objects: made, clusters: map[string]Cluster{"c1": on, "c2": on}, conditions: map[string][]resource.Condition{setting: {bad}}}, space,
			want{Failed, "failed: settings/s", "XCP_REJECTED"}},
		"WrongContainer": {world{fqns: chain, objects: made, clusters: map[string]Cluster{"c1": on, "c2": on}, conditions: map[string][]resource.Condition{space: {bad}}}, space,
			want{Failed, "it belongs to somebody", "XCP_REJECTED"}},
		"ClusterNeverSeen":  {world{fqns: []string{org, org + "/clusters/c1"}}, org + "/clusters/c1", want{Accepted, "Waiting for the edge to connect", "XCP_ACCEPTED"}},
		"ClusterConnecting": {world{fqns: []string{org, org + "/clusters/c1"}, clusters: map[string]Cluster{"c1": {Connected: true}}}, org + "/clusters/c1", want{Dirty, "Edge connected, its first report is not complete", "XCP_ACCEPTED"}},
		"ClusterOnboarded":  {world{fqns: []string{org, org + "/clusters/c1"}, clusters: map[string]Cluster{"c1": on}}, org + "/clusters/c1", want{Ready, "Cluster onboarded", "XCP_ACCEPTED"}},
		"ClusterLost":       {world{fqns: []string{org, org + "/clusters/c1"}, clusters: map[string]Cluster{"c1": {Reported: true}}}, org + "/clusters/c1", want{Dirty, "Edge not connected; the cluster keeps its last configuration", "XCP_ACCEPTED"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := tc.world.view(t).Of(resource.FQN(tc.of))
			got := want{s.GetStatus(), s.GetMessage(), Event(s)}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("Of(%q) (-want +got):\n%s", tc.of, diff)
			}
		})
	}
}

func TestOfNothing(t *testing.T) {
	if s := (world{}).view(t).Of(org); s != nil {
		t.Errorf("Of a resource that does not exist = %v, want nil", s)
	}
}

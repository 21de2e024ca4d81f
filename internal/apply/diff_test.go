package apply

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

const rendered = `{"apiVersion":"networking.istio.io/v1","kind":"Gateway","metadata":{"name":"gw","namespace":"ns","labels":{"xcp.tetrate.io/x":"y"}},
	"spec":{"selector":{"app":"gw"},"servers":[{"port":{"number":443}}]}}`

func wanted(t *testing.T) *want {
	t.Helper()
	w, err := newWant(&Object{ID: "networking.istio.io/v1/Gateway/ns/gw", JSON: []byte(rendered)})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// inCluster is the rendered object as an API server keeps it.
func inCluster(t *testing.T, change func(*unstructured.Unstructured)) *live {
	t.Helper()
	w := wanted(t)
	u, err := w.fresh()
	if err != nil {
		t.Fatal(err)
	}
	u.SetUID("uid")
	u.SetGeneration(3)
	u.Object["status"] = map[string]any{"conditions": []any{"istiod's"}}
	if change != nil {
		change(u)
	}
	return newLive(u)
}

func edit(value any, path ...string) func(*unstructured.Unstructured) {
	return func(u *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(u.Object, value, path...); err != nil {
			panic(err) // a path of this file
		}
	}
}

func TestJudge(t *testing.T) {
	label := func(k, v string) func(*unstructured.Unstructured) {
		return func(u *unstructured.Unstructured) {
			l := u.GetLabels()
			l[k] = v
			u.SetLabels(l)
		}
	}
	unlabel := func(u *unstructured.Unstructured) { u.SetLabels(nil) }
	mine := map[types.UID]bool{"uid": true}
	cases := map[string]struct {
		live *live
		ns   namespaceState
		mine map[types.UID]bool
		want verdict
	}{
		"Missing":              {want: toCreate},
		"NoNamespace":          {ns: namespaceMissing, want: isWaiting},
		"TerminatingNamespace": {live: inCluster(t, nil), ns: namespaceTerminating, want: isWaiting},
		"AsWanted":             {live: inCluster(t, nil), want: asWanted},
		"StatusIsNotOurs":      {live: inCluster(t, edit("x", "status", "more")), want: asWanted},
		"FieldChanged":         {live: inCluster(t, edit("other", "spec", "selector", "app")), want: toUpdate},
		"FieldAdded":           {live: inCluster(t, edit("x", "spec", "selector", "more")), want: toUpdate},
		"FieldRemoved":         {live: inCluster(t, func(u *unstructured.Unstructured) { unstructured.RemoveNestedField(u.Object, "spec", "servers") }), want: toUpdate},
		"OurLabelChanged":      {live: inCluster(t, label("xcp.tetrate.io/x", "z")), want: toUpdate},
		"LabelOfOurPrefix":     {live: inCluster(t, label("istio.io/rev", "z")), want: toUpdate},
		"LabelOfAnother":       {live: inCluster(t, label("team", "z")), want: asWanted},
		"Foreign":              {live: inCluster(t, unlabel), want: isForeign},
		"OursWithoutItsLabel":  {live: inCluster(t, unlabel), mine: mine, want: toUpdate},
		"BeingDeleted": {live: inCluster(t, func(u *unstructured.Unstructured) { u.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1, 0)}) }),
			want: isWaiting},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got, why := judge(wanted(t), tc.live, tc.ns, tc.mine); got != tc.want {
				t.Errorf("judge() = %v (%s), want %v", got, why, tc.want)
			}
		})
	}
}

// What others put beside an object stays when it is repaired.
func TestMergeKeepsWhatIsTheirs(t *testing.T) {
	w := wanted(t)
	u, err := w.fresh()
	if err != nil {
		t.Fatal(err)
	}
	u.SetFinalizers([]string{"somebody/else"})
	u.SetLabels(map[string]string{"team": "a", "istio.io/rev": "wrong"})
	u.SetResourceVersion("7")
	u.Object["status"] = map[string]any{"kept": "yes"}
	u.Object["spec"] = map[string]any{"bad": "yes"}
	if err := w.merge(u); err != nil {
		t.Fatal(err)
	}
	if w.differs(newLive(u)) {
		t.Error("after merge it still differs")
	}
	if len(u.GetFinalizers()) != 1 || u.GetLabels()["team"] != "a" || u.GetResourceVersion() != "7" || u.Object["status"] == nil {
		t.Errorf("merge lost what is not ours: %v", u.Object)
	}
}

func TestRef(t *testing.T) {
	for id, ok := range map[ID]bool{
		"networking.istio.io/v1/Gateway/ns/gw": true, "/v1/Namespace//x": true,
		"v1/Namespace//x": false, "g/v1/K/ns/": false, "g//K/ns/n": false, "": false, "g/v1/K/ns/n/more": false,
	} {
		ref, err := id.Ref()
		if (err == nil) != ok {
			t.Errorf("ID(%q).Ref() = %v, want ok %v", string(id), err, ok)
		}
		if err == nil && ref.ID() != id {
			t.Errorf("ID(%q) comes back as %q", string(id), string(ref.ID()))
		}
	}
}

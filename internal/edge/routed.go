package edge

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unique"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/wellknown"
)

// ruleKinds are what others may write about a service that has routes of ours.
var ruleKinds = []schema.GroupVersionResource{
	{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"},
	{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"},
}

// notOurs selects objects that this installation has not made.
const notOurs = managedBy + "!=isthmus"

const managedBy = "app.kubernetes.io/managed-by"

// rule is an Istio object of somebody else, for callers in the mesh.
type rule struct {
	kind  string
	hosts []string
}

type ruleObject struct {
	Spec struct {
		Host     string   `json:"host"`
		Hosts    []string `json:"hosts"`
		Gateways []string `json:"gateways"`
	} `json:"spec"`
}

func ruleItem(u *unstructured.Unstructured) *item {
	i := newItem(u)
	o := as[ruleObject](u)
	ours := u.GetLabels()[managedBy] == "isthmus"
	if ours || len(o.Spec.Gateways) > 0 && !slices.Contains(o.Spec.Gateways, "mesh") {
		return i
	}
	i.rule = &rule{kind: u.GetKind()}
	for _, h := range append(o.Spec.Hosts, o.Spec.Host) {
		if h != "" && !strings.Contains(h, ".") {
			h += "." + i.Namespace + ".svc."
		}
		if h != "" {
			i.rule.hosts = append(i.rule.hosts, strings.ToLower(h))
		}
	}
	return i
}

// services are those that a rule is about, as namespace/name. Wildcards are about too many to tell.
func (r *rule) services() []string {
	var out []string
	if r == nil {
		return nil
	}
	for _, h := range r.hosts {
		if p := strings.Split(h, "."); len(p) > 3 && p[2] == "svc" && p[0] != "*" {
			out = append(out, p[1]+"/"+p[0])
		}
	}
	return out
}

// labelSet is labels of a pod, in one form for all pods with the same.
type labelSet = unique.Handle[string]

// labelSetOf leaves out what is of one pod alone.
func labelSetOf(labels map[string]string) labelSet {
	m := make(map[string]string, len(labels))
	for k, v := range labels {
		if !slices.Contains(wellknown.PodNameLabels, k) {
			m[k] = v
		}
	}
	text, _ := json.Marshal(m) // sorted; maps of text do not fail
	return unique.Make(string(text))
}

func labelsIn(s labelSet) map[string]string {
	out := map[string]string{}
	_ = json.Unmarshal([]byte(s.Value()), &out)
	return out
}

// route takes a bundle: facts are wanted of the services that it has routes for.
func (o *observer) route(b *apply.Bundle) {
	if b == nil {
		return
	}
	routed := map[string]map[string]bool{}
	for id := range b.Objects {
		ref, err := id.Ref()
		if err != nil || ref.Group != ruleKinds[0].Group || ref.Kind != "DestinationRule" && ref.Kind != "VirtualService" {
			continue
		}
		if name, ok := strings.CutPrefix(ref.Name, wellknown.RoutePrefix); ok {
			if routed[ref.Namespace] == nil {
				routed[ref.Namespace] = map[string]bool{}
			}
			routed[ref.Namespace][name] = true
		}
	}
	o.mu.Lock()
	was := o.routed
	o.routed = routed
	for _, of := range []map[string]map[string]bool{was, routed} {
		for ns, names := range of {
			for name := range names {
				if was[ns][name] != routed[ns][name] {
					o.dirty[routedID(ns, name)] = true
				}
			}
		}
	}
	o.mu.Unlock()
	poke(o.wake)
}

func routedID(namespace, name string) string { return "routed/" + namespace + "/" + name }

// routedIDs are the facts of services with routes that an object takes part in. The caller holds mu.
func (o *observer) routedIDs(i *item) []string {
	var ids []string
	switch {
	case i == nil:
	case i.rule != nil:
		for _, s := range i.rule.services() {
			if ns, name, _ := strings.Cut(s, "/"); o.routed[ns][name] {
				ids = append(ids, routedID(ns, name))
			}
		}
	case i.labels != labelSet{}:
		for name := range o.routed[i.Namespace] {
			ids = append(ids, routedID(i.Namespace, name))
		}
	case i.fact.GetService() != nil && o.routed[i.Namespace][i.Name]:
		ids = append(ids, routedID(i.Namespace, i.Name))
	}
	return ids
}

// routedFact is what the cluster has for a service with routes; nil when it has no such service, or has not been looked at.
func (o *observer) routedFact(namespace, name string) *isthmusv1.Fact {
	o.mu.Lock()
	wanted := o.routed[namespace][name]
	o.mu.Unlock()
	svc := factOf(o.services, namespace+"/"+name).GetService()
	if !wanted || svc == nil || slices.ContainsFunc(o.rules, func(inf cache.SharedIndexInformer) bool { return !inf.HasSynced() }) {
		return nil
	}
	f := &isthmusv1.Routed{Namespace: namespace, Name: name}
	for _, s := range o.podSets(namespace, svc.GetSelector()) {
		f.Pods = append(f.Pods, &isthmusv1.Routed_Labels{Labels: labelsIn(s)})
	}
	for _, inf := range o.rules {
		for _, obj := range inf.GetStore().List() {
			if i, ok := obj.(*item); ok && slices.Contains(i.rule.services(), namespace+"/"+name) {
				f.Rules = append(f.Rules, &isthmusv1.Routed_Rule{Kind: i.rule.kind, Namespace: i.Namespace, Name: i.Name})
			}
		}
	}
	slices.SortFunc(f.Rules, func(a, b *isthmusv1.Routed_Rule) int {
		return strings.Compare(a.GetKind()+"/"+a.GetNamespace()+"/"+a.GetName(), b.GetKind()+"/"+b.GetNamespace()+"/"+b.GetName())
	})
	return &isthmusv1.Fact{Id: routedID(namespace, name), Fact: &isthmusv1.Fact_Routed{Routed: f}}
}

// podSets are the different labels of the ready pods that a selector selects, in order.
func (o *observer) podSets(namespace string, selector map[string]string) []labelSet {
	if len(selector) == 0 {
		return nil
	}
	fits := map[labelSet]bool{}
	for _, obj := range o.pods.GetStore().List() {
		i, ok := obj.(*item)
		if !ok || i.Namespace != namespace || !i.ready {
			continue
		}
		if _, known := fits[i.labels]; known {
			continue
		}
		labels := labelsIn(i.labels)
		fit := true
		for k, v := range selector {
			fit = fit && labels[k] == v
		}
		fits[i.labels] = fit
	}
	var out []labelSet
	for s, fit := range fits {
		if fit {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b labelSet) int { return strings.Compare(a.Value(), b.Value()) })
	return out
}

// watchRules until ctx ends. A cluster whose Istio lacks a kind is one that is not known, and waits for nothing.
func (o *observer) watchRules(ctx context.Context) {
	for _, inf := range o.rules {
		go inf.RunWithContext(ctx)
	}
	synced := make([]cache.InformerSynced, len(o.rules))
	for i, inf := range o.rules {
		synced[i] = inf.HasSynced
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return
	}
	o.mu.Lock()
	for ns, names := range o.routed {
		for name := range names {
			o.dirty[routedID(ns, name)] = true
		}
	}
	o.mu.Unlock()
	poke(o.wake)
	<-ctx.Done()
}

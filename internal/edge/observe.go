package edge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/wellknown"
)

const meshID = "mesh//"

// observer keeps the facts of the cluster.
type observer struct {
	istio   string // namespace of Istio
	version string // of the edge
	wake    chan struct{}

	namespaces, services, pods, deployments, nodes, configMaps cache.SharedIndexInformer
	secrets, rules                                             []cache.SharedIndexInformer
	// taken says, for each informer, that everything of its first list went through seen. An informer itself is content
	// when its store is filled; what seen keeps beside the stores may still be missing then.
	taken []cache.InformerSynced

	mu         sync.Mutex
	kubernetes string
	signer     string // fingerprint of the root under which istiod has its certificate
	dirty      map[string]bool
	gateways   map[string]map[string]bool // keys of pods and Deployments that are gateways, by namespace
	routed     map[string]map[string]bool // names of services with routes, by namespace
	rejected   refusals
	patience   *patience
	keeper     *keeper
}

// newObserver starts nothing.
func newObserver(client dynamic.Interface, istioNamespace, version string, log *slog.Logger) *observer {
	o := &observer{istio: istioNamespace, version: version, wake: make(chan struct{}, 1), dirty: map[string]bool{}, gateways: map[string]map[string]bool{}}
	o.patience = newPatience(func(id string, after time.Duration) {
		time.AfterFunc(after, func() { o.lookAgain(id) })
	})
	core := func(resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Version: "v1", Resource: resource}
	}
	watch := func(gvr schema.GroupVersionResource, s apply.Scope, f func(*unstructured.Unstructured) *item) cache.SharedIndexInformer {
		return apply.NewInformer(client, gvr, s, func(u *unstructured.Unstructured) any { return f(u) })
	}
	o.namespaces = watch(core("namespaces"), apply.Scope{}, namespaceItem)
	o.services = watch(core("services"), apply.Scope{}, serviceItem)
	o.pods = watch(core("pods"), apply.Scope{}, podItem)
	o.nodes = watch(core("nodes"), apply.Scope{}, nodeItem)
	o.configMaps = watch(core("configmaps"), apply.Scope{Namespace: istioNamespace}, configMapItem)
	for _, inf := range []cache.SharedIndexInformer{o.services, o.pods} {
		_ = inf.AddIndexers(cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}) // errors only after the start
	}
	o.deployments = watch(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, apply.Scope{}, deploymentItem)
	o.keeper = newKeeper(client, log, o.installed, func(secret string) { o.lookAgain("secret/" + secret) })
	for _, kind := range secretTypes {
		o.secrets = append(o.secrets, watch(core("secrets"), apply.Scope{Fields: "type=" + kind}, secretItem))
	}
	for _, kind := range ruleKinds {
		o.rules = append(o.rules, watch(kind, apply.Scope{Labels: notOurs}, ruleItem))
	}
	o.listen()
	return o
}

func (o *observer) informers() []cache.SharedIndexInformer {
	return append([]cache.SharedIndexInformer{o.namespaces, o.services, o.pods, o.deployments, o.nodes, o.configMaps}, o.secrets...)
}

func (o *observer) listen() {
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { o.seen(nil, obj) },
		UpdateFunc: o.seen,
		DeleteFunc: func(obj any) { o.seen(obj, nil) },
	}
	for _, inf := range o.informers() {
		if r, err := inf.AddEventHandler(handler); err == nil { // errors only after the stop
			o.taken = append(o.taken, r.HasSynced)
		}
	}
	for _, inf := range o.rules { // which nobody waits for
		_, _ = inf.AddEventHandler(handler)
	}
}

// seen marks the facts that an object takes part in, in its old form and in its new one. nil is none.
func (o *observer) seen(was, is any) {
	if last, ok := was.(cache.DeletedFinalStateUnknown); ok {
		was = last.Obj
	}
	before, _ := was.(*item)
	after, _ := is.(*item)
	o.tellKeeper(before, after)
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.mark(before) + o.mark(after)
	ns, key := before.gatewayKey()
	if newNS, newKey := after.gatewayKey(); newKey != "" {
		o.gateway(newNS, newKey, false)
	} else if key != "" {
		o.gateway(ns, key, true)
	}
	if n == 0 {
		return
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// tellKeeper of a Secret, and of a Deployment of gateways that came or went.
func (o *observer) tellKeeper(before, after *item) {
	i := cmp.Or(after, before)
	switch {
	case i == nil:
	case i.fact.GetSecret() != nil:
		o.keeper.changed(i.Namespace, i.Name)
	case (before == nil) != (after == nil) && i.deploy.isInstalled():
		poke(o.keeper.wake)
	}
}

// installed are the namespaces with gateways that the installer made.
func (o *observer) installed() map[string]bool {
	out := map[string]bool{}
	for _, obj := range o.deployments.GetStore().List() {
		if i, ok := obj.(*item); ok && i.deploy.isInstalled() {
			out[i.Namespace] = true
		}
	}
	return out
}

func (d *deployment) isInstalled() bool {
	return d != nil && d.gateway != nil && d.gateway.labels[wellknown.GatewayLabel] != ""
}

// mark the facts of one object, and say how many.
func (o *observer) mark(i *item) int {
	ids := append(i.factIDs(), o.routedIDs(i)...)
	for _, id := range ids {
		o.dirty[id] = true
	}
	n := len(ids)
	if i != nil && i.app != nil {
		for _, id := range o.backings(i) {
			o.dirty[id] = true
			n++
		}
	}
	if i.describesMesh(o.istio) {
		o.dirty[meshID] = true
		n++
	}
	return n
}

func (i *item) describesMesh(istio string) bool {
	return i != nil && (i.content != nil || i.deploy != nil && i.deploy.istiod || i.fact.GetNode() != nil || i.fact.GetNamespace().GetName() == istio)
}

// factIDs are the facts that an object is, or takes part in.
func (i *item) factIDs() []string {
	switch {
	case i == nil:
	case i.fact.GetSecret() != nil && strings.HasSuffix(i.Name, caSuffix):
		return []string{i.fact.GetId(), strings.TrimSuffix(i.fact.GetId(), caSuffix)}
	case i.fact.GetService() != nil:
		return []string{i.fact.GetId(), backingID(i.Namespace, i.Name)}
	case i.fact != nil:
		return []string{i.fact.GetId()}
	case i.pod != nil:
		return []string{"workload/" + i.Namespace + "/" + i.pod.workload}
	case i.deploy != nil && i.deploy.gateway != nil:
		return []string{"workload/" + i.Namespace + "/" + i.Name}
	}
	return nil
}

// gatewayKey names an object that is a gateway among those of its namespace.
func (i *item) gatewayKey() (namespace, key string) {
	switch {
	case i == nil:
	case i.pod != nil:
		return i.Namespace, "pod/" + i.Name
	case i.deploy != nil && i.deploy.gateway != nil:
		return i.Namespace, "deployment/" + i.Name
	}
	return "", ""
}

// gateway notes a gateway of a namespace.
func (o *observer) gateway(namespace, key string, gone bool) {
	if gone {
		delete(o.gateways[namespace], key)
		return
	}
	if o.gateways[namespace] == nil {
		o.gateways[namespace] = map[string]bool{}
	}
	o.gateways[namespace][key] = true
}

// lookAgain at a fact that may have changed without an event.
func (o *observer) lookAgain(id string) {
	o.mu.Lock()
	o.dirty[id] = true
	o.mu.Unlock()
	poke(o.wake)
}

// run watches until ctx ends.
func (o *observer) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, inf := range o.informers() {
		wg.Go(func() { inf.RunWithContext(ctx) })
	}
	wg.Go(func() { o.watchRules(ctx) })
	wg.Wait()
}

func (o *observer) synced() bool {
	for _, taken := range o.taken {
		if !taken() {
			return false
		}
	}
	return true
}

// wait until everything has been seen once.
func (o *observer) wait(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), o.taken...) {
		return ctx.Err()
	}
	return nil
}

// askVersion reads the API server's version.
func (o *observer) askVersion(ctx context.Context, get func(context.Context, string) ([]byte, error)) error {
	text, err := get(ctx, "/version")
	if err != nil {
		return fmt.Errorf("ask the API server's version: %w", err)
	}
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return fmt.Errorf("read the API server's version: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kubernetes != v.GitVersion {
		o.kubernetes = v.GitVersion
		o.dirty[meshID] = true
	}
	return nil
}

// take returns the facts that may have changed since the last take, nil for those that are gone.
func (o *observer) take() map[string]*isthmusv1.Fact {
	o.mu.Lock()
	dirty := o.dirty
	o.dirty = map[string]bool{}
	o.mu.Unlock()
	out := make(map[string]*isthmusv1.Fact, len(dirty))
	for id := range dirty {
		out[id] = o.fact(id)
	}
	return out
}

// all returns every fact, and forgets what had changed before.
func (o *observer) all() map[string]*isthmusv1.Fact {
	o.mu.Lock()
	o.dirty = map[string]bool{}
	var routed []string
	for ns, names := range o.routed {
		for name := range names {
			routed = append(routed, routedID(ns, name))
		}
	}
	o.mu.Unlock()
	out := map[string]*isthmusv1.Fact{meshID: o.mesh()}
	for _, id := range routed {
		if f := o.fact(id); f != nil {
			out[id] = f
		}
	}
	for _, inf := range o.informers() {
		for _, obj := range inf.GetStore().List() {
			i, ok := obj.(*item)
			if !ok {
				continue
			}
			for _, id := range i.factIDs() {
				if out[id] == nil {
					if f := o.fact(id); f != nil {
						out[id] = f
					}
				}
			}
		}
	}
	for _, id := range o.patience.waiting() {
		if f := o.fact(id); f != nil {
			out[id] = f
		}
	}
	return out
}

// fact as it is now; nil when it is gone.
func (o *observer) fact(id string) *isthmusv1.Fact {
	kind, rest, _ := strings.Cut(id, "/")
	namespace, name, _ := strings.Cut(rest, "/")
	switch kind {
	case "mesh":
		return o.mesh()
	case "namespace":
		return factOf(o.namespaces, name)
	case "node":
		return factOf(o.nodes, name)
	case "service":
		return factOf(o.services, rest)
	case "backing":
		return o.backing(namespace, name)
	case "secret":
		f := secretFact(o.secret(rest), o.secret(rest+caSuffix))
		return o.patience.report(id, withClient(f, o.keeper.files(rest)))
	case "workload":
		return o.workload(namespace, name)
	case "routed":
		return o.routedFact(namespace, name)
	}
	return nil
}

func factOf(inf cache.SharedIndexInformer, key string) *isthmusv1.Fact {
	obj, _, _ := inf.GetStore().GetByKey(key)
	if i, ok := obj.(*item); ok {
		return i.fact
	}
	return nil
}

// secret with a key of the form namespace/name; nil when there is none that is looked at.
func (o *observer) secret(key string) *item {
	for _, inf := range o.secrets {
		obj, _, _ := inf.GetStore().GetByKey(key)
		if i, ok := obj.(*item); ok && i.fact != nil {
			return i
		}
	}
	return nil
}

func (o *observer) workload(namespace, name string) *isthmusv1.Fact {
	o.mu.Lock()
	keys := slices.Sorted(maps.Keys(o.gateways[namespace]))
	o.mu.Unlock()
	var pods []*gatewayPod
	var deployed *deployment
	var refused []string
	for _, k := range keys {
		kind, object, _ := strings.Cut(k, "/")
		inf := o.pods
		if kind == "deployment" {
			inf = o.deployments
		}
		obj, _, _ := inf.GetStore().GetByKey(namespace + "/" + object)
		i, ok := obj.(*item)
		switch {
		case !ok:
		case i.pod != nil && i.pod.workload == name:
			pods = append(pods, i.pod)
			if words := o.refusal(namespace + "/" + object); words != "" {
				refused = append(refused, words)
			}
		case i.deploy != nil && i.Name == name:
			deployed = i.deploy
		}
	}
	f := workload(namespace, name, pods, deployed)
	if f != nil && refused != nil {
		slices.Sort(refused)
		f.GetWorkload().Rejected = slices.Compact(refused)
	}
	return f
}

func (o *observer) mesh() *isthmusv1.Fact {
	in := meshInput{edge: o.version, configMaps: map[string]map[string]string{}}
	o.mu.Lock()
	in.kubernetes, in.signer = o.kubernetes, o.signer
	o.mu.Unlock()
	for _, obj := range o.deployments.GetStore().List() {
		if i, ok := obj.(*item); ok && i.Namespace == o.istio && i.deploy != nil && i.deploy.istiod {
			in.istiods = append(in.istiods, i.deploy)
		}
	}
	for _, obj := range o.configMaps.GetStore().List() {
		if i, ok := obj.(*item); ok && i.content != nil {
			in.configMaps[i.Name] = i.content
		}
	}
	for _, obj := range o.nodes.GetStore().List() {
		if i, ok := obj.(*item); ok {
			in.nodes = append(in.nodes, i.fact.GetNode())
		}
	}
	if obj, ok, _ := o.namespaces.GetStore().GetByKey(o.istio); ok {
		in.namespace, _ = obj.(*item)
	}
	return mesh(in)
}

// setSigner notes under which root istiod has its certificate.
func (o *observer) setSigner(root string) {
	o.mu.Lock()
	same := o.signer == root
	o.signer = root
	o.mu.Unlock()
	if !same {
		o.lookAgain(meshID)
	}
}

// meshRoots is the mesh's root certificate as Istio publishes it, nil while it does not.
func (o *observer) meshRoots() []byte {
	obj, _, _ := o.configMaps.GetStore().GetByKey(o.istio + "/istio-ca-root-cert")
	if i, ok := obj.(*item); ok {
		return []byte(i.content["root-cert.pem"])
	}
	return nil
}

package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"isthmus.dev/isthmus/api/install/v1alpha1"
	"isthmus.dev/isthmus/internal/wellknown"
)

// errGoing: an object of an earlier resource of the same name is still being collected.
var errGoing = errors.New("an object of the gateway that was here before is still being removed")

// look is how often an unfinished roll-out is looked at: what is wrong with pods, no event tells us.
const look = 10 * time.Second

// reconcile makes one gateway as its resource says. A positive duration asks to be called again after it.
func (in *Installer) reconcile(ctx context.Context, id key) (time.Duration, error) {
	i := slices.IndexFunc(in.kinds, func(w *watched) bool { return w.name == id.kind })
	if i < 0 {
		return 0, nil
	}
	k := in.kinds[i].kind
	obj, err := in.kinds[i].lister.ByNamespace(id.namespace).Get(id.name)
	if apierrors.IsNotFound(err) {
		return 0, nil // what was made for it goes by its owner references
	}
	if err != nil {
		return 0, err
	}
	u := in.written.newest(obj.(*unstructured.Unstructured))
	if u.GetDeletionTimestamp() != nil {
		return in.release(ctx, k, u)
	}
	gw, unknown, err := decode(u)
	if err != nil {
		return 0, in.report(ctx, k, u, gw, refused(&problem{"InvalidSpec", sentence(err)}))
	}
	if other := in.rival(k, u); other != nil {
		return 0, in.report(ctx, k, u, gw, refused(taken(other)))
	}
	objects, notes, err := render(k, gw, in.site)
	if p, ok := errors.AsType[*problem](err); ok {
		return 0, in.report(ctx, k, u, gw, refused(p))
	}
	if err != nil {
		return 0, err
	}
	if u, err = in.keep(ctx, k, u); err != nil {
		return 0, err
	}
	o, err := in.install(ctx, gw, objects)
	if unknown != "" {
		notes = append(notes, "Not understood and ignored: "+unknown)
	}
	if o.accepted.ok && notes != nil {
		o.accepted.message = strings.Join(append([]string{o.accepted.message}, notes...), " ")
	}
	again := time.Duration(0)
	if o.ready.reason == reasonRollingOut {
		again = look
	}
	return again, errors.Join(err, in.report(ctx, k, u, gw, o))
}

// outcome is what became of one reconciliation.
type outcome struct {
	accepted, ready verdict
	addresses       []string
}

func refused(p *problem) outcome {
	return outcome{
		accepted: verdict{false, p.reason, p.message},
		ready:    verdict{false, p.reason, "Not accepted: " + p.message + " What was installed before stays as it is."},
	}
}

// decode reads an install resource, and names fields that the installer does not know.
func decode(u *unstructured.Unstructured) (gw *v1alpha1.Gateway, unknown string, err error) {
	gw = &v1alpha1.Gateway{}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, gw, true)
	if runtime.IsStrictDecodingError(err) {
		return gw, err.Error(), nil
	}
	if err != nil {
		// Enough of it to write a status.
		gw = &v1alpha1.Gateway{}
		gw.Name, gw.Namespace, gw.UID, gw.Generation = u.GetName(), u.GetNamespace(), u.GetUID(), u.GetGeneration()
	}
	return gw, "", err
}

// install makes the objects as rendered. Mistakes of users and refusals of the API server are part of the outcome; an
// error means that it is worth another try.
func (in *Installer) install(ctx context.Context, gw *v1alpha1.Gateway, objects []object) (outcome, error) {
	out := outcome{accepted: verdict{true, "Accepted", "The resource is understood."}, addresses: gw.Status.Addresses}
	live := make([]*unstructured.Unstructured, len(objects))
	var inTheWay []string
	for i, o := range objects {
		have, foreign, err := in.find(ctx, gw, o)
		if err != nil {
			out.ready = verdict{false, "Failed", sentence(err)}
			return out, err
		}
		if foreign {
			inTheWay = append(inTheWay, nameOfObject(o.Unstructured))
		}
		live[i] = have
	}
	if inTheWay != nil {
		return refused(&problem{"ForeignObject", foreignMessage(inTheWay)}), nil
	}
	if err := in.prepare(ctx, gw.Namespace); err != nil { // it can do all but sign in
		in.log.WarnContext(ctx, "gateways of the namespace cannot sign in", "namespace", gw.Namespace, "error", err)
	}
	scaler := slices.ContainsFunc(objects, func(o object) bool { return o.gvr == autoscalers })
	for i, o := range objects {
		if o.gvr == deployments && scaler {
			live[i] = start(gw, o, live[i], live[len(live)-1] == nil)
		}
		done, err := in.write(ctx, o, live[i])
		if refusal(err) {
			out.ready = verdict{false, "Rejected", "The API server refuses " + nameOfObject(o.Unstructured) + ": " + sentence(err)}
			return out, nil
		}
		if err != nil {
			out.ready = verdict{false, "Failed", sentence(err)}
			return out, err
		}
		live[i] = done
	}
	if err := in.retire(ctx, gw, objects); err != nil {
		out.ready = verdict{false, "Failed", sentence(err)}
		return out, err
	}
	at := func(gvr schema.GroupVersionResource) *unstructured.Unstructured {
		return live[slices.IndexFunc(objects, func(o object) bool { return o.gvr == gvr })]
	}
	out.ready, out.addresses = readiness(at(deployments), at(services), wasReady(gw))
	if out.ready.reason == reasonRollingOut {
		if why := in.trouble(ctx, at(deployments)); why != "" {
			out.ready.message = "The pods are being rolled out: " + why
		}
	}
	return out, nil
}

// start gives an autoscaled Deployment its first number of pods: when it is made, and when the autoscaler takes over
// a Deployment without pods, because no autoscaler wakes one up. From then on the number is not ours.
func start(gw *v1alpha1.Gateway, o object, live *unstructured.Unstructured, first bool) *unstructured.Unstructured {
	p := plan{gw: gw}
	if ks := gw.Spec.KubeSpec; ks != nil && ks.Deployment != nil {
		p.dep = *ks.Deployment
	}
	if live == nil {
		// The rendered object is this reconciliation's own.
		_ = unstructured.SetNestedField(o.Object, p.replicas(), "spec", "replicas")
		return nil
	}
	n, _, _ := unstructured.NestedInt64(live.Object, "spec", "replicas")
	if !first || n > 0 {
		return live
	}
	live = live.DeepCopy() // the cache's own is not ours to change
	_ = unstructured.SetNestedField(live.Object, max(1, p.replicas()), "spec", "replicas")
	return live
}

// find returns the live form of an object, nil when there is none, or says that it is somebody else's.
func (in *Installer) find(ctx context.Context, gw *v1alpha1.Gateway, o object) (have *unstructured.Unstructured, foreign bool, err error) {
	cached, err := in.objects[o.gvr].ByNamespace(o.GetNamespace()).Get(o.GetName())
	if err == nil {
		have = in.written.newest(cached.(*unstructured.Unstructured))
	} else {
		// Not in the cache is not absent: it may lack our labels.
		have, err = in.client.Resource(o.gvr).Namespace(o.GetNamespace()).Get(ctx, o.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", nameOfObject(o.Unstructured), err)
		}
	}
	owner := metav1.GetControllerOfNoCopy(have)
	switch {
	case owner != nil && owner.UID == gw.UID:
		return have, false, nil
	case owner != nil && owner.APIVersion == v1alpha1.APIVersion && owner.Name == gw.Name || have.GetDeletionTimestamp() != nil:
		return nil, false, fmt.Errorf("%s: %w", nameOfObject(have), errGoing)
	case owner == nil && have.GetLabels()[labelManagedBy] == managedBy && have.GetLabels()[wellknown.GatewayLabel] == o.GetLabels()[wellknown.GatewayLabel]:
		return have, false, nil // made by us, and orphaned on purpose
	}
	return nil, true, nil
}

// write makes one object as rendered and returns its live form. It writes nothing when nothing differs.
func (in *Installer) write(ctx context.Context, o object, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	client := in.client.Resource(o.gvr).Namespace(o.GetNamespace())
	if live == nil {
		done, err := client.Create(ctx, o.Unstructured, metav1.CreateOptions{FieldManager: fieldManager})
		if err != nil {
			return nil, fmt.Errorf("create %s: %w", nameOfObject(o.Unstructured), err)
		}
		in.log.InfoContext(ctx, "created", "object", nameOfObject(done))
		return done, nil
	}
	digest := o.GetAnnotations()[annotationRendered]
	if !differs(o.Unstructured, live) || in.settled[live.GetUID()] == digest && live.GetAnnotations()[annotationRendered] == digest && !added(o.Unstructured, live) {
		return live, nil
	}
	done, err := client.Update(ctx, merged(o.Unstructured, live), metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil {
		return nil, fmt.Errorf("update %s: %w", nameOfObject(o.Unstructured), err)
	}
	in.written.put(live, done)
	in.log.InfoContext(ctx, "updated", "object", nameOfObject(done))
	if differs(o.Unstructured, done) {
		in.log.WarnContext(ctx, "the API server keeps it in another form", "object", nameOfObject(done))
		in.settled[done.GetUID()] = digest
	}
	return done, nil
}

// retire removes what was made for the gateway and is no longer rendered: an autoscaler that was disabled.
func (in *Installer) retire(ctx context.Context, gw *v1alpha1.Gateway, objects []object) error {
	if slices.ContainsFunc(objects, func(o object) bool { return o.gvr == autoscalers }) {
		return nil
	}
	obj, err := in.objects[autoscalers].ByNamespace(gw.Namespace).Get(gw.Name)
	if err != nil {
		return nil // a lister knows only one error: not there
	}
	u := obj.(*unstructured.Unstructured)
	if o := metav1.GetControllerOfNoCopy(u); o == nil || o.UID != gw.UID || in.written.newest(u).GetDeletionTimestamp() != nil {
		return nil
	}
	uid := u.GetUID()
	err = in.client.Resource(autoscalers).Namespace(gw.Namespace).Delete(ctx, gw.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", nameOfObject(u), err)
	}
	gone := u.DeepCopy()
	gone.SetDeletionTimestamp(new(metav1.Now()))
	gone.SetResourceVersion("")
	in.written.put(u, gone)
	in.log.InfoContext(ctx, "deleted", "object", nameOfObject(u))
	return nil
}

// report writes the status when it is another one than before.
func (in *Installer) report(ctx context.Context, k kind, u *unstructured.Unstructured, gw *v1alpha1.Gateway, o outcome) error {
	if !o.accepted.ok {
		o.addresses = gw.Status.Addresses // what was installed before stays
	}
	next := statusOf(gw, o.accepted, o.ready, o.addresses, time.Now())
	if same(gw.Status, next) {
		return nil
	}
	patch, err := statusPatch(u.GetResourceVersion(), next)
	if err != nil {
		return err
	}
	done, err := in.client.Resource(k.gvr()).Namespace(u.GetNamespace()).Patch(ctx, u.GetName(), types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // the resource changed or went away meanwhile: that event brings us back
	}
	if err != nil {
		return fmt.Errorf("write the status of %s: %w", nameOfObject(u), err)
	}
	in.written.put(u, done)
	return nil
}

func same(a, b v1alpha1.GatewayStatus) bool {
	return a.ObservedGeneration == b.ObservedGeneration && slices.Equal(a.Conditions, b.Conditions) && slices.Equal(a.Addresses, b.Addresses)
}

// keep puts the finalizer on a resource that lacks it.
func (in *Installer) keep(ctx context.Context, k kind, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if in.hold == 0 || slices.Contains(u.GetFinalizers(), v1alpha1.DeleteHold) {
		return u, nil
	}
	out, err := in.finalizers(ctx, k, u, append(slices.Clone(u.GetFinalizers()), v1alpha1.DeleteHold))
	if err != nil {
		return u, fmt.Errorf("put the delete hold on %s: %w", nameOfObject(u), err)
	}
	in.written.put(u, out)
	return out, nil
}

// release lets a deleted resource go once its time is over. Until then the gateway serves on, while its Service says
// that it is draining, so that callers elsewhere stop using it first. Nothing that may be absent is waited for.
func (in *Installer) release(ctx context.Context, k kind, u *unstructured.Unstructured) (time.Duration, error) {
	if !slices.Contains(u.GetFinalizers(), v1alpha1.DeleteHold) {
		return 0, nil
	}
	left := time.Until(u.GetDeletionTimestamp().Add(in.hold))
	if left > 0 && !in.terminating(ctx, u.GetNamespace()) {
		held, err := in.drain(ctx, u)
		if held || err != nil {
			return left, err
		}
	}
	keep := slices.DeleteFunc(slices.Clone(u.GetFinalizers()), func(f string) bool { return f == v1alpha1.DeleteHold })
	_, err := in.finalizers(ctx, k, u, keep)
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("let %s go: %w", nameOfObject(u), err)
	}
	in.log.InfoContext(ctx, "released", "gateway", nameOfObject(u))
	return 0, nil
}

// drain marks the Service of a gateway that goes away. It says whether there is one: without, nothing is worth a hold.
func (in *Installer) drain(ctx context.Context, u *unstructured.Unstructured) (bool, error) {
	obj, err := in.objects[services].ByNamespace(u.GetNamespace()).Get(u.GetName())
	if err != nil {
		return false, nil // a lister knows only one error: not there
	}
	svc := in.written.newest(obj.(*unstructured.Unstructured))
	if o := metav1.GetControllerOfNoCopy(svc); o == nil || o.UID != u.GetUID() || svc.GetDeletionTimestamp() != nil {
		return false, nil
	}
	if svc.GetAnnotations()[wellknown.DrainingAnnotation] == "true" {
		return true, nil
	}
	marked := svc.DeepCopy()
	a := maps.Clone(marked.GetAnnotations())
	if a == nil {
		a = map[string]string{}
	}
	a[wellknown.DrainingAnnotation] = "true"
	marked.SetAnnotations(a)
	done, err := in.client.Resource(services).Namespace(u.GetNamespace()).Update(ctx, marked, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err == nil {
		in.written.put(svc, done)
	}
	return true, err
}

// terminating: nothing can be held in a namespace that is being deleted. Not knowing counts as no: the hold is short.
func (in *Installer) terminating(ctx context.Context, namespace string) bool {
	ns, err := in.client.Resource(namespaces).Get(ctx, namespace, metav1.GetOptions{})
	return apierrors.IsNotFound(err) || err == nil && ns.GetDeletionTimestamp() != nil
}

func (in *Installer) finalizers(ctx context.Context, k kind, u *unstructured.Unstructured, list []string) (*unstructured.Unstructured, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": u.GetResourceVersion(), "finalizers": list,
	}})
	if err != nil {
		return nil, err
	}
	return in.client.Resource(k.gvr()).Namespace(u.GetNamespace()).Patch(ctx, u.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
}

// refusal says whether an error is the API server's answer to what was written, and not worth another try before
// the resource changes.
func refusal(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.HasStatusCause(err, "NamespaceTerminating")
}

func sentence(err error) string { return err.Error() + "." }

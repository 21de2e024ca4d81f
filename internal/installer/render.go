package installer

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"

	"isthmus.dev/isthmus/api/install/v1alpha1"
	"isthmus.dev/isthmus/internal/wellknown"
)

// Labels and annotations of ours.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "isthmus"

	// annotationRendered holds the digest of what was rendered, so that a field that is no longer rendered is told
	// apart from one that the API server added.
	annotationRendered = "install.tetrate.io/rendered"
)

// defaultDrain is how long connections may finish when the resource does not say.
const defaultDrain = 5 * time.Second

// object is one rendered object.
type object struct {
	gvr schema.GroupVersionResource
	*unstructured.Unstructured
}

// problem is a mistake in a resource: it becomes a condition.
type problem struct{ reason, message string }

func (p *problem) Error() string { return p.message }

// labelValue is what a label may be.
var labelValue = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)

// name as a Service accepts it; every other kind accepts more.
var dnsLabel = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// site is where resources are.
type site struct {
	cluster string // full name; empty is not known
}

// plan is a resource being rendered.
type plan struct {
	kind    kind
	gw      *v1alpha1.Gateway
	profile profile
	dep     v1alpha1.Deployment
	svc     v1alpha1.Service
	sa      v1alpha1.ServiceAccount
	drain   time.Duration
	proxy   map[string]any // configuration of the proxy
	notes   []string       // what the user should know although it is no mistake
}

func (p *plan) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// render returns the objects that a resource asks for, in the order of creation, and what the user should know of them;
// or a *problem that says why it makes no sense. The same resource always gives the same objects.
func render(k kind, gw *v1alpha1.Gateway, at site) (out []object, notes []string, err error) {
	p, err := newPlan(k, gw, at)
	if err != nil {
		return nil, nil, err
	}
	ports, err := p.ports()
	if err != nil {
		return nil, nil, err
	}
	out = []object{
		p.object(serviceAccounts, "v1", "ServiceAccount", p.accountName(), p.serviceAccount()),
		p.object(roles, "rbac.authorization.k8s.io/v1", "Role", gw.Name+"-sds", p.role()),
		p.object(roleBindings, "rbac.authorization.k8s.io/v1", "RoleBinding", gw.Name+"-sds", p.roleBinding()),
		p.object(services, "v1", "Service", gw.Name, p.service(ports)),
		p.object(deployments, "apps/v1", "Deployment", gw.Name, p.deployment()),
		p.object(disruptionBudgets, "policy/v1", "PodDisruptionBudget", gw.Name, p.disruptionBudget()),
	}
	if p.scales() {
		out = append(out, p.object(autoscalers, "autoscaling/v2", "HorizontalPodAutoscaler", gw.Name, p.autoscaler()))
	}
	if err := p.overlay(out); err != nil {
		return nil, nil, err
	}
	for _, o := range out {
		seal(o)
	}
	return out, p.notes, nil
}

func newPlan(k kind, gw *v1alpha1.Gateway, at site) (*plan, error) {
	if !dnsLabel.MatchString(gw.Name) {
		return nil, &problem{"InvalidName", fmt.Sprintf("metadata.name: %q cannot be the name of a Service.", gw.Name)}
	}
	profile, err := profileOf(k, gw.Spec)
	if err != nil {
		return nil, err
	}
	p := &plan{kind: k, gw: gw, profile: profile, drain: defaultDrain}
	if r := gw.Spec.Revision; !labelValue.MatchString(r) {
		return nil, &problem{"InvalidSpec", fmt.Sprintf("spec.revision: %q cannot be the name of a revision of Istio.", r)}
	}
	if s := gw.Spec.ConnectionDrainDuration; s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 || d > time.Hour {
			return nil, &problem{"InvalidSpec", fmt.Sprintf("spec.connectionDrainDuration: %q is no duration between 0s and 1h, such as \"22s\".", s)}
		}
		p.drain = d
	}
	if ks := gw.Spec.KubeSpec; ks != nil {
		p.dep = *cmp.Or(ks.Deployment, &v1alpha1.Deployment{})
		p.svc = *cmp.Or(ks.Service, &v1alpha1.Service{})
		p.sa = *cmp.Or(ks.ServiceAccount, &v1alpha1.ServiceAccount{})
	}
	for _, check := range []func() error{p.checkAutoscaler, p.checkService, func() error { return p.checkTarget(at) }, p.setProxyConfig} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// checkTarget: a resource in a cluster is installed where it is. Saying so is no mistake, saying something else is.
func (p *plan) checkTarget(at site) error {
	if ns := p.gw.Spec.TargetNamespace; ns != "" && ns != p.gw.Namespace {
		return &problem{"InvalidSpec", fmt.Sprintf("spec.targetNamespace: the gateway is installed in the namespace of its resource, %q, and not in %q; leave the field out.", p.gw.Namespace, ns)}
	}
	short := at.cluster[strings.LastIndexByte(at.cluster, '/')+1:]
	if c := p.gw.Spec.TargetCluster; c != "" && c != at.cluster && c != short {
		return &problem{"InvalidSpec", fmt.Sprintf("spec.targetCluster: the gateway is installed in the cluster of its resource, and not in %q; leave the field out.", c)}
	}
	return nil
}

// object puts identity, labels, and the owner around a body.
func (p *plan) object(gvr schema.GroupVersionResource, apiVersion, kind, name string, body map[string]any) object {
	u := &unstructured.Unstructured{Object: body}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	u.SetNamespace(p.gw.Namespace)
	u.SetName(name)
	labels := map[string]string{}
	if m := p.gw.Spec.ConfigGenerationMetadata; m != nil {
		maps.Copy(labels, m.Labels)
		annotations := map[string]string{}
		maps.Copy(annotations, m.Annotations)
		maps.Copy(annotations, u.GetAnnotations())
		u.SetAnnotations(annotations)
	}
	maps.Copy(labels, p.labels())
	maps.Copy(labels, u.GetLabels())
	maps.Copy(labels, p.ownLabels())
	u.SetLabels(labels)
	yes := true
	u.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: v1alpha1.APIVersion, Kind: p.kind.name, Name: p.gw.Name, UID: p.gw.UID,
		Controller: &yes, BlockOwnerDeletion: &yes,
	}})
	return object{gvr, u}
}

// labels are those of the product that this one is compatible with; users select by them.
func (p *plan) labels() map[string]string {
	l := map[string]string{
		"app":                                 p.gw.Name,
		"istio":                               p.profile.istio,
		"platform.tetrate.io/component":       "gateways",
		"platform.tetrate.io/gateway-type":    "unified",
		"platform.xcp.tetrate.io/application": "xcp-unified-gateway",
		"platform.xcp.tetrate.io/component":   "gateways",
		"platform.xcp.tetrate.io/plane":       "data",
	}
	for _, r := range p.profile.roles {
		l["platform.tetrate.io/"+r] = "enabled"
	}
	if p.gw.Spec.Revision != "" {
		l["istio.io/rev"] = p.gw.Spec.Revision
	}
	return l
}

// ownLabels cannot be overridden: they say whose an object is.
func (p *plan) ownLabels() map[string]string {
	return map[string]string{labelManagedBy: managedBy, wellknown.GatewayLabel: gatewayLabel(p.gw.Namespace, p.gw.Name)}
}

// gatewayLabel is unique per namespace and name, and short enough for a label's value.
func gatewayLabel(namespace, name string) string {
	full := namespace + "." + name
	if len(full) <= 63 {
		return full
	}
	sum := sha256.Sum256([]byte(full))
	return full[:50] + "-" + hex.EncodeToString(sum[:6])
}

func (p *plan) accountName() string { return accountName(p.gw.Name) }

func accountName(gateway string) string { return gateway + "-service-account" }

// overlay applies the resource's overlays to the rendered objects.
func (p *plan) overlay(out []object) error {
	if p.gw.Spec.KubeSpec == nil {
		return nil
	}
	for i, o := range p.gw.Spec.KubeSpec.Overlays {
		field := fmt.Sprintf("spec.kubeSpec.overlays[%d]", i)
		t := find(out, o)
		if t == nil {
			return &problem{"InvalidOverlay", fmt.Sprintf("%s: no %s %q is made for this gateway.", field, o.Kind, o.Name)}
		}
		before := identity(t)
		for j, patch := range o.Patches {
			steps, err := parsePath(patch.Path)
			var v any
			if err == nil {
				v, err = patched(t.Object, steps, patch.Value)
			}
			if err != nil {
				return &problem{"InvalidOverlay", fmt.Sprintf("%s.patches[%d]: %v.", field, j, err)}
			}
			t.Object = v.(map[string]any)
		}
		if identity(t) != before {
			return &problem{"InvalidOverlay", fmt.Sprintf("%s: an overlay must leave kind, name, owner and the labels of ours alone.", field)}
		}
	}
	return nil
}

func find(out []object, o v1alpha1.Overlay) *unstructured.Unstructured {
	for _, t := range out {
		if t.GetKind() == o.Kind && t.GetName() == o.Name && (o.APIVersion == "" || t.GetAPIVersion() == o.APIVersion) {
			return t.Unstructured
		}
	}
	return nil
}

// identity is what makes an object the one it is, and ours.
func identity(u *unstructured.Unstructured) string {
	owners, _, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "ownerReferences")
	return fmt.Sprint(u.GetAPIVersion(), u.GetKind(), u.GetNamespace(), u.GetName(),
		u.GetLabels()[labelManagedBy], u.GetLabels()[wellknown.GatewayLabel], owners)
}

// seal writes the digest of everything else into the object.
func seal(o object) {
	o.Object = normal(o.Object).(map[string]any)
	unstructured.RemoveNestedField(o.Object, "metadata", "annotations", wellknown.DrainingAnnotation) // is not the user's to say
	// A value that came from JSON can be written as JSON.
	b, _ := json.Marshal(o.Object)
	sum := sha256.Sum256(b)
	a := o.GetAnnotations()
	if a == nil {
		a = map[string]string{}
	}
	a[annotationRendered] = hex.EncodeToString(sum[:8])
	o.SetAnnotations(a)
}

package installer

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"isthmus.dev/isthmus/api/install/v1alpha1"
)

// kind is one row of kinds: what the installer needs to know about a kind of install resource.
type kind struct {
	name     string
	resource string
	// profile is the type of its gateways.
	profile string
	// typed resources choose another one.
	typed bool
}

// kinds are the install resources, one row each.
func kinds() []kind {
	return []kind{
		{name: "IngressGateway", resource: "ingressgateways", profile: v1alpha1.TypeIngress},
		{name: "Tier1Gateway", resource: "tier1gateways", profile: v1alpha1.TypeIngress},
		{name: "EgressGateway", resource: "egressgateways", profile: v1alpha1.TypeEgress},
		{name: "Gateway", resource: "gateways", profile: v1alpha1.TypeUnified, typed: true},
	}
}

func (k kind) gvr() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: v1alpha1.Group, Version: v1alpha1.Version, Resource: k.resource}
}

// profile is what a gateway of a type is when its resource says nothing else.
type profile struct {
	// istio is the value of the label "istio" on the pods.
	istio string
	// roles are the platform.tetrate.io/<role> labels of the pods.
	roles []string
	// ports of the Service, beside those that every gateway has.
	ports []v1alpha1.ServicePort
	// closed: there are no other ports, whatever the resource asks for.
	closed bool
	// service is the Service's type.
	service string
}

// profiles by type.
func profiles() map[string]profile {
	web := []v1alpha1.ServicePort{
		{Name: "http2", Port: 80, TargetPort: target(8080)},
		{Name: "https", Port: 443, TargetPort: target(8443)},
	}
	return map[string]profile{
		v1alpha1.TypeUnified: {istio: "ingressgateway", roles: []string{"ingress", "egress", "eastwest"}, ports: web, service: "LoadBalancer"},
		v1alpha1.TypeIngress: {istio: "ingressgateway", roles: []string{"ingress"}, ports: web, service: "LoadBalancer"},
		// Callers are in the mesh and come by the port that is for it. What selects the gateways of
		// "istio: ingressgateway" in all namespaces does not mean these.
		v1alpha1.TypeEgress:   {istio: "egressgateway", roles: []string{"egress"}, service: "ClusterIP"},
		v1alpha1.TypeEastWest: {istio: "ingressgateway", roles: []string{"eastwest"}, closed: true, service: "LoadBalancer"},
	}
}

// profileOf finds the profile that a resource asks for.
func profileOf(k kind, spec v1alpha1.GatewaySpec) (profile, error) {
	name := k.profile
	if spec.Type != "" && k.typed {
		name = spec.Type
	}
	p, ok := profiles()[name]
	if !ok {
		return p, &problem{"InvalidSpec", fmt.Sprintf("spec.type: there is no type %q; it is UNIFIED, INGRESS, EGRESS or EASTWEST.", name)}
	}
	switch {
	case !spec.EastWestOnly:
	case name == v1alpha1.TypeEgress:
		return p, &problem{"InvalidSpec", "spec.eastWestOnly: a gateway out of the mesh cannot be for other clusters only."}
	default:
		p = profiles()[v1alpha1.TypeEastWest]
	}
	return p, nil
}

// made are the kinds of objects that a gateway consists of, in the order of creation: what pods need comes before
// the pods, the autoscaler after what it scales.
func made() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{
		serviceAccounts, roles, roleBindings, services, deployments, disruptionBudgets, autoscalers,
	}
}

var (
	serviceAccounts   = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	roles             = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}
	roleBindings      = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}
	services          = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	deployments       = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	disruptionBudgets = schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}
	autoscalers       = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	pods              = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	namespaces        = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

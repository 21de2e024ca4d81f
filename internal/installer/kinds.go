package installer

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"isthmus.dev/isthmus/api/install/v1alpha1"
)

// kind is one row of kinds: what the installer needs to know about a kind of install resource.
type kind struct {
	name     string
	resource string
	// istio is the value of the label "istio" on the pods.
	istio string
	// roles are the platform.tetrate.io/<role> labels of the pods.
	roles []string
	// ports of the Service when the resource names none.
	ports []v1alpha1.ServicePort
	// service is the Service's type when the resource names none.
	service string
}

// kinds are the install resources, one row each.
func kinds() []kind {
	return []kind{{
		name:     "IngressGateway",
		resource: "ingressgateways",
		istio:    "ingressgateway",
		roles:    []string{"ingress"},
		ports: []v1alpha1.ServicePort{
			{Name: "http2", Port: 80, TargetPort: target(8080)},
			{Name: "https", Port: 443, TargetPort: target(8443)},
		},
		service: "LoadBalancer",
	}}
}

func (k kind) gvr() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: v1alpha1.Group, Version: v1alpha1.Version, Resource: k.resource}
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
	namespaces        = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

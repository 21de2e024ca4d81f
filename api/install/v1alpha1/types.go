// Package v1alpha1 holds the Kubernetes types of install.tetrate.io/v1alpha1: which gateways a cluster should run.
//
// Parts that go to Kubernetes as they are written (resources, affinity and the like) are kept as free-form values, so
// that whatever the cluster's Kubernetes understands can be written. The CRDs are in deploy/crds.
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Group and Version of every kind in this package.
const (
	Group      = "install.tetrate.io"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
)

// DeleteHold is the finalizer that keeps a gateway running for a while after its resource was deleted, so that other
// clusters can stop calling it first.
const DeleteHold = Group + "/delete-hold"

// Condition types of GatewayStatus.
const (
	// Accepted: the resource makes sense and nobody else's objects are in the way.
	Accepted = "Accepted"
	// Ready: the gateway was rolled out as this generation describes it, and has an address. It says nothing about
	// how many pods are ready at this moment: the Deployment does.
	Ready = "Ready"
)

// Gateway is a resource of any of the kinds. All of them have the same shape; a field that a kind does not know is
// not in its CRD.
type Gateway struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   GatewaySpec   `json:"spec,omitempty"`
	Status GatewayStatus `json:"status,omitempty"`
}

// Types of a Gateway.
const (
	TypeUnified  = "UNIFIED"
	TypeIngress  = "INGRESS"
	TypeEgress   = "EGRESS"
	TypeEastWest = "EASTWEST"
)

// GatewaySpec says what differs from the built-in profile. Empty means the profile.
type GatewaySpec struct {
	// Type of a Gateway; empty means UNIFIED. The other kinds have none.
	Type string `json:"type,omitempty"`
	// ConnectionDrainDuration is how long connections may finish when a pod stops, for example "22s".
	ConnectionDrainDuration string `json:"connectionDrainDuration,omitempty"`
	// Revision of Istio that runs the gateway; empty leaves it to the namespace.
	Revision string `json:"revision,omitempty"`
	// EastWestOnly exposes nothing but the port for other clusters.
	EastWestOnly bool `json:"eastWestOnly,omitempty"`
	// Concurrency is how many threads the proxy has; 0 means as many as the limit of its CPU, -1 as the machine has.
	Concurrency int64 `json:"concurrency,omitempty"`
	// ProxyConfigOverride is YAML over the proxy's configuration, in the form of the annotation proxy.istio.io/config.
	ProxyConfigOverride string    `json:"proxyConfigOverride,omitempty"`
	KubeSpec            *KubeSpec `json:"kubeSpec,omitempty"`

	// ConfigGenerationMetadata is for everything that is made, beside what is there anyway.
	ConfigGenerationMetadata *Metadata `json:"configGenerationMetadata,omitempty"`
	// TargetCluster and TargetNamespace are where a management plane would install it.
	TargetCluster   string `json:"targetCluster,omitempty"`
	TargetNamespace string `json:"targetNamespace,omitempty"`
}

// Metadata are labels and annotations for objects that are made.
type Metadata struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// KubeSpec changes the Kubernetes objects that are made for a gateway.
type KubeSpec struct {
	Deployment     *Deployment     `json:"deployment,omitempty"`
	Service        *Service        `json:"service,omitempty"`
	ServiceAccount *ServiceAccount `json:"serviceAccount,omitempty"`
	// Overlays change single fields, after everything else.
	Overlays []Overlay `json:"overlays,omitempty"`
}

// Deployment changes the pods.
type Deployment struct {
	// ReplicaCount is how many pods to start with; with the autoscaler disabled, how many to keep.
	ReplicaCount             *int64            `json:"replicaCount,omitempty"`
	HPASpec                  *HPASpec          `json:"hpaSpec,omitempty"`
	Resources                map[string]any    `json:"resources,omitempty"`
	Env                      []map[string]any  `json:"env,omitempty"`
	Labels                   map[string]string `json:"labels,omitempty"`
	PodAnnotations           map[string]string `json:"podAnnotations,omitempty"`
	Affinity                 map[string]any    `json:"affinity,omitempty"`
	Tolerations              []map[string]any  `json:"tolerations,omitempty"`
	PriorityClassName        string            `json:"priorityClassName,omitempty"`
	PodSecurityContext       map[string]any    `json:"podSecurityContext,omitempty"`
	ContainerSecurityContext map[string]any    `json:"containerSecurityContext,omitempty"`
	Strategy                 map[string]any    `json:"strategy,omitempty"`
}

// HPASpec changes the autoscaler, which keeps between 1 and 10 pods at 75 % of their requested CPU.
type HPASpec struct {
	Disabled    bool             `json:"disabled,omitempty"`
	MinReplicas *int64           `json:"minReplicas,omitempty"`
	MaxReplicas *int64           `json:"maxReplicas,omitempty"`
	Metrics     []map[string]any `json:"metrics,omitempty"`
}

// Service changes how the gateway is reached.
type Service struct {
	// Type is LoadBalancer when empty, and ClusterIP for a gateway out of the mesh.
	Type        string            `json:"type,omitempty"`
	Ports       []ServicePort     `json:"ports,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
}

// ServicePort is a port of a Service.
type ServicePort struct {
	Name        string              `json:"name,omitempty"`
	Port        int64               `json:"port"`
	TargetPort  *intstr.IntOrString `json:"targetPort,omitempty"`
	NodePort    int64               `json:"nodePort,omitempty"`
	Protocol    string              `json:"protocol,omitempty"`
	AppProtocol string              `json:"appProtocol,omitempty"`
}

// ServiceAccount changes who the pods are to Kubernetes.
type ServiceAccount struct {
	ImagePullSecrets []LocalObjectReference `json:"imagePullSecrets,omitempty"`
}

// LocalObjectReference names an object of the same namespace.
type LocalObjectReference struct {
	Name string `json:"name"`
}

// Overlay changes fields of one of the objects made for the gateway.
type Overlay struct {
	APIVersion string  `json:"apiVersion,omitempty"`
	Kind       string  `json:"kind"`
	Name       string  `json:"name"`
	Patches    []Patch `json:"patches,omitempty"`
}

// Patch sets the field at Path to Value, or removes it when Value is null.
type Patch struct {
	// Path is made of keys and list selectors: a.b.[key:value].c; [-1] appends, [n] is the item at n.
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// GatewayStatus is written by the installer, and only when it changes.
type GatewayStatus struct {
	// ObservedGeneration is the generation of the spec that the conditions speak of.
	ObservedGeneration int64       `json:"observedGeneration,omitempty"`
	Conditions         []Condition `json:"conditions,omitempty"`
	// Addresses of the Service, sorted.
	Addresses []string `json:"addresses,omitempty"`
}

// Condition is one statement about a gateway.
type Condition struct {
	Type               string `json:"type"`
	Status             string `json:"status"`
	Reason             string `json:"reason"`
	Message            string `json:"message"`
	LastTransitionTime string `json:"lastTransitionTime,omitempty"`
}

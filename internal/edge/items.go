package edge

import (
	"net"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/wellknown"
)

// item is what the edge keeps of one Kubernetes object. It is shared and never changes.
type item struct {
	metav1.TypeMeta
	metav1.ObjectMeta // name and namespace, and for some kinds labels

	fact    *isthmusv1.Fact // of objects that are a fact each
	pod     *gatewayPod     // of pods of gateways
	app     *appPod         // of other pods
	deploy  *deployment     // of istiod and of gateways
	istiod  string          // address of a pod of istiod
	labels  labelSet        // of pods
	ready   bool            // of pods
	rule    *rule           // of Istio objects of others
	content map[string]string
}

// DeepCopyObject makes item a runtime.Object, so that an informer can hold it.
func (i *item) DeepCopyObject() runtime.Object { c := *i; return &c }

func newItem(u *unstructured.Unstructured) *item {
	return &item{ObjectMeta: metav1.ObjectMeta{Name: u.GetName(), Namespace: u.GetNamespace(), ResourceVersion: u.GetResourceVersion()}}
}

// as reads a part of an object. A field of an unexpected type reads as if it were not there.
func as[T any](u *unstructured.Unstructured) T {
	var out T
	_ = runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &out)
	return out
}

func namespaceItem(u *unstructured.Unstructured) *item {
	i := newItem(u)
	i.Labels = u.GetLabels()
	i.fact = &isthmusv1.Fact{Id: "namespace//" + i.Name, Fact: &isthmusv1.Fact_Namespace{Namespace: &isthmusv1.Namespace{
		Name: i.Name, Labels: u.GetLabels(), Terminating: u.GetDeletionTimestamp() != nil,
	}}}
	return i
}

type serviceObject struct {
	Spec struct {
		Type         string            `json:"type"`
		ClusterIP    string            `json:"clusterIP"`
		Selector     map[string]string `json:"selector"`
		ExternalName string            `json:"externalName"`
		Policy       string            `json:"externalTrafficPolicy"`
		Ports        []struct {
			Name        string `json:"name"`
			Port        int64  `json:"port"`
			TargetPort  any    `json:"targetPort"`
			NodePort    int64  `json:"nodePort"`
			Protocol    string `json:"protocol"`
			AppProtocol string `json:"appProtocol"`
		} `json:"ports"`
	} `json:"spec"`
	Status struct {
		LoadBalancer struct {
			Ingress []struct {
				IP       string `json:"ip"`
				Hostname string `json:"hostname"`
			} `json:"ingress"`
		} `json:"loadBalancer"`
	} `json:"status"`
}

func serviceItem(u *unstructured.Unstructured) *item {
	i := newItem(u)
	o := as[serviceObject](u)
	s := &isthmusv1.Service{
		Namespace: i.Namespace, Name: i.Name, Type: o.Spec.Type, ClusterIp: o.Spec.ClusterIP, Selector: o.Spec.Selector,
		ExternalName: o.Spec.ExternalName, ExternalTrafficPolicy: o.Spec.Policy, Labels: u.GetLabels(), Annotations: meaningful(u.GetAnnotations()),
	}
	for _, p := range o.Spec.Ports {
		s.Ports = append(s.Ports, &isthmusv1.Service_Port{
			Name: p.Name, Number: uint32(p.Port), TargetPort: intOrString(p.TargetPort), NodePort: uint32(p.NodePort),
			Protocol: p.Protocol, AppProtocol: p.AppProtocol,
		})
	}
	for _, in := range o.Status.LoadBalancer.Ingress {
		if a := in.IP + in.Hostname; in.IP == "" || in.Hostname == "" {
			s.ExternalAddresses = append(s.ExternalAddresses, a)
		} else {
			s.ExternalAddresses = append(s.ExternalAddresses, in.IP)
		}
	}
	if list := u.GetAnnotations()[wellknown.ExternalAddressesAnnotation]; list != "" {
		s.ExternalAddresses = strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	}
	slices.Sort(s.ExternalAddresses)
	i.fact = &isthmusv1.Fact{Id: "service/" + i.Namespace + "/" + i.Name, Fact: &isthmusv1.Fact_Service{Service: s}}
	return i
}

// meaningful keeps the labels and annotations that the compiler reads.
func meaningful(m map[string]string) map[string]string {
	var out map[string]string
	for k, v := range m {
		for _, prefix := range []string{"failover.tetrate.io/", "topology.istio.io/", "xcp.tetrate.io/", "isthmus.dev/", "networking.istio.io/exportTo"} {
			if strings.HasPrefix(k, prefix) {
				if out == nil {
					out = map[string]string{}
				}
				out[k] = v
			}
		}
	}
	return out
}

func intOrString(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return itoa(v)
	case float64:
		return itoa(int64(v))
	}
	return ""
}

type nodeObject struct {
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

type condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

func isTrue(cs []condition, kind string) bool {
	return slices.ContainsFunc(cs, func(c condition) bool { return c.Type == kind && c.Status == "True" })
}

func nodeItem(u *unstructured.Unstructured) *item {
	i := newItem(u)
	o := as[nodeObject](u)
	n := &isthmusv1.Node{Name: i.Name, Ready: isTrue(o.Status.Conditions, "Ready")}
	labels := u.GetLabels()
	n.Region, n.Zone, n.Subzone = labels["topology.kubernetes.io/region"], labels["topology.kubernetes.io/zone"], labels["topology.istio.io/subzone"]
	for _, kind := range []string{"ExternalIP", "InternalIP"} { // those that reach furthest first
		for _, a := range o.Status.Addresses {
			if a.Type == kind && net.ParseIP(a.Address) != nil && !slices.Contains(n.Addresses, a.Address) {
				n.Addresses = append(n.Addresses, a.Address)
			}
		}
	}
	i.fact = &isthmusv1.Fact{Id: "node//" + i.Name, Fact: &isthmusv1.Fact_Node{Node: n}}
	return i
}

type configMapObject struct {
	Data map[string]string `json:"data"`
}

// configMapItem keeps what describes the mesh.
func configMapItem(u *unstructured.Unstructured) *item {
	i := newItem(u)
	if i.Name == "istio" || strings.HasPrefix(i.Name, "istio-") {
		data := as[configMapObject](u).Data
		if data["mesh"] != "" || data["root-cert.pem"] != "" {
			i.content = map[string]string{"mesh": data["mesh"], "root-cert.pem": data["root-cert.pem"]}
		}
	}
	return i
}

package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	systemNamespace = "istio-system"
	networkLabel    = "topology.istio.io/network"
)

// kubernetes is a cluster's own objects, as far as they can be told from what was seen of it: one pod stands for all of a
// workload, and one for what is behind each other service.
type kubernetes struct {
	namespaces []*corev1.Namespace
	nodes      []*corev1.Node
	services   []*corev1.Service
	pods       []*corev1.Pod
	slices     []*discoveryv1.EndpointSlice
	secrets    []*corev1.Secret
}

// objects are all of them, in a fixed order.
func (k *kubernetes) objects() []runtime.Object {
	var out []runtime.Object
	for _, o := range k.namespaces {
		out = append(out, o)
	}
	for _, o := range k.nodes {
		out = append(out, o)
	}
	for _, o := range k.services {
		out = append(out, o)
	}
	for _, o := range k.pods {
		out = append(out, o)
	}
	for _, o := range k.slices {
		out = append(out, o)
	}
	for _, o := range k.secrets {
		out = append(out, o)
	}
	return out
}

// pod is the one of a workload.
func (k *kubernetes) pod(namespace, name string) *corev1.Pod {
	for _, p := range k.pods {
		if p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	return nil
}

// reconstruct makes the objects that a cluster must have had.
func reconstruct(t *testing.T, c *observedCluster) *kubernetes {
	t.Helper()
	k := &kubernetes{nodes: nodes(c.facts), namespaces: namespaces(c)}
	for i, w := range c.facts.Workloads {
		k.pods = append(k.pods, gatewayPod(w, i))
	}
	for i, s := range c.facts.Services {
		k.services = append(k.services, service(s))
		if len(s.Selector) > 0 && !slices.ContainsFunc(k.pods, func(p *corev1.Pod) bool { return selects(s, p) }) {
			k.pods = append(k.pods, applicationPod(c.facts, s, i))
		}
	}
	for _, s := range c.facts.Services {
		for _, p := range k.pods {
			if selects(s, p) {
				k.slices = append(k.slices, endpoints(s, p))
			}
		}
	}
	for _, s := range c.facts.Secrets {
		k.secrets = append(k.secrets, secretOf(t, s))
	}
	return k
}

func selects(s serviceFact, p *corev1.Pod) bool {
	return len(s.Selector) > 0 && s.Namespace == p.Namespace && labels.SelectorFromSet(s.Selector).Matches(labels.Set(p.Labels))
}

// namespaces are those that were seen, those that are rendered, and Istio's own, which says what network the cluster is.
func namespaces(c *observedCluster) []*corev1.Namespace {
	found := map[string]map[string]string{systemNamespace: {}}
	if c.facts.Mesh.Network != "" {
		found[systemNamespace][networkLabel] = c.facts.Mesh.Network
	}
	for _, n := range c.facts.Namespaces {
		found[n.Name] = n.Labels
	}
	for _, o := range c.objects {
		if o.Kind == "Namespace" {
			found[o.Metadata.Name] = nil
		}
	}
	var out []*corev1.Namespace
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, &corev1.Namespace{TypeMeta: kind("v1", "Namespace"), ObjectMeta: metav1.ObjectMeta{Name: name, Labels: found[name]}})
	}
	return out
}

func nodes(f facts) []*corev1.Node {
	var out []*corev1.Node
	for _, n := range append(slices.Clone(f.Nodes), nodeFact{Name: "node", Region: f.Mesh.Region, Zone: f.Mesh.Zone}) {
		node := &corev1.Node{TypeMeta: kind("v1", "Node"), ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
			corev1.LabelTopologyRegion: n.Region, corev1.LabelTopologyZone: n.Zone, "topology.istio.io/subzone": n.Subzone,
		}}}
		for _, a := range n.Addresses {
			node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
		}
		out = append(out, node)
	}
	return out
}

func service(f serviceFact) *corev1.Service {
	s := &corev1.Service{
		TypeMeta:   kind("v1", "Service"),
		ObjectMeta: metav1.ObjectMeta{Namespace: f.Namespace, Name: f.Name, Labels: f.Labels, Annotations: f.Annotations},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceType(cmp.Or(f.Type, "ClusterIP")), ClusterIP: f.ClusterIP, Selector: f.Selector, ExternalName: f.ExternalName,
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicy(f.TrafficPolicy),
		},
	}
	for _, p := range f.Ports {
		port := corev1.ServicePort{
			Name: p.Name, Port: p.Number, NodePort: p.NodePort, Protocol: corev1.Protocol(cmp.Or(p.Protocol, "TCP")),
			TargetPort: intstr.Parse(cmp.Or(p.TargetPort, strconv.Itoa(int(p.Number)))),
		}
		if p.AppProtocol != "" {
			port.AppProtocol = &p.AppProtocol
		}
		s.Spec.Ports = append(s.Spec.Ports, port)
	}
	for _, a := range f.ExternalAddresses {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
	}
	return s
}

func gatewayPod(w workloadFact, i int) *corev1.Pod {
	return pod(w.Namespace, w.Name, w.ServiceAccount, fmt.Sprintf("10.244.0.%d", i+1), w.Labels, w.Ports, w.Ready > 0)
}

// applicationPrefix begins the names of pods of applications.
const applicationPrefix = "behind-"

// applicationPod is ready, unless pods were seen behind other services only; where they were seen to have a sidecar it has one.
func applicationPod(f facts, s serviceFact, i int) *corev1.Pod {
	ports := map[string]int32{}
	for _, p := range s.Ports {
		if target := intstr.Parse(p.TargetPort); target.Type == intstr.String {
			ports[target.StrVal] = p.Number
		}
	}
	account, podLabels, b := "default", maps.Clone(s.Selector), f.backing(s)
	if b != nil && b.Mesh {
		account, podLabels["security.istio.io/tlsMode"] = b.ServiceAccounts[0], "istio"
	}
	return pod(s.Namespace, applicationPrefix+s.Name, account, fmt.Sprintf("10.244.1.%d", i+1), podLabels, ports, b != nil || len(f.Backings) == 0)
}

func pod(namespace, name, account, ip string, labels map[string]string, ports map[string]int32, ready bool) *corev1.Pod {
	container := corev1.Container{Name: "istio-proxy", Image: "istio/proxyv2:1.31.0"}
	for _, n := range slices.Sorted(maps.Keys(ports)) {
		container.Ports = append(container.Ports, corev1.ContainerPort{Name: n, ContainerPort: ports[n]})
	}
	condition := corev1.ConditionFalse
	if ready {
		condition = corev1.ConditionTrue
	}
	return &corev1.Pod{
		TypeMeta:   kind("v1", "Pod"),
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{ServiceAccountName: account, NodeName: "node", Containers: []corev1.Container{container}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: condition}},
		},
	}
}

// endpoints says that a pod is behind a service.
func endpoints(s serviceFact, p *corev1.Pod) *discoveryv1.EndpointSlice {
	ready := p.Status.Conditions[0].Status == corev1.ConditionTrue
	node := p.Spec.NodeName
	slice := &discoveryv1.EndpointSlice{
		TypeMeta: kind("discovery.k8s.io/v1", "EndpointSlice"),
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: s.Name + "-" + p.Name, Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{p.Status.PodIP}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name},
		}},
	}
	for _, port := range s.Ports {
		number := targetPort(port, p)
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &number})
	}
	return slice
}

// targetPort is the port of the pod that a port of a service leads to.
func targetPort(port portFact, p *corev1.Pod) int32 {
	target := intstr.Parse(cmp.Or(port.TargetPort, strconv.Itoa(int(port.Number))))
	if target.Type == intstr.Int {
		return target.IntVal
	}
	for _, c := range p.Spec.Containers[0].Ports {
		if c.Name == target.StrVal {
			return c.ContainerPort
		}
	}
	return port.Number
}

// secretOf has a throw-away certificate and its authority, because no more of a secret is ever seen than what is wrong
// with it.
func secretOf(t *testing.T, f secretFact) *corev1.Secret {
	t.Helper()
	leaf := throwAway(t).leaf("test", "")
	data := map[string][]byte{"tls.crt": leaf.cert, "tls.key": leaf.key}
	if f.Problem != "" {
		data["tls.key"] = []byte(f.Problem)
	}
	if f.CAProblem == "" {
		data["ca.crt"] = throwAway(t).cert
	}
	return &corev1.Secret{
		TypeMeta:   kind("v1", "Secret"),
		ObjectMeta: metav1.ObjectMeta{Namespace: f.Namespace, Name: f.Name},
		Type:       corev1.SecretType(cmp.Or(f.Type, string(corev1.SecretTypeTLS))),
		Data:       data,
	}
}

func kind(version, name string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: name}
}

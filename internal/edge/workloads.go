package edge

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/wellknown"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// gatewayPod is what counts of a pod that is a gateway.
type gatewayPod struct {
	workload string // name of the owner
	created  string
	labels   map[string]string
	account  string
	node     string
	ready    bool
	ports    map[string]uint32
	mounts   []string
	// forwarded is what the pod says of who tells it its clients, nil for nothing.
	forwarded *bool
}

// deployment is what counts of istiod's Deployment, and of those of gateways, which exist without pods too.
type deployment struct {
	istiod   bool
	ready    bool
	revision string
	version  string
	gateway  *gatewayPod
}

type podTemplate struct {
	Metadata struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec podSpec `json:"spec"`
}

type podSpec struct {
	ServiceAccountName string `json:"serviceAccountName"`
	NodeName           string `json:"nodeName"`
	Containers         []struct {
		Name  string   `json:"name"`
		Image string   `json:"image"`
		Args  []string `json:"args"`

		VolumeMounts []struct {
			MountPath string `json:"mountPath"`
		} `json:"volumeMounts"`
		Ports []struct {
			Name          string `json:"name"`
			ContainerPort int64  `json:"containerPort"`
		} `json:"ports"`
	} `json:"containers"`
}

type podObject struct {
	podTemplate `json:",inline"`
	Status      struct {
		Conditions []condition `json:"conditions"`
		Phase      string      `json:"phase"`
		PodIP      string      `json:"podIP"`
	} `json:"status"`
}

// isGateway says whether a pod, or a template of pods, is an Istio gateway.
func isGateway(p podTemplate) bool {
	for t := range strings.SplitSeq(p.Metadata.Annotations["inject.istio.io/templates"], ",") {
		if strings.TrimSpace(t) == "gateway" {
			return true
		}
	}
	for k := range p.Metadata.Labels {
		if k == wellknown.GatewayLabel || strings.HasPrefix(k, "istio.io/gateway") || k == "gateway.networking.k8s.io/gateway-name" {
			return true
		}
	}
	for _, c := range p.Spec.Containers {
		if c.Name == "istio-proxy" && slices.Contains(c.Args, "router") {
			return true
		}
	}
	return false
}

func newGatewayPod(p podTemplate, workload string) *gatewayPod {
	g := &gatewayPod{workload: workload, labels: stableLabels(p.Metadata.Labels), account: cmp.Or(p.Spec.ServiceAccountName, "default"), node: p.Spec.NodeName}
	var own proxyConfig
	_ = yaml.Unmarshal([]byte(p.Metadata.Annotations["proxy.istio.io/config"]), &own) // what cannot be read is not injected either
	g.forwarded = own.forwardsClients()
	for _, c := range p.Spec.Containers {
		for _, m := range c.VolumeMounts {
			g.mounts = append(g.mounts, strings.TrimSuffix(m.MountPath, "/"))
		}
		for _, port := range c.Ports {
			if port.Name != "" {
				if g.ports == nil {
					g.ports = map[string]uint32{}
				}
				g.ports[port.Name] = uint32(port.ContainerPort)
			}
		}
	}
	slices.Sort(g.mounts)
	g.mounts = slices.Compact(g.mounts)
	return g
}

// stableLabels leaves out what differs from one pod to the next of the same workload.
func stableLabels(m map[string]string) map[string]string {
	out := maps.Clone(m)
	for _, k := range append([]string{"pod-template-hash", "controller-revision-hash", "pod-template-generation"}, wellknown.PodNameLabels...) {
		delete(out, k)
	}
	return out
}

func podItem(u *unstructured.Unstructured) *item {
	i := newItem(u)
	o := as[podObject](u)
	if u.GetLabels()["app"] == "istiod" && o.Status.Phase == "Running" {
		i.istiod = o.Status.PodIP
	}
	if o.Status.Phase == "Succeeded" || o.Status.Phase == "Failed" {
		return i
	}
	i.labels, i.ready = labelSetOf(u.GetLabels()), isTrue(o.Status.Conditions, "Ready") && u.GetDeletionTimestamp() == nil
	if !isGateway(o.podTemplate) {
		if i.ready && len(o.Metadata.Labels) > 0 {
			i.app = newAppPod(o.podTemplate)
		}
		return i
	}
	i.pod = newGatewayPod(o.podTemplate, workloadOf(u, o.Metadata.Labels["pod-template-hash"]))
	i.pod.created = u.GetCreationTimestamp().UTC().Format("2006-01-02T15:04:05Z") + " " + i.Name
	i.pod.ready = i.ready
	return i
}

// workloadOf is the name of what made a pod: of a ReplicaSet its Deployment.
func workloadOf(u *unstructured.Unstructured, templateHash string) string {
	owner := metav1.GetControllerOfNoCopy(u)
	if owner == nil {
		return u.GetName()
	}
	if owner.Kind == "ReplicaSet" && templateHash != "" {
		return strings.TrimSuffix(owner.Name, "-"+templateHash)
	}
	return owner.Name
}

type deploymentObject struct {
	Spec struct {
		Template podTemplate `json:"template"`
	} `json:"spec"`
	Status struct {
		ReadyReplicas int64 `json:"readyReplicas"`
	} `json:"status"`
}

func deploymentItem(u *unstructured.Unstructured) *item {
	i := newItem(u)
	labels := u.GetLabels()
	istiod := labels["app"] == "istiod"
	o := as[deploymentObject](u)
	if !istiod && !isGateway(o.Spec.Template) {
		return i
	}
	i.deploy = &deployment{istiod: istiod, ready: o.Status.ReadyReplicas > 0, revision: labels["istio.io/rev"]}
	if !istiod {
		i.deploy.gateway = newGatewayPod(o.Spec.Template, i.Name)
		return i
	}
	for _, c := range o.Spec.Template.Spec.Containers {
		if c.Name == "discovery" {
			i.deploy.version = imageVersion(c.Image)
		}
	}
	if v := labels["app.kubernetes.io/version"]; i.deploy.version == "" && v != "" {
		i.deploy.version = v
	}
	return i
}

// imageVersion is the tag of an image without the variant, or "".
func imageVersion(image string) string {
	image, _, _ = strings.Cut(image, "@")
	slash := strings.LastIndexByte(image, '/')
	_, tag, ok := strings.Cut(image[slash+1:], ":")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(strings.TrimSuffix(tag, "-distroless"), "-debug")
}

// common are the labels that pods have in common: what only some of those that serve have cannot select them all.
func common(m, with map[string]string, first bool) map[string]string {
	if first {
		return maps.Clone(with)
	}
	maps.DeleteFunc(m, func(k, v string) bool { have, ok := with[k]; return !ok || have != v })
	return m
}

// inAll are the volumes that all pods have: Envoy refuses or waits for a file that is not there.
func inAll(pods []*gatewayPod, newest *gatewayPod) []string {
	mounts := slices.Clone(newest.mounts)
	for _, p := range pods {
		mounts = slices.DeleteFunc(mounts, func(m string) bool { return !slices.Contains(p.mounts, m) })
	}
	return mounts
}

// workload is the fact about the pods of one workload; nil when there is neither a pod nor a Deployment.
func workload(namespace, name string, pods []*gatewayPod, deployed *deployment) *isthmusv1.Fact {
	if len(pods) == 0 && deployed == nil {
		return nil
	}
	w := &isthmusv1.Workload{Namespace: namespace, Name: name, Total: uint32(len(pods))}
	newest := (*gatewayPod)(nil)
	if deployed != nil {
		newest = deployed.gateway
		w.ServiceAccounts = append(w.ServiceAccounts, newest.account)
	}
	slices.SortFunc(pods, func(a, b *gatewayPod) int { return cmp.Compare(a.created, b.created) })
	for _, p := range pods {
		newest = p
		w.ServiceAccounts = append(w.ServiceAccounts, p.account)
		if p.ready {
			w.Ready++
			w.Nodes = append(w.Nodes, p.node)
			w.Labels = common(w.Labels, p.labels, w.Ready == 1)
		}
	}
	slices.Sort(w.Nodes)
	w.Nodes = slices.Compact(w.Nodes)
	slices.Sort(w.ServiceAccounts)
	w.ServiceAccounts = slices.Compact(w.ServiceAccounts)
	w.ServiceAccount, w.Ports, w.ForwardedClients, w.Mounts = newest.account, newest.ports, newest.forwarded, inAll(pods, newest)
	if w.Ready == 0 {
		w.Labels = newest.labels
	}
	return &isthmusv1.Fact{Id: "workload/" + namespace + "/" + name, Fact: &isthmusv1.Fact_Workload{Workload: w}}
}

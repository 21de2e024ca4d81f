package installer

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"isthmus.dev/isthmus/api/install/v1alpha1"
	"isthmus.dev/isthmus/internal/wellknown"
)

// portStatus is, beside the one for calls from within the mesh, a port that every gateway has.
const portStatus = 15021

func target(port int) *intstr.IntOrString { return new(intstr.FromInt(port)) }

// ports are those that the resource or the profile names, and always the one for other clusters and the one for
// probes: without the first no other cluster could reach the hosts of the gateway.
func (p *plan) ports() ([]any, error) {
	asked := p.svc.Ports
	if len(asked) == 0 {
		asked = p.profile.ports
	}
	if p.profile.closed {
		asked = slices.DeleteFunc(slices.Clone(asked), func(s v1alpha1.ServicePort) bool {
			other := s.Port != wellknown.MTLSPort && s.Port != portStatus
			if other {
				p.note("spec.kubeSpec.service.ports: port %d is left out; a gateway for other clusters has %d and %d.", s.Port, wellknown.MTLSPort, portStatus)
			}
			return other
		})
	}
	for _, always := range []v1alpha1.ServicePort{
		{Name: "tls-istio-mtls", Port: wellknown.MTLSPort, TargetPort: target(wellknown.MTLSPort)},
		{Name: "status-port", Port: portStatus, TargetPort: target(portStatus)},
	} {
		if !slices.ContainsFunc(asked, func(s v1alpha1.ServicePort) bool { return s.Port == always.Port }) {
			asked = append(slices.Clip(asked), always)
		}
	}
	names, numbers := map[string]bool{}, map[string]bool{}
	var out []any
	for i, s := range asked {
		name := cmp.Or(s.Name, fmt.Sprintf("port-%d", s.Port))
		number := fmt.Sprintf("%s/%d", cmp.Or(s.Protocol, "TCP"), s.Port)
		if names[name] || numbers[number] {
			return nil, &problem{"InvalidSpec", fmt.Sprintf("spec.kubeSpec.service.ports[%d]: the name %q or the port %s is taken by another port.", i, name, number)}
		}
		names[name], numbers[number] = true, true
		out = append(out, portOf(s, name))
	}
	return out, nil
}

func portOf(s v1alpha1.ServicePort, name string) map[string]any {
	port := map[string]any{"name": name, "port": s.Port, "protocol": cmp.Or(s.Protocol, "TCP"), "targetPort": s.Port}
	if t := s.TargetPort; t != nil {
		port["targetPort"] = int64(t.IntVal)
		if t.Type == intstr.String {
			port["targetPort"] = t.StrVal
		}
	}
	if s.NodePort != 0 {
		port["nodePort"] = s.NodePort
	}
	if s.AppProtocol != "" {
		port["appProtocol"] = s.AppProtocol
	}
	return port
}

// checkService refuses what has no pods.
func (p *plan) checkService() error {
	switch p.svc.Type {
	case "", "ClusterIP", "NodePort", "LoadBalancer":
		return nil
	case "ExternalName":
		return &problem{"InvalidSpec", "spec.kubeSpec.service.type: a Service of type ExternalName is a name for another host, and has no gateway behind it; it is ClusterIP, NodePort or LoadBalancer."}
	}
	return &problem{"InvalidSpec", fmt.Sprintf("spec.kubeSpec.service.type: there is no type %q; it is ClusterIP, NodePort or LoadBalancer.", p.svc.Type)}
}

// service selects by the label that nobody can change: were "app" in the selector, a change of it would leave the
// Service without pods until the new ones are ready.
func (p *plan) service(ports []any) map[string]any {
	meta := map[string]any{}
	setMap(meta, "labels", p.svc.Labels)
	setMap(meta, "annotations", p.svc.Annotations)
	return map[string]any{
		"metadata": meta,
		"spec": map[string]any{
			"type":     cmp.Or(p.svc.Type, p.profile.service),
			"selector": p.matchLabels(),
			"ports":    ports,
		},
	}
}

func (p *plan) serviceAccount() map[string]any {
	sa := map[string]any{}
	var secrets []any
	for _, s := range p.sa.ImagePullSecrets {
		secrets = append(secrets, map[string]any{"name": s.Name})
	}
	if secrets != nil {
		sa["imagePullSecrets"] = secrets
	}
	return sa
}

func (p *plan) role() map[string]any {
	return map[string]any{"rules": []any{map[string]any{
		"apiGroups": []any{""}, "resources": []any{"secrets"}, "verbs": []any{"get", "watch", "list"},
	}}}
}

func (p *plan) roleBinding() map[string]any {
	return map[string]any{
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": p.gw.Name + "-sds"},
		"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": p.accountName(), "namespace": p.gw.Namespace}},
	}
}

// matchLabels of what selects pods for good: a Deployment's selector can never change, so it has nothing in it that a
// user can.
func (p *plan) matchLabels() map[string]any {
	return map[string]any{wellknown.GatewayLabel: gatewayLabel(p.gw.Namespace, p.gw.Name)}
}

func (p *plan) podLabels() map[string]string {
	l := p.labels()
	l["sidecar.istio.io/inject"] = "true" // the namespace may not ask for injection, the gateway always does
	maps.Copy(l, p.dep.Labels)
	maps.Copy(l, p.ownLabels())
	return l
}

func (p *plan) deployment() map[string]any {
	meta := map[string]any{}
	setMap(meta, "labels", p.dep.Labels)
	podMeta := map[string]any{}
	setMap(podMeta, "labels", p.podLabels())
	setMap(podMeta, "annotations", p.podAnnotations())
	spec := map[string]any{
		"selector": map[string]any{"matchLabels": p.matchLabels()},
		"strategy": p.strategy(),
		"template": map[string]any{"metadata": podMeta, "spec": p.podSpec()},
	}
	if !p.scales() {
		spec["replicas"] = p.replicas()
	}
	return map[string]any{"metadata": meta, "spec": spec}
}

// podAnnotations ask Istio for its gateway template, and tell the proxy how to run.
func (p *plan) podAnnotations() map[string]string {
	a := map[string]string{"inject.istio.io/templates": "gateway"}
	maps.Copy(a, p.dep.PodAnnotations)
	// What was read from YAML can be written as YAML.
	config, _ := yaml.Marshal(p.proxy)
	a[proxyConfigAnnotation] = string(config)
	return a
}

// strategy never stops a pod before another one is ready, unless the user asks for that.
func (p *plan) strategy() map[string]any {
	s := p.dep.Strategy
	if s["type"] == "Recreate" {
		return s
	}
	own, _ := s["rollingUpdate"].(map[string]any)
	update := map[string]any{"maxSurge": "25%", "maxUnavailable": int64(0)}
	if surge, ok := own["maxSurge"]; ok && slices.Contains([]string{"0", "0%"}, fmt.Sprint(normal(surge))) {
		delete(update, "maxUnavailable") // Kubernetes refuses none of both
	}
	maps.Copy(update, own)
	return map[string]any{"type": "RollingUpdate", "rollingUpdate": update}
}

func (p *plan) podSpec() map[string]any {
	spec := map[string]any{
		"serviceAccountName": p.accountName(),
		// Five seconds more than the proxy drains, so that it ends by itself.
		"terminationGracePeriodSeconds": int64(math.Ceil((p.drain + 5*time.Second).Seconds())),
		"containers":                    []any{p.container()},
		"volumes":                       []any{signInVolume()},
	}
	setAny(spec, "affinity", p.dep.Affinity)
	setList(spec, "tolerations", p.dep.Tolerations)
	setAny(spec, "securityContext", p.dep.PodSecurityContext)
	if p.dep.PriorityClassName != "" {
		spec["priorityClassName"] = p.dep.PriorityClassName
	}
	return spec
}

// container is completed by Istio's injection: image, arguments, probes and volumes are those of the control plane.
func (p *plan) container() map[string]any {
	env := []any{map[string]any{"name": "ISTIO_META_ROUTER_MODE", "value": "standard"}}
	for _, e := range p.dep.Env {
		env = slices.DeleteFunc(env, func(have any) bool { return have.(map[string]any)["name"] == e["name"] })
		env = append(env, e)
	}
	c := map[string]any{
		"name":  "istio-proxy",
		"image": "auto",
		"env":   env,
		"resources": map[string]any{
			"requests": map[string]any{"cpu": "100m", "memory": "128Mi"},
			"limits":   map[string]any{"cpu": "2", "memory": "1Gi"},
		},
		"securityContext": map[string]any{
			"allowPrivilegeEscalation": false, "privileged": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
			"capabilities": map[string]any{"drop": []any{"ALL"}},
		},
		"volumeMounts": []any{signInVolumeMount()},
	}
	setAny(c, "resources", p.dep.Resources)
	setAny(c, "securityContext", p.dep.ContainerSecurityContext)
	return c
}

func (p *plan) disruptionBudget() map[string]any {
	return map[string]any{"spec": map[string]any{
		"minAvailable": int64(1),
		"selector":     map[string]any{"matchLabels": p.matchLabels()},
	}}
}

// scales says whether an autoscaler decides how many pods there are.
func (p *plan) scales() bool { return p.dep.HPASpec == nil || !p.dep.HPASpec.Disabled }

// replicas to start with, or to keep when nothing scales.
func (p *plan) replicas() int64 {
	if p.dep.ReplicaCount != nil {
		return *p.dep.ReplicaCount
	}
	low, _ := p.bounds()
	return low
}

// bounds of the autoscaler. A start above the profile's maximum raises it.
func (p *plan) bounds() (low, high int64) {
	low, high = 1, 10
	h := p.dep.HPASpec
	if h != nil && h.MinReplicas != nil {
		low = *h.MinReplicas
	}
	if h != nil && h.MaxReplicas != nil {
		return low, *h.MaxReplicas
	}
	return low, max(high, low)
}

func (p *plan) checkAutoscaler() error {
	if low, high := p.bounds(); p.scales() && (low < 1 || low > high) {
		return &problem{"InvalidSpec", fmt.Sprintf("spec.kubeSpec.deployment.hpaSpec: minReplicas %d and maxReplicas %d leave no room.", low, high)}
	}
	if n := p.dep.ReplicaCount; n != nil && *n < 0 {
		return &problem{"InvalidSpec", "spec.kubeSpec.deployment.replicaCount: there cannot be fewer than 0 replicas."}
	}
	return nil
}

func (p *plan) autoscaler() map[string]any {
	low, high := p.bounds()
	metrics := []any{map[string]any{"type": "Resource", "resource": map[string]any{
		"name": "cpu", "target": map[string]any{"type": "Utilization", "averageUtilization": int64(75)},
	}}}
	if h := p.dep.HPASpec; h != nil && len(h.Metrics) > 0 {
		metrics = nil
		for _, m := range h.Metrics {
			metrics = append(metrics, m)
		}
	}
	return map[string]any{"spec": map[string]any{
		"scaleTargetRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": p.gw.Name},
		"minReplicas":    low, "maxReplicas": high, "metrics": metrics,
	}}
}

// setMap, setAny and setList set a field unless the value is empty: an empty value means that the user did not say.
func setMap(m map[string]any, key string, v map[string]string) {
	if len(v) == 0 {
		return
	}
	out := make(map[string]any, len(v))
	for k, s := range v {
		out[k] = s
	}
	m[key] = out
}

func setAny(m map[string]any, key string, v map[string]any) {
	if len(v) > 0 {
		m[key] = v
	}
}

func setList(m map[string]any, key string, v []map[string]any) {
	if len(v) == 0 {
		return
	}
	out := make([]any, len(v))
	for i := range v {
		out[i] = v[i]
	}
	m[key] = out
}

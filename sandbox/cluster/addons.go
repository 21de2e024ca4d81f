package cluster

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"isthmus.dev/sandbox/engine"
	"isthmus.dev/sandbox/plan"
)

// CoreDNSImage is the reference of the built-in CoreDNS image.
const CoreDNSImage = "sandbox.local/coredns:" + engine.CoreDNS

// addons applies what every cluster has: access for kube-proxy, and CoreDNS.
func (c *Cluster) addons(ctx context.Context) error {
	docs := fmt.Sprintf(addonsYAML, plan.DNS, CoreDNSImage, c.cfg.Plan.DNSSvc)
	objs, err := parse([]byte(docs))
	if err != nil {
		return fmt.Errorf("addons: %w", err)
	}
	return c.apply(ctx, objs)
}

// addonsYAML wants the WAN's name server, CoreDNS's image and its address.
// The TTL of a cluster's own names is short so that tests need not wait.
const addonsYAML = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: coredns, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: system:coredns}
rules:
- {apiGroups: [""], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: system:coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:coredns}
subjects:
- {kind: ServiceAccount, name: coredns, namespace: kube-system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  Corefile: |
    .:53 {
        errors
        health {
            lameduck 0s
        }
        ready
        kubernetes cluster.local in-addr.arpa {
            pods insecure
            fallthrough in-addr.arpa
            ttl 1
        }
        forward . %s {
            prefer_udp
        }
        cache 1
    }
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: coredns
  namespace: kube-system
  labels: {k8s-app: kube-dns}
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      serviceAccountName: coredns
      priorityClassName: system-cluster-critical
      dnsPolicy: Default
      containers:
      - name: coredns
        image: %s
        args: [-conf, /etc/coredns/Corefile]
        resources: {requests: {cpu: 20m, memory: 30Mi}}
        ports:
        - {name: dns, containerPort: 53, protocol: UDP}
        - {name: dns-tcp, containerPort: 53, protocol: TCP}
        readinessProbe:
          httpGet: {path: /ready, port: 8181}
          periodSeconds: 1
        volumeMounts:
        - {name: config, mountPath: /etc/coredns, readOnly: true}
      volumes:
      - name: config
        configMap: {name: coredns}
---
apiVersion: v1
kind: Service
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {k8s-app: kube-dns, kubernetes.io/name: CoreDNS}
spec:
  clusterIP: %s
  selector: {k8s-app: kube-dns}
  ports:
  - {name: dns, port: 53, protocol: UDP, targetPort: 53}
  - {name: dns-tcp, port: 53, protocol: TCP, targetPort: 53}
`

func toUnstructured(o object) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: o}
}

package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"isthmus.dev/sandbox/pki"
	"isthmus.dev/sandbox/plan"
)

// object is a Kubernetes object or configuration file, written by hand.
type object = map[string]any

// certificates makes the cluster's authority, its leaves and kubeconfigs.
func (c *Cluster) certificates() error {
	p := c.cfg.Plan
	ca, err := pki.NewRoot("kubernetes " + p.Name)
	if err != nil {
		return err
	}
	if err := ca.Write(c.pki, "ca"); err != nil {
		return err
	}
	// Nobody has a certificate of this one; controllers wait for its name to be published.
	front, err := pki.NewRoot("front proxy " + p.Name)
	if err != nil {
		return err
	}
	if err := front.Write(c.pki, "front-proxy-ca"); err != nil {
		return err
	}
	leaves := map[string]pki.Leaf{
		"apiserver": {Name: "kube-apiserver", SANs: []string{
			p.API, p.APISvc, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default",
			"kubernetes.default.svc", "kubernetes.default.svc." + plan.Domain,
		}},
		"kubelet-client":     {Name: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}},
		"service-account":    {Name: "service-account"},
		"admin":              {Name: "admin", Groups: []string{"system:masters"}},
		"controller-manager": {Name: "system:kube-controller-manager"},
		"scheduler":          {Name: "system:kube-scheduler"},
		"kube-proxy":         {Name: "system:kube-proxy"},
	}
	for _, n := range p.Nodes {
		leaves[n.Name] = pki.Leaf{Name: "system:node:" + n.Name, Groups: []string{"system:nodes"}, SANs: []string{n.Name, n.IP}}
	}
	for name, leaf := range leaves {
		pair, err := ca.Issue(leaf)
		if err != nil {
			return err
		}
		if err := pair.Write(c.pki, name); err != nil {
			return err
		}
		inside := fmt.Sprintf("https://%s:%d", p.API, plan.APIPort)
		if _, err := c.write(name+".kubeconfig", kubeconfig(p.Name, inside, ca, pair)); err != nil {
			return err
		}
		if name != "admin" {
			continue
		}
		outside := fmt.Sprintf("https://127.0.0.1:%d", c.cfg.HostPort)
		if _, err := c.write("host.kubeconfig", kubeconfig(p.Name, outside, ca, pair)); err != nil {
			return err
		}
	}
	return nil
}

func kubeconfig(name, server string, ca, user *pki.Pair) object {
	return object{
		"apiVersion": "v1", "kind": "Config", "current-context": name,
		"clusters": []object{{"name": name, "cluster": object{"server": server, "certificate-authority-data": ca.CertPEM}}},
		"users":    []object{{"name": name, "user": object{"client-certificate-data": user.CertPEM, "client-key-data": user.KeyPEM}}},
		"contexts": []object{{"name": name, "context": object{"cluster": name, "user": name}}},
	}
}

func (c *Cluster) apiserver(ctx context.Context) error {
	p := c.cfg.Plan
	// Every request once, with its user, when it was answered.
	policy, err := c.write("audit-policy.json", object{
		"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
		"omitStages": []string{"RequestReceived"},
		"rules":      []object{{"level": "Metadata"}},
	})
	if err != nil {
		return err
	}
	args := []string{
		"--etcd-servers=http://" + plan.Etcd + ":2379",
		"--etcd-prefix=/" + p.Name,
		"--advertise-address=" + p.API,
		fmt.Sprintf("--secure-port=%d", plan.APIPort),
		"--service-cluster-ip-range=" + p.SvcNet,
		"--client-ca-file=" + c.file("ca.crt"),
		"--tls-cert-file=" + c.file("apiserver.crt"),
		"--tls-private-key-file=" + c.file("apiserver.key"),
		"--kubelet-client-certificate=" + c.file("kubelet-client.crt"),
		"--kubelet-client-key=" + c.file("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc." + plan.Domain,
		"--service-account-key-file=" + c.file("service-account.crt"),
		"--service-account-signing-key-file=" + c.file("service-account.key"),
		"--api-audiences=https://kubernetes.default.svc." + plan.Domain + ",istio-ca",
		"--authorization-mode=Node,RBAC",
		"--allow-privileged=true",
		"--audit-policy-file=" + policy,
		"--audit-log-path=" + c.cfg.Dir.AuditLog(p.Name),
		"--requestheader-client-ca-file=" + c.file("front-proxy-ca.crt"),
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--profiling=false",
	}
	return c.start(ctx, "kube-apiserver", p.Nodes[0].NetNS, "kube-apiserver", args)
}

// controllers starts the controller manager and the scheduler beside the API
// server. There is one of each, so none of them elects a leader.
func (c *Cluster) controllers(ctx context.Context) error {
	p := c.cfg.Plan
	kcm := c.kubeconfigOf("controller-manager")
	args := []string{
		"--kubeconfig=" + kcm, "--authentication-kubeconfig=" + kcm, "--authorization-kubeconfig=" + kcm,
		"--leader-elect=false",
		"--cluster-name=" + p.Name,
		"--root-ca-file=" + c.file("ca.crt"),
		"--service-account-private-key-file=" + c.file("service-account.key"),
		"--cluster-signing-cert-file=" + c.file("ca.crt"),
		"--cluster-signing-key-file=" + c.file("ca.key"),
		"--use-service-account-credentials=true",
		"--kube-api-qps=200", "--kube-api-burst=400",
		"--node-monitor-period=1s", "--node-monitor-grace-period=20s",
		"--profiling=false",
	}
	if err := c.start(ctx, "kube-controller-manager", p.Nodes[0].NetNS, "kube-controller-manager", args); err != nil {
		return err
	}
	sched := c.kubeconfigOf("scheduler")
	return c.start(ctx, "kube-scheduler", p.Nodes[0].NetNS, "kube-scheduler", []string{
		"--kubeconfig=" + sched, "--authentication-kubeconfig=" + sched, "--authorization-kubeconfig=" + sched,
		"--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=400", "--profiling=false",
	})
}

// nodes starts kube-proxy and the kubelet of every node.
func (c *Cluster) nodes(ctx context.Context) error {
	p := c.cfg.Plan
	for _, n := range p.Nodes {
		conf, err := c.write(n.Name+"-kube-proxy.json", object{
			"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
			"clientConnection": object{"kubeconfig": c.kubeconfigOf("kube-proxy"), "qps": 200, "burst": 400},
			"mode":             "nftables",
			"hostnameOverride": n.Name,
			"clusterCIDR":      p.PodNet,
			// The kernel's connection table belongs to the whole machine:
			// zero means leave its limits alone.
			"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
			// An address that changed is in force after 100 ms, not 1 s.
			"nftables": object{"minSyncPeriod": "100ms", "syncPeriod": "30s"},
		})
		if err != nil {
			return err
		}
		if err := c.start(ctx, n.Name+"/kube-proxy", n.NetNS, "kube-proxy", []string{"--config=" + conf}); err != nil {
			return err
		}
		if err := c.start(ctx, n.Name+"/kubelet", n.NetNS, "sandbox-node", c.nodeArgs(n)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) nodeArgs(n plan.Node) []string {
	p := c.cfg.Plan
	dir := filepath.Join(c.cfg.Dir.Cluster(p.Name), n.Name)
	labels := []string{
		"topology.kubernetes.io/region=" + p.Region,
		"topology.kubernetes.io/zone=" + n.Zone,
	}
	return []string{
		"--kubeconfig", c.kubeconfigOf(n.Name),
		"--name", n.Name,
		"--ip", n.IP,
		"--root", filepath.Join(dir, "root"),
		"--run-dir", filepath.Join(dir, "run"),
		"--images", c.cfg.Dir.Images(),
		"--pod-cidr", n.PodCIDR,
		"--cluster-dns", p.DNSSvc,
		"--cluster-domain", plan.Domain,
		"--labels", strings.Join(labels, ","),
	}
}

func (c *Cluster) file(name string) string { return filepath.Join(c.pki, name) }

func (c *Cluster) kubeconfigOf(user string) string {
	return filepath.Join(c.cfg.Dir.Cluster(c.cfg.Plan.Name), user+".kubeconfig")
}

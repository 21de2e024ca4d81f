package cri

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// pod is one sandbox.
type pod struct {
	id      string
	config  *runtimeapi.PodSandboxConfig // never written
	handler string
	created int64

	mu    sync.Mutex // held while the network comes and goes
	ns    *os.File   // network namespace; nil for the node's and after the stop
	ip    netip.Addr
	ready bool
}

// hostNetwork says that the pod lives in the node's network.
func (p *pod) hostNetwork() bool {
	return p.config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE
}

// RunPodSandbox implements RuntimeService.
func (r *Runtime) RunPodSandbox(_ context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	if config.GetMetadata() == nil {
		return "", status.Error(codes.InvalidArgument, "pod sandbox without metadata")
	}
	if err := refuse(config, handler); err != nil {
		return "", err
	}
	p := &pod{id: newID(), config: config, handler: handler, created: now(), ready: true, ip: r.cfg.NodeIP}
	if err := r.writePodFiles(p); err != nil {
		return "", fmt.Errorf("pod %s/%s: %w", config.Metadata.Namespace, config.Metadata.Name, err)
	}
	if !p.hostNetwork() {
		var err error
		if p.ns, p.ip, err = r.net.attach(config.GetLinux().GetSysctls()); err != nil {
			os.RemoveAll(r.podDir(p.id))
			return "", fmt.Errorf("network of pod %s/%s: %w", config.Metadata.Namespace, config.Metadata.Name, err)
		}
	}
	r.mu.Lock()
	r.pods[p.id] = p
	r.mu.Unlock()
	r.log.Info("pod started", "namespace", config.Metadata.Namespace, "pod", config.Metadata.Name, "ip", p.ip)
	return p.id, nil
}

// refuse says no to what a pod would otherwise silently not get.
func refuse(config *runtimeapi.PodSandboxConfig, handler string) error {
	if handler != "" {
		return status.Errorf(codes.InvalidArgument, "runtime class handler %q: the sandbox has only the default one", handler)
	}
	for _, m := range config.GetPortMappings() {
		if m.HostPort != 0 && config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() != runtimeapi.NamespaceMode_NODE {
			return status.Errorf(codes.InvalidArgument, "hostPort %d: the sandbox has no host ports; use a Service", m.HostPort)
		}
	}
	ns := config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	// A sandbox without options says POD, the zero value, and means nothing by it.
	if ns != nil && ns.GetPid() == runtimeapi.NamespaceMode_POD {
		return status.Errorf(codes.InvalidArgument, "shareProcessNamespace: containers of the sandbox have their own PID namespace")
	}
	if ns.GetPid() == runtimeapi.NamespaceMode_NODE {
		return status.Errorf(codes.InvalidArgument, "hostPID: containers of the sandbox have their own PID namespace")
	}
	if u := ns.GetUsernsOptions(); u != nil && u.Mode != runtimeapi.NamespaceMode_NODE {
		return status.Errorf(codes.InvalidArgument, "hostUsers false: the sandbox has no user namespaces")
	}
	return nil
}

// writePodFiles makes the files of /etc that belong to the pod.
func (r *Runtime) writePodFiles(p *pod) error {
	dir := r.podDir(p.id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	hostname := p.hostname()
	files := map[string]string{
		"hostname": hostname + "\n",
		"hosts":    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
	}
	if dns := p.config.GetDnsConfig(); dns != nil {
		files["resolv.conf"] = resolvConf(dns)
	} else if b, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		files["resolv.conf"] = string(b)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if p.config.GetLogDirectory() == "" {
		return nil
	}
	return os.MkdirAll(p.config.LogDirectory, 0o755)
}

// hostname is the pod's, or the node's for pods of its network.
func (p *pod) hostname() string {
	if h := p.config.GetHostname(); h != "" {
		return h
	}
	h, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return h
}

// resolvConf writes a DNSConfig as resolv.conf.
func resolvConf(dns *runtimeapi.DNSConfig) string {
	var b strings.Builder
	if len(dns.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Searches, " "))
	}
	for _, s := range dns.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	return b.String()
}

// StopPodSandbox implements RuntimeService. A sandbox that is not there is
// stopped.
func (r *Runtime) StopPodSandbox(_ context.Context, id string) error {
	p, err := r.pod(id)
	if err != nil {
		return nil
	}
	for _, c := range r.containersOf(id) {
		c.kill()
		<-c.done()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = false
	if p.ns == nil {
		return nil
	}
	if err := r.net.detach(p.ns, p.ip); err != nil {
		return fmt.Errorf("network of pod %s/%s: %w", p.config.Metadata.Namespace, p.config.Metadata.Name, err)
	}
	p.ns = nil
	r.log.Info("pod stopped", "namespace", p.config.Metadata.Namespace, "pod", p.config.Metadata.Name)
	return nil
}

// RemovePodSandbox implements RuntimeService.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	if err := r.StopPodSandbox(ctx, id); err != nil {
		return err
	}
	for _, c := range r.containersOf(id) {
		if err := r.RemoveContainer(ctx, c.id); err != nil {
			return err
		}
	}
	r.mu.Lock()
	delete(r.pods, id)
	r.mu.Unlock()
	return os.RemoveAll(r.podDir(id))
}

func (r *Runtime) containersOf(podID string) []*container {
	return slices.DeleteFunc(r.allContainers(), func(c *container) bool { return c.pod.id != podID })
}

func (p *pod) state() runtimeapi.PodSandboxState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

// PodSandboxStatus implements RuntimeService.
func (r *Runtime) PodSandboxStatus(_ context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	p, err := r.pod(id)
	if err != nil {
		return nil, err
	}
	st := &runtimeapi.PodSandboxStatus{
		Id: p.id, Metadata: p.config.Metadata, State: p.state(), CreatedAt: p.created,
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{
			Options: p.config.GetLinux().GetSecurityContext().GetNamespaceOptions(),
		}},
		Labels: p.config.Labels, Annotations: p.config.Annotations, RuntimeHandler: p.handler,
	}
	if st.State == runtimeapi.PodSandboxState_SANDBOX_READY {
		st.Network = &runtimeapi.PodSandboxNetworkStatus{Ip: p.ip.String()}
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: st}, nil
}

// ListPodSandbox implements RuntimeService.
func (r *Runtime) ListPodSandbox(_ context.Context, f *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	r.mu.Lock()
	pods := make([]*pod, 0, len(r.pods))
	for _, p := range r.pods {
		pods = append(pods, p)
	}
	r.mu.Unlock()
	var out []*runtimeapi.PodSandbox
	for _, p := range pods {
		state := p.state()
		if f.GetId() != "" && f.Id != p.id || f.GetState() != nil && f.State.State != state || !matches(p.config.Labels, f.GetLabelSelector()) {
			continue
		}
		out = append(out, &runtimeapi.PodSandbox{
			Id: p.id, Metadata: p.config.Metadata, State: state, CreatedAt: p.created,
			Labels: p.config.Labels, Annotations: p.config.Annotations, RuntimeHandler: p.handler,
		})
	}
	// Newest first, as other runtimes answer.
	slices.SortFunc(out, func(a, b *runtimeapi.PodSandbox) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.Id, b.Id))
	})
	return out, nil
}

// UpdatePodSandboxResources implements RuntimeService: there are none to update.
func (r *Runtime) UpdatePodSandboxResources(_ context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	if _, err := r.pod(req.GetPodSandboxId()); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}

// netns returns the pod's network namespace as a new descriptor, nil for the
// node's.
func (p *pod) netns() (*os.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hostNetwork() {
		return nil, nil
	}
	if p.ns == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "pod sandbox %q is stopped", p.id)
	}
	return dup(p.ns)
}

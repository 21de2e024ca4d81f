package cri

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"isthmus.dev/sandbox/cri/shim"
	"isthmus.dev/sandbox/image"
)

// container is one container; it runs once.
type container struct {
	id      string
	pod     *pod
	config  *runtimeapi.ContainerConfig // never written
	image   image.Image
	user    user
	created int64
	logPath string // empty: nobody reads
	env     []string
	output  *output

	ended chan struct{} // closed when the container has exited

	mu       sync.Mutex
	state    runtimeapi.ContainerState
	proc     *process // nil before the start
	started  int64
	finished int64
	exitCode int32
	reason   string
	message  string
}

// CreateContainer implements RuntimeService.
func (r *Runtime) CreateContainer(_ context.Context, podID string, config *runtimeapi.ContainerConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	p, err := r.pod(podID)
	if err != nil {
		return "", err
	}
	if config.GetMetadata() == nil {
		return "", status.Error(codes.InvalidArgument, "container without metadata")
	}
	if len(config.Devices)+len(config.CDIDevices) > 0 {
		return "", status.Error(codes.InvalidArgument, "devices: the sandbox has none")
	}
	img, err := r.cfg.Images.Get(config.GetImage().GetImage())
	if err != nil {
		return "", fmt.Errorf("container %q: %w", config.Metadata.Name, err)
	}
	u, err := resolveUser(img, config.GetLinux().GetSecurityContext())
	if err != nil {
		return "", fmt.Errorf("container %q: %w", config.Metadata.Name, err)
	}
	c := &container{
		id: newID(), pod: p, config: config, image: img, user: u, created: now(),
		state: runtimeapi.ContainerState_CONTAINER_CREATED, ended: make(chan struct{}),
	}
	if dir := cmp.Or(sandbox.GetLogDirectory(), p.config.GetLogDirectory()); dir != "" && config.LogPath != "" {
		c.logPath = filepath.Join(dir, config.LogPath)
	}
	c.env = environment(img, config, p.hostname())
	c.output = newOutput(c.logPath)
	for _, sub := range []string{"upper", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(r.containerDir(c.id), sub), 0o755); err != nil {
			return "", err
		}
	}
	r.mu.Lock()
	r.containers[c.id] = c
	r.mu.Unlock()
	return c.id, nil
}

// environment is the image's, then the pod's over it.
func environment(img image.Image, config *runtimeapi.ContainerConfig, hostname string) []string {
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	vars := append([]string{path, "HOSTNAME=" + hostname}, img.Env...)
	for _, e := range config.Envs {
		vars = append(vars, e.Key+"="+string(e.Value))
	}
	if config.Tty {
		vars = append([]string{"TERM=xterm"}, vars...)
	}
	last := map[string]int{}
	for i, v := range vars {
		last[name(v)] = i
	}
	out := vars[:0:0]
	for i, v := range vars {
		if last[name(v)] == i { // said last counts
			out = append(out, v)
		}
	}
	return out
}

// StartContainer implements RuntimeService.
func (r *Runtime) StartContainer(_ context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != runtimeapi.ContainerState_CONTAINER_CREATED {
		return status.Errorf(codes.FailedPrecondition, "container %q is in state %v", id, c.state)
	}
	err = r.launch(c)
	if err != nil {
		c.state, c.reason, c.message, c.exitCode = runtimeapi.ContainerState_CONTAINER_EXITED, "StartError", err.Error(), 128
		c.started, c.finished = now(), now()
		c.output.close()
		close(c.ended)
		return fmt.Errorf("container %q: %w", c.config.Metadata.Name, err)
	}
	return nil
}

// launch starts the process. The container is locked.
func (r *Runtime) launch(c *container) error {
	ns, err := c.pod.netns()
	if err != nil {
		return err
	}
	if ns != nil {
		defer ns.Close()
	}
	if err := c.output.open(); err != nil {
		return err
	}
	sc := c.config.GetLinux().GetSecurityContext()
	dir := r.containerDir(c.id)
	spec := shim.Spec{
		Process: c.process(command(c.image, c.config), c.config.Tty),
		Root: &shim.Root{
			Lower: c.image.Root, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Target: filepath.Join(dir, "root"),
			Hostname: c.pod.hostname(), ReadOnly: sc.GetReadonlyRootfs(), Privileged: sc.GetPrivileged(),
			Network: ns != nil, Mounts: r.mounts(c),
		},
	}
	p, err := r.start(startConfig{
		mode: shim.Run, spec: spec, space: ns,
		stdin: c.config.Stdin, terminal: c.config.Tty, output: c.output,
	})
	if err != nil {
		return err
	}
	c.proc, c.state, c.started = p, runtimeapi.ContainerState_CONTAINER_RUNNING, now()
	go func() { // ends with the container, which ends with Run
		code := p.wait()
		c.output.close()
		c.exited(code)
		r.log.Info("container exited", "pod", c.pod.config.Metadata.Name, "container", c.config.Metadata.Name, "code", code)
	}()
	r.log.Info("container started", "pod", c.pod.config.Metadata.Name, "container", c.config.Metadata.Name)
	return nil
}

// process is a program of the container with the container's rights.
func (c *container) process(args []string, terminal bool) shim.Process {
	sc := c.config.GetLinux().GetSecurityContext()
	return shim.Process{
		Args: args, Env: c.env, Dir: cmp.Or(c.config.WorkingDir, c.image.WorkingDir, "/"),
		UID: c.user.uid, GID: c.user.gid, Groups: c.user.groups,
		Caps: capabilities(sc), NoNewPrivs: sc.GetNoNewPrivs(), Terminal: terminal,
	}
}

func (c *container) exited(code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.finished, c.exitCode = runtimeapi.ContainerState_CONTAINER_EXITED, now(), int32(code)
	c.reason = "Completed"
	if code != 0 {
		c.reason = "Error"
	}
	close(c.ended)
}

// running returns the process, or an error for whoever wants to use it.
func (c *container) running() (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is not running", c.config.Metadata.Name)
	}
	return c.proc, nil
}

// kill ends the container's processes without asking.
func (c *container) kill() {
	if p, err := c.running(); err == nil {
		p.signal(syscall.SIGKILL) // number 1 of its namespace: the rest goes with it
	}
}

// done is closed when no process of the container runs, also when none ever did.
func (c *container) done() <-chan struct{} {
	if _, err := c.running(); err == nil {
		return c.ended
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// StopContainer implements RuntimeService: the stop signal, then up to timeout
// seconds, then the end.
func (r *Runtime) StopContainer(ctx context.Context, id string, timeout int64) error {
	c, err := r.container(id)
	if err != nil {
		return nil // gone is stopped
	}
	p, err := c.running()
	if err != nil {
		return nil
	}
	if timeout > 0 {
		p.signal(c.stopSignal())
		select {
		case <-c.ended:
			return nil
		case <-time.After(time.Duration(timeout) * time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	p.signal(syscall.SIGKILL)
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *container) stopSignal() syscall.Signal {
	if s, ok := signalNumber(c.config.GetStopSignal()); ok {
		return s
	}
	return syscall.SIGTERM
}

// RemoveContainer implements RuntimeService.
func (r *Runtime) RemoveContainer(_ context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return nil
	}
	c.kill()
	<-c.done()
	r.mu.Lock()
	delete(r.containers, id)
	r.mu.Unlock()
	return os.RemoveAll(r.containerDir(id))
}

// ListContainers implements RuntimeService.
func (r *Runtime) ListContainers(_ context.Context, f *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	var out []*runtimeapi.Container
	for _, c := range r.allContainers() {
		c.mu.Lock()
		state := c.state
		c.mu.Unlock()
		if f.GetId() != "" && f.Id != c.id || f.GetPodSandboxId() != "" && f.PodSandboxId != c.pod.id ||
			f.GetState() != nil && f.State.State != state || !matches(c.config.Labels, f.GetLabelSelector()) {
			continue
		}
		out = append(out, &runtimeapi.Container{
			Id: c.id, PodSandboxId: c.pod.id, Metadata: c.config.Metadata, State: state, CreatedAt: c.created,
			Image: c.config.Image, ImageRef: c.image.ID, ImageId: c.image.ID,
			Labels: c.config.Labels, Annotations: c.config.Annotations,
		})
	}
	slices.SortFunc(out, func(a, b *runtimeapi.Container) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.Id, b.Id))
	})
	return out, nil
}

// ContainerStatus implements RuntimeService.
func (r *Runtime) ContainerStatus(_ context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	groups := make([]int64, 0, len(c.user.groups))
	for _, g := range c.user.groups {
		groups = append(groups, int64(g))
	}
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{
		Id: c.id, Metadata: c.config.Metadata, State: c.state,
		CreatedAt: c.created, StartedAt: c.started, FinishedAt: c.finished,
		ExitCode: c.exitCode, Reason: c.reason, Message: c.message,
		Image:    &runtimeapi.ImageSpec{Image: c.image.Ref, UserSpecifiedImage: c.config.GetImage().GetUserSpecifiedImage()},
		ImageRef: c.image.ID, ImageId: c.image.ID,
		Labels: c.config.Labels, Annotations: c.config.Annotations, Mounts: c.config.Mounts, LogPath: c.logPath,
		Resources:  &runtimeapi.ContainerResources{Linux: c.config.GetLinux().GetResources()},
		User:       &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{Uid: int64(c.user.uid), Gid: int64(c.user.gid), SupplementalGroups: groups}},
		StopSignal: c.config.GetStopSignal(),
	}}, nil
}

// UpdateContainerResources implements RuntimeService: accepted, and without
// effect like every limit here.
func (r *Runtime) UpdateContainerResources(_ context.Context, id string, _ *runtimeapi.ContainerResources) error {
	_, err := r.container(id)
	return err
}

// ReopenContainerLog implements RuntimeService.
func (r *Runtime) ReopenContainerLog(_ context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	if _, err := c.running(); err != nil {
		return err
	}
	return c.output.open()
}

// Package cri is the sandbox's container runtime: Kubernetes' container runtime
// interface for machines without a container engine. It runs in the process of
// the node it serves.
//
// A pod sandbox is a network namespace with an address of the node's range; it
// exists as a file descriptor and has no name. A container is a process that is
// number 1 of its own PID namespace, in a mount namespace whose root is an
// overlay of an image's files and a directory of its own. All of them die with
// the process that holds the Runtime, and a Runtime starts with none.
//
// Not there, and refused where a pod asks for it: host ports, shared PID
// namespaces, user namespaces, devices, checkpoints. Not there and ignored:
// resource limits, seccomp, AppArmor, SELinux, mount propagation, and the IPC
// namespace that the containers of a pod share elsewhere (each has its own).
package cri

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"

	"isthmus.dev/sandbox/image"
)

// Version is what the runtime says of itself in the node's status.
const Version = "1.0.0"

// Config says what a Runtime needs. Fields without a comment are required.
type Config struct {
	Dir     string       // private; emptied at the start
	Images  *image.Store // read at every use
	Shim    string       // path of the sandbox-shim program
	PodCIDR netip.Prefix // its first address is the pods' gateway

	// NodeIP is the address of pods in the node's own network.
	NodeIP netip.Addr

	Log *slog.Logger // nil discards
}

// Runtime is a container runtime. Make it with New and give it life with Run.
type Runtime struct {
	cfg   Config
	log   *slog.Logger
	net   *network
	spawn *spawner
	ready chan struct{} // closed when Run is ready for pods

	mu         sync.Mutex
	streams    streaming.Server // nil before Run
	pods       map[string]*pod
	containers map[string]*container
}

// Both services are complete: everything they promise is here or says that it
// is not.
var (
	_ internalapi.RuntimeService      = (*Runtime)(nil)
	_ internalapi.ImageManagerService = (*Images)(nil)
)

// New returns a Runtime with no pods. It starts nothing.
func New(cfg Config) (*Runtime, error) {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	network, err := newNetwork(cfg.PodCIDR)
	if err != nil {
		return nil, err
	}
	r := &Runtime{
		cfg: cfg, log: log, net: network, spawn: newSpawner(), ready: make(chan struct{}),
		pods: map[string]*pod{}, containers: map[string]*container{},
	}
	return r, nil
}

// Run prepares the node's network and serves exec, attach and port-forward
// until the context ends; then it kills what runs. It is called once; pods may
// come when Ready says so.
func (r *Runtime) Run(ctx context.Context) error {
	if err := os.RemoveAll(r.cfg.Dir); err != nil {
		return fmt.Errorf("remove what an earlier runtime left: %w", err)
	}
	if err := os.MkdirAll(r.cfg.Dir, 0o711); err != nil {
		return err
	}
	if err := r.net.prepare(); err != nil {
		return fmt.Errorf("prepare the node's network: %w", err)
	}
	server, listener, err := r.listen()
	if err != nil {
		return fmt.Errorf("streaming server: %w", err)
	}
	// The spawner outlives the context, or its containers would be killed
	// before anybody stops them.
	rest := context.WithoutCancel(ctx)
	spawning, stop := context.WithCancel(rest)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { r.spawn.run(spawning) })
	close(r.ready)
	served := make(chan error, 1)
	wg.Go(func() { served <- server.Serve(listener) })
	select {
	case err = <-served:
		err = fmt.Errorf("streaming server: %w", err)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return errors.Join(err, r.stopPods(rest), server.Close())
}

// Ready is closed when Run is ready for pods.
func (r *Runtime) Ready() <-chan struct{} { return r.ready }

// listen makes the server of exec, attach and port-forward; the kubelet is its
// only client. The streaming package could listen itself, but it learns its
// address while others ask for it.
func (r *Runtime) listen() (*http.Server, net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	c := streaming.DefaultConfig
	c.Addr = l.Addr().String()
	streams, err := streaming.NewServer(c, &streamer{r})
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	r.mu.Lock()
	r.streams = streams
	r.mu.Unlock()
	return &http.Server{Handler: streams}, l, nil
}

// streaming returns the server of streams, which exists while Run runs.
func (r *Runtime) streaming() (streaming.Server, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.streams == nil {
		return nil, errStopped
	}
	return r.streams, nil
}

// stopPods ends every pod.
func (r *Runtime) stopPods(ctx context.Context) error {
	r.mu.Lock()
	ids := slices.Collect(maps.Keys(r.pods))
	r.mu.Unlock()
	var errs []error
	for _, id := range ids {
		errs = append(errs, r.StopPodSandbox(ctx, id))
	}
	return errors.Join(errs...)
}

func (r *Runtime) allContainers() []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*container, 0, len(r.containers))
	for _, c := range r.containers {
		out = append(out, c)
	}
	return out
}

// pod returns a sandbox or the error that the kubelet understands.
func (r *Runtime) pod(id string) (*pod, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.pods[id]; ok {
		return p, nil
	}
	return nil, status.Errorf(codes.NotFound, "pod sandbox %q not found", id)
}

func (r *Runtime) container(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.containers[id]; ok {
		return c, nil
	}
	return nil, status.Errorf(codes.NotFound, "container %q not found", id)
}

// newID returns an identifier as other runtimes make them.
func newID() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (r *Runtime) podDir(id string) string       { return filepath.Join(r.cfg.Dir, "pods", id) }
func (r *Runtime) containerDir(id string) string { return filepath.Join(r.cfg.Dir, "containers", id) }

// Version implements RuntimeService.
func (r *Runtime) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: "0.1.0", RuntimeName: "isthmus-sandbox", RuntimeVersion: Version, RuntimeApiVersion: "v1",
	}, nil
}

// Status implements RuntimeService.
func (r *Runtime) Status(context.Context, bool) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			{Type: runtimeapi.RuntimeReady, Status: true},
			{Type: runtimeapi.NetworkReady, Status: true},
		}},
		RuntimeHandlers: []*runtimeapi.RuntimeHandler{{Features: &runtimeapi.RuntimeHandlerFeatures{}}},
		Features:        &runtimeapi.RuntimeFeatures{},
	}, nil
}

// RuntimeConfig implements RuntimeService. There are no cgroups to drive.
func (r *Runtime) RuntimeConfig(context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS}}, nil
}

// UpdateRuntimeConfig implements RuntimeService. Pod ranges are fixed.
func (r *Runtime) UpdateRuntimeConfig(context.Context, *runtimeapi.RuntimeConfig) error { return nil }

// Close implements RuntimeService; the end of Run is what ends a Runtime.
func (r *Runtime) Close(context.Context) error { return nil }

// GetContainerEvents implements RuntimeService: not offered, the kubelet polls.
func (r *Runtime) GetContainerEvents(context.Context, chan *runtimeapi.ContainerEventResponse, func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	return unimplemented("container events")
}

// CheckpointContainer implements RuntimeService: not offered.
func (r *Runtime) CheckpointContainer(context.Context, *runtimeapi.CheckpointContainerRequest) error {
	return unimplemented("checkpoints")
}

// CheckpointPod implements RuntimeService: not offered.
func (r *Runtime) CheckpointPod(context.Context, *runtimeapi.CheckpointPodRequest) error {
	return unimplemented("checkpoints")
}

// RestorePod implements RuntimeService: not offered.
func (r *Runtime) RestorePod(context.Context, *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	return nil, unimplemented("checkpoints")
}

func unimplemented(what string) error {
	return status.Errorf(codes.Unimplemented, "the sandbox's container runtime has no %s", what)
}

// matches reports whether labels has everything in selector.
func matches(labels, selector map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func now() int64 { return time.Now().UnixNano() }

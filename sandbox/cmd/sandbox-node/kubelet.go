package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	noop "go.opentelemetry.io/otel/trace/noop"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kubelet/app"
	kubeletoptions "k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	kubeletutil "k8s.io/kubernetes/pkg/kubelet/util"
	"k8s.io/kubernetes/pkg/util/oom"
	"k8s.io/kubernetes/pkg/volume/util/hostutil"
	"k8s.io/kubernetes/pkg/volume/util/subpath"
	"k8s.io/mount-utils"

	"isthmus.dev/sandbox/cri"
	"isthmus.dev/sandbox/image"
)

// serve runs the container runtime and the kubelet until the context ends.
func serve(ctx context.Context, o options) error {
	if err := logTo(o.verbosity); err != nil {
		return err
	}
	store := image.NewStore(o.images)
	runtime, err := cri.New(cri.Config{
		Dir: o.runDir, Images: store, Shim: o.shim, PodCIDR: o.podCIDR, NodeIP: o.ip,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- runtime.Run(ctx) }()
	select {
	case <-runtime.Ready():
	case err := <-ended:
		return fmt.Errorf("container runtime: %w", err)
	}
	if err := kubelet(ctx, o, runtime, cri.NewImages(store)); err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	err = <-ended
	if ctx.Err() != nil {
		return nil // asked to end
	}
	return fmt.Errorf("container runtime: %w", err)
}

// logTo tells the kubelet's logger how much to say.
func logTo(verbosity int) error {
	f := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(f)
	return f.Parse([]string{"-logtostderr=true", "-v=" + strconv.Itoa(verbosity)})
}

// kubelet starts the kubelet; it runs as long as the process.
func kubelet(ctx context.Context, o options, runtime *cri.Runtime, images *cri.Images) error {
	server, err := settings(o)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	heartbeat, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	deps, err := app.UnsecuredDependencies(ctx, server, utilfeature.DefaultFeatureGate)
	if err != nil {
		return err
	}
	deps.KubeClient, deps.HeartbeatClient, deps.EventClient = client, heartbeat, client.CoreV1()
	deps.RemoteRuntimeService, deps.RemoteImageService = runtime, images
	// Without systemd: its transient units would mount outside our namespace.
	deps.Mounter = mount.NewWithoutSystemd("")
	deps.Subpather = subpath.New(deps.Mounter)
	deps.HostUtil = hostutil.NewHostUtil()
	deps.CAdvisorInterface = &machine{name: o.name, dir: o.root}
	deps.ContainerManager = cm.NewStubContainerManager()
	deps.OOMAdjuster = oom.NewFakeOOMAdjuster()
	deps.PodStartupLatencyTracker = kubeletutil.NewPodStartupLatencyTracker()
	deps.NodeStartupLatencyTracker = kubeletutil.NewNodeStartupLatencyTracker(klog.FromContext(ctx))
	deps.TracerProvider = noop.NewTracerProvider()
	if err := reachable(ctx, client); err != nil {
		return err
	}
	return app.RunKubelet(ctx, server, deps)
}

// reachable waits for the API server: the kubelet itself would try to register
// with growing pauses.
func reachable(ctx context.Context, client kubernetes.Interface) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, 2*time.Minute, true, func(context.Context) (bool, error) {
		_, last = client.Discovery().ServerVersion()
		return last == nil, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("API server: %w", last)
	}
	return err
}

// settings are the kubelet's, without whatever needs cgroups or an init system.
func settings(o options) (*kubeletoptions.KubeletServer, error) {
	flags := kubeletoptions.NewKubeletFlags()
	flags.RootDirectory = o.root
	flags.CertDirectory = filepath.Join(o.root, "pki")
	flags.HostnameOverride = o.name
	flags.NodeIP = o.ip.String()
	flags.NodeLabels = o.labels

	c, err := kubeletoptions.NewKubeletConfiguration()
	if err != nil {
		return nil, err
	}
	c.Address = o.ip.String()
	c.PodLogsDir = filepath.Join(o.root, "logs")
	c.VolumePluginDir = filepath.Join(o.root, "volumeplugins")
	c.ClusterDomain = o.domain
	if o.dns != "" {
		c.ClusterDNS = []string{o.dns}
	}
	c.RegisterNode = true
	c.CgroupsPerQOS = false
	c.EnforceNodeAllocatable = nil
	c.EnableControllerAttachDetach = false
	c.LocalStorageCapacityIsolation = false
	c.FailSwapOn = false
	c.SerializeImagePulls = false
	c.NodeLeaseDurationSeconds = 40
	c.EventRecordQPS = 0 // no limit
	c.SyncFrequency = metav1.Duration{Duration: 10 * time.Second}
	// The machine's disk is not the sandbox's to manage.
	c.EvictionHard = map[string]string{}
	c.ImageGCHighThresholdPercent = 100
	// Whoever reaches a node's address is inside the sandbox already.
	c.Authentication.Webhook.Enabled = false
	c.Authentication.Anonymous.Enabled = true
	c.Authorization.Mode = "AlwaysAllow"
	if err := os.MkdirAll(c.PodLogsDir, 0o755); err != nil {
		return nil, err
	}
	return &kubeletoptions.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *c}, nil
}

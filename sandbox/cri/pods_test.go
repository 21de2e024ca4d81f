package cri

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	utilexec "k8s.io/utils/exec"
)

func sorted(in []string) []string { return slices.Sorted(slices.Values(in)) }

// programs lists the processes of containers: they execute /testprog.
func programs(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range dirs {
		cmdline, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if err == nil && bytes.HasPrefix(cmdline, []byte("/testprog")) {
			out = append(out, strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return out
}

// links lists the node's ends of pods' networks.
func links(t *testing.T) []string {
	t.Helper()
	all, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range all {
		if strings.HasPrefix(l.Attrs().Name, "pod") {
			out = append(out, l.Attrs().Name)
		}
	}
	return out
}

func (w *world) ip(pod string) string {
	w.t.Helper()
	st, err := w.r.PodSandboxStatus(w.t.Context(), pod, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return st.Status.GetNetwork().GetIp()
}

func TestPodsReachEachOther(t *testing.T) {
	w := newWorld(t)
	server, config := w.pod(nil)
	s := w.containerIn(server, config, nil, "serve", ":80") // not root: any user may have port 80
	w.says(s, "stdout F ready")
	caller, config := w.pod(nil)
	c := w.containerIn(caller, config, nil, "dial", w.ip(server)+":80")
	w.ended(c)
	if diff := cmp.Diff([]string{"stdout F " + w.ip(caller)}, w.entries(c)); diff != "" {
		t.Errorf("the server sees its caller (-want +got):\n%s", diff)
	}
	conn, err := net.DialTimeout("tcp", w.ip(server)+":80", 3*time.Second)
	if err != nil {
		t.Fatalf("the node reaches the pod: %v", err)
	}
	conn.Close()
}

func TestPodAddressesAreNotReusedAtOnce(t *testing.T) {
	w := newWorld(t)
	var got []string
	for range 15 { // more than the range has
		id, _ := w.pod(nil)
		got = append(got, w.ip(id))
		if err := w.r.StopPodSandbox(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for i := range 15 {
		want = append(want, fmt.Sprintf("10.99.0.%d", 2+i%13))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if l := links(t); len(l) > 0 {
		t.Errorf("links left: %v", l)
	}
}

func TestPodAddressesRunOut(t *testing.T) {
	w := newWorld(t)
	for range 13 {
		w.pod(nil)
	}
	_, err := w.r.RunPodSandbox(t.Context(), &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "last"}}, "")
	if err == nil || !strings.Contains(err.Error(), "all addresses are in use") {
		t.Errorf("RunPodSandbox: %v, want it to say that the range is used up", err)
	}
}

func TestPodHasItsFilesAndSettings(t *testing.T) {
	w := newWorld(t)
	pod, config := w.pod(func(c *runtimeapi.PodSandboxConfig) {
		c.DnsConfig = &runtimeapi.DNSConfig{Servers: []string{"10.0.0.10"}, Searches: []string{"a.test", "b.test"}, Options: []string{"ndots:5"}}
		c.Linux = &runtimeapi.LinuxPodSandboxConfig{Sysctls: map[string]string{"net.ipv4.ip_local_port_range": "20000\t30000"}}
	})
	id := w.containerIn(pod, config, nil, "cat", "/etc/resolv.conf", "cat", "/proc/sys/net/ipv4/ip_local_port_range")
	w.ended(id)
	want := []string{"stdout F search a.test b.test", "stdout F nameserver 10.0.0.10", "stdout F options ndots:5", "stdout F 20000\t30000"}
	if diff := cmp.Diff(want, w.entries(id)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestHostNetwork(t *testing.T) {
	w := newWorld(t)
	pod, config := w.pod(func(c *runtimeapi.PodSandboxConfig) {
		c.Linux = &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER},
		}}
	})
	if got, want := w.ip(pod), "192.0.2.1"; got != want {
		t.Errorf("address %q, want the node's, %q", got, want)
	}
	id := w.containerIn(pod, config, nil, "serve", "127.0.0.1:4711")
	w.says(id, "stdout F ready")
	conn, err := net.DialTimeout("tcp", "127.0.0.1:4711", 3*time.Second)
	if err != nil {
		t.Fatalf("the node's loopback: %v", err)
	}
	conn.Close()
}

func TestRemovedPodLeavesNothing(t *testing.T) {
	w := newWorld(t)
	pod, config := w.pod(nil)
	w.says(w.containerIn(pod, config, nil, "child", "stubborn"), "stdout F ready")
	if err := w.r.StopPodSandbox(t.Context(), pod); err != nil {
		t.Fatalf("StopPodSandbox: %v", err)
	}
	pods, err := w.r.ListPodSandbox(t.Context(), nil)
	if err != nil || len(pods) != 1 || pods[0].State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("ListPodSandbox: %v, %v; want the stopped pod", pods, err)
	}
	if err := w.r.RemovePodSandbox(t.Context(), pod); err != nil {
		t.Fatalf("RemovePodSandbox: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(w.dir, "run/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	containers, err := w.r.ListContainers(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(left) + len(containers) + len(links(t)) + len(programs(t)); got != 0 {
		t.Errorf("left: files %v, containers %v, links %v, programs %v", left, containers, links(t), programs(t))
	}
}

func TestEverythingEndsWithRun(t *testing.T) {
	t.Run("Inside", func(t *testing.T) {
		w := newWorld(t)
		w.says(w.container(nil, "child", "stubborn"), "stdout F ready")
	})
	if got := programs(t); len(got) > 0 {
		t.Errorf("still running: %v", got)
	}
}

func TestDescriptorsAreGivenBack(t *testing.T) {
	w := newWorld(t)
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	once := func() {
		pod, config := w.pod(nil)
		id := w.containerIn(pod, config, func(c *runtimeapi.ContainerConfig) { c.Stdin = true }, "graceful")
		for _, cmd := range [][]string{{"/testprog", "say", "x"}, {"nope"}} {
			_, _, _ = w.r.ExecSync(t.Context(), id, cmd, time.Minute) // what it says is tested elsewhere
		}
		var out bytes.Buffer
		if err := (&streamer{w.r}).Exec(t.Context(), id, []string{"/testprog", "say", "x"}, strings.NewReader(""), &buffer{&out}, nil, true, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.r.RemovePodSandbox(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	once()
	before := count()
	for range 10 {
		once()
	}
	w.eventually(fmt.Sprintf("as few as before, %d, are open", before), func() bool { return count() <= before })
}

func TestUnknownIDs(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, podErr := w.r.PodSandboxStatus(ctx, "nope", false)
	_, ctrErr := w.r.ContainerStatus(ctx, "nope", false)
	_, _, execErr := w.r.ExecSync(ctx, "nope", []string{"x"}, 0)
	_, statErr := w.r.ContainerStats(ctx, "nope")
	for name, err := range map[string]error{
		"PodSandboxStatus": podErr, "ContainerStatus": ctrErr, "ExecSync": execErr, "ContainerStats": statErr,
		"StartContainer": w.r.StartContainer(ctx, "nope"), "ReopenContainerLog": w.r.ReopenContainerLog(ctx, "nope"),
	} {
		if got := status.Code(err); got != codes.NotFound {
			t.Errorf("%s: code %v, want %v", name, got, codes.NotFound)
		}
	}
	for name, err := range map[string]error{
		"StopPodSandbox": w.r.StopPodSandbox(ctx, "nope"), "RemovePodSandbox": w.r.RemovePodSandbox(ctx, "nope"),
		"StopContainer": w.r.StopContainer(ctx, "nope", 1), "RemoveContainer": w.r.RemoveContainer(ctx, "nope"),
	} {
		if err != nil {
			t.Errorf("%s: %v, want nil: what is not there is gone", name, err)
		}
	}
}

func TestRefusedPods(t *testing.T) {
	w := newWorld(t)
	options := func(o *runtimeapi.NamespaceOption) *runtimeapi.PodSandboxConfig {
		return &runtimeapi.PodSandboxConfig{
			Metadata: &runtimeapi.PodSandboxMetadata{Name: "p"},
			Linux:    &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: o}},
		}
	}
	cases := map[string]struct {
		config  *runtimeapi.PodSandboxConfig
		handler string
		want    string
	}{
		"NoMetadata": {&runtimeapi.PodSandboxConfig{}, "", "without metadata"},
		"Handler":    {options(nil), "gvisor", `"gvisor"`},
		"HostPort":   {&runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{}, PortMappings: []*runtimeapi.PortMapping{{HostPort: 80}}}, "", "hostPort 80"},
		"HostPID":    {options(&runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_NODE}), "", "hostPID"},
		"SharedPID":  {options(&runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_POD}), "", "shareProcessNamespace"},
		"Users":      {options(&runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER, UsernsOptions: &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD}}), "", "hostUsers"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := w.r.RunPodSandbox(t.Context(), tc.config, tc.handler)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("RunPodSandbox: %v, want it to say %q", err, tc.want)
			}
		})
	}
}

// buffer is a client's end of an output stream.
type buffer struct{ io.Writer }

func (b *buffer) Close() error { return nil }

func TestStreams(t *testing.T) {
	w := newWorld(t)
	s := &streamer{w.r}
	id := w.container(func(c *runtimeapi.ContainerConfig) { c.Stdin, c.StdinOnce = true, true }, "stdin")
	t.Run("Exec", func(t *testing.T) {
		var out, errOut bytes.Buffer
		err := s.Exec(t.Context(), id, []string{"/testprog", "stdin", "complain", "e", "exit", "5"}, strings.NewReader("a\nb\n"),
			&buffer{Writer: &out}, &buffer{Writer: &errOut}, false, nil)
		if exit, ok := err.(utilexec.ExitError); !ok || exit.ExitStatus() != 5 {
			t.Errorf("Exec: %v, want exit status 5", err)
		}
		if diff := cmp.Diff("got a\ngot b\nend\n|e", out.String()+"|"+errOut.String()); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
	})
	t.Run("ExecTerminal", func(t *testing.T) {
		var out bytes.Buffer
		if err := s.Exec(t.Context(), id, []string{"/testprog", "say", "a\n"}, nil, &buffer{Writer: &out}, nil, true, nil); err != nil {
			t.Errorf("Exec: %v", err)
		}
		if diff := cmp.Diff("a\r\n", out.String()); diff != "" { // a terminal adds the return
			t.Errorf("output (-want +got):\n%s", diff)
		}
	})
	t.Run("Attach", func(t *testing.T) {
		var out bytes.Buffer
		if err := s.Attach(t.Context(), id, strings.NewReader("x\n"), &buffer{Writer: &out}, nil, false, nil); err != nil {
			t.Errorf("Attach: %v", err)
		}
		if diff := cmp.Diff("got x\nend\n", out.String()); diff != "" { // the input's end is the container's
			t.Errorf("output (-want +got):\n%s", diff)
		}
	})
	t.Run("PortForward", func(t *testing.T) {
		pod, config := w.pod(nil)
		w.says(w.containerIn(pod, config, nil, "serve", "127.0.0.1:80"), "stdout F ready")
		ours, theirs := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- s.PortForward(t.Context(), pod, 80, theirs) }()
		if _, err := ours.Read(make([]byte, 32)); err != nil { // the greeting
			t.Fatal(err)
		}
		if _, err := io.WriteString(ours, "echo"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(ours, got); err != nil || string(got) != "echo" {
			t.Errorf("read %q, %v", got, err)
		}
		ours.Close()
		if err := <-done; err != nil {
			t.Errorf("PortForward: %v", err)
		}
		ours, theirs = net.Pipe()
		defer ours.Close()
		if err := s.PortForward(t.Context(), pod, 81, theirs); err == nil || !strings.Contains(err.Error(), "port 81") {
			t.Errorf("PortForward to a closed port: %v, want it to name the port", err)
		}
	})
	t.Run("URLs", func(t *testing.T) {
		pod, config := w.pod(nil)
		id := w.containerIn(pod, config, nil, "sleep")
		e, err := w.r.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"x"}, Stdout: true})
		if err != nil || !strings.HasPrefix(e.Url, "http://127.0.0.1:") {
			t.Errorf("Exec: %v, %v", e, err)
		}
		a, err := w.r.Attach(t.Context(), &runtimeapi.AttachRequest{ContainerId: id, Stdout: true})
		if err != nil || !strings.HasPrefix(a.Url, "http://127.0.0.1:") {
			t.Errorf("Attach: %v, %v", a, err)
		}
		p, err := w.r.PortForward(t.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: pod})
		if err != nil || !strings.HasPrefix(p.Url, "http://127.0.0.1:") {
			t.Errorf("PortForward: %v, %v", p, err)
		}
	})
}

func TestImages(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	st, err := w.images.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: "example.test/prog:1"}, false)
	if err != nil || st.Image == nil {
		t.Fatalf("ImageStatus: %v, %v", st, err)
	}
	if st.Image.Username != "app" || st.Image.Uid != nil {
		t.Errorf("user %q, %v; want the name", st.Image.Username, st.Image.Uid)
	}
	byID, err := w.images.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: st.Image.Id}, false)
	if err != nil || byID.Image.GetId() != st.Image.Id {
		t.Errorf("ImageStatus by ID: %v, %v", byID, err)
	}
	unknown, err := w.images.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: "no/such:1"}, false)
	if err != nil || unknown.Image != nil {
		t.Errorf("ImageStatus of an unknown image: %v, %v; want nothing", unknown, err)
	}
	if _, err := w.images.PullImage(ctx, &runtimeapi.ImageSpec{Image: "no/such:1"}, nil, nil); err == nil || !strings.Contains(err.Error(), `"no/such:1"`) {
		t.Errorf("PullImage of an unknown image: %v, want it to name the image", err)
	}
	if err := w.images.RemoveImage(ctx, &runtimeapi.ImageSpec{Image: "no/such:1"}); err != nil {
		t.Errorf("RemoveImage of an unknown image: %v", err)
	}
	all, err := w.images.ListImages(ctx, nil)
	if err != nil || len(all) != 1 {
		t.Errorf("ListImages: %v, %v; want one", all, err)
	}
}

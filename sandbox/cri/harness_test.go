package cri

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"isthmus.dev/sandbox/image"
)

const (
	insideEnv   = "CRI_TEST_INSIDE"   // set within the test's own namespaces
	programsEnv = "CRI_TEST_PROGRAMS" // directory of the programs that the tests start
)

// TestMain runs the tests in namespaces of their own: they make links and
// change settings of the network, and everything has to be gone afterwards.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		if err := ownProc(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests run containers: run them as root")
		os.Exit(1)
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// outside builds the programs and runs the tests in new namespaces.
func outside() (int, error) {
	dir, err := os.MkdirTemp("", "cri-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	build := exec.Command("go", "build", "-o", dir+"/", "isthmus.dev/sandbox/cri/testprog", "isthmus.dev/sandbox/cmd/sandbox-shim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1", programsEnv+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// ownProc shows the PID namespace.
func ownProc() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount("proc", "/proc", "proc", 0, "")
}

// world is a runtime with an image, on a node of its own.
type world struct {
	t       *testing.T
	r       *Runtime
	images  *Images
	store   *image.Store
	dir     string
	started int // counts pods
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // containers of other users come here
			t.Fatal(err)
		}
	}
	img := filepath.Join(dir, "img")
	program, err := os.ReadFile(filepath.Join(os.Getenv(programsEnv), "testprog"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(img, "testprog"), string(program))
	if err := os.Chmod(filepath.Join(img, "testprog"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(img, "image.json"), `{"entrypoint": ["/testprog"], "cmd": ["say", "default"], "env": ["FROM=image"], "user": "app"}`)
	write(t, filepath.Join(img, "etc/passwd"), "root:x:0:0::/:\napp:x:1000:1001::/:\n")
	store := image.NewStore(filepath.Join(dir, "images"))
	if _, err := store.Add("example.test/prog:1", img); err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{
		Dir: filepath.Join(dir, "run"), Images: store, Shim: filepath.Join(os.Getenv(programsEnv), "sandbox-shim"),
		PodCIDR: netip.MustParsePrefix("10.99.0.0/28"), NodeIP: netip.MustParseAddr("192.0.2.1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v, want %v", err, context.Canceled)
		}
	})
	w := &world{t: t, r: r, images: NewImages(store), store: store, dir: dir}
	select {
	case <-r.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("Run: %v", err)
	}
	return w
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// pod starts a sandbox.
func (w *world) pod(change func(*runtimeapi.PodSandboxConfig)) (string, *runtimeapi.PodSandboxConfig) {
	w.t.Helper()
	w.started++
	name := fmt.Sprintf("pod%d", w.started)
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name}, Hostname: name,
		LogDirectory: filepath.Join(w.dir, "logs", name), Labels: map[string]string{"pod": name},
	}
	if change != nil {
		change(config)
	}
	id, err := w.r.RunPodSandbox(w.t.Context(), config, "")
	if err != nil {
		w.t.Fatalf("RunPodSandbox: %v", err)
	}
	return id, config
}

// container makes and starts a container of a new pod; args are for testprog.
func (w *world) container(change func(*runtimeapi.ContainerConfig), args ...string) string {
	w.t.Helper()
	pod, config := w.pod(nil)
	return w.containerIn(pod, config, change, args...)
}

func (w *world) containerIn(pod string, sandbox *runtimeapi.PodSandboxConfig, change func(*runtimeapi.ContainerConfig), args ...string) string {
	w.t.Helper()
	config := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, Image: &runtimeapi.ImageSpec{Image: "example.test/prog:1"},
		Args: args, LogPath: "c.log",
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{}},
	}
	if change != nil {
		change(config)
	}
	id, err := w.r.CreateContainer(w.t.Context(), pod, config, sandbox)
	if err != nil {
		w.t.Fatalf("CreateContainer: %v", err)
	}
	if err := w.r.StartContainer(w.t.Context(), id); err != nil {
		w.t.Fatalf("StartContainer: %v", err)
	}
	return id
}

func (w *world) status(id string) *runtimeapi.ContainerStatus {
	w.t.Helper()
	st, err := w.r.ContainerStatus(w.t.Context(), id, false)
	if err != nil {
		w.t.Fatalf("ContainerStatus: %v", err)
	}
	return st.Status
}

// ended waits for the end and returns the status.
func (w *world) ended(id string) *runtimeapi.ContainerStatus {
	w.t.Helper()
	w.eventually("the container ends", func() bool {
		return w.status(id).State == runtimeapi.ContainerState_CONTAINER_EXITED
	})
	return w.status(id)
}

// entries are the lines of a container's log without their time.
func (w *world) entries(id string) []string {
	w.t.Helper()
	data, err := os.ReadFile(w.status(id).LogPath)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		stamp, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
			w.t.Errorf("log line %q: %v", line, err)
		}
		out = append(out, rest)
	}
	return out
}

// says waits until a container's log has a line.
func (w *world) says(id, entry string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("the log says %q", entry), func() bool {
		for _, e := range w.entries(id) {
			if e == entry {
				return true
			}
		}
		return false
	})
}

// eventually waits for what another process does: there is no clock to turn.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain: %s", what)
		}
	}
}

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

// sandbox runs the command under test.
type sandbox struct {
	t   *testing.T
	bin string
	app string // image directory of the test's own program
}

// build makes the command and the image of the test's program.
func build(t *testing.T) *sandbox {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &sandbox{t: t, bin: filepath.Join(dir, "sandbox"), app: filepath.Join(dir, "app")}
	for out, pkg := range map[string]string{s.bin: "isthmus.dev/sandbox/cmd/sandbox", filepath.Join(s.app, "app"): "isthmus.dev/sandbox/e2e/app"} {
		cmd := exec.Command("go", "build", "-o", out, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, b)
		}
	}
	if err := os.WriteFile(filepath.Join(s.app, "image.json"), []byte(`{"entrypoint": ["/app"], "user": "1000"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.try("status"); err == nil {
		t.Fatal("a sandbox is running already, and this test would end it")
	}
	return s
}

// try runs the command with a time limit.
func (s *sandbox) try(args ...string) (string, error) {
	return s.in("", args...)
}

func (s *sandbox) in(stdin string, args ...string) (string, error) {
	// Not canceled with the test: what cleans up needs it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run is try for what must work.
func (s *sandbox) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.try(args...)
	if err != nil {
		t.Fatalf("sandbox %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// kubectl runs kubectl on a cluster's first node.
func (s *sandbox) kubectl(t *testing.T, cluster string, args ...string) string {
	t.Helper()
	return s.run(t, append([]string{"exec", cluster, "--", "kubectl"}, args...)...)
}

func (s *sandbox) apply(t *testing.T, cluster, manifest string) {
	t.Helper()
	if out, err := s.in(manifest, "exec", cluster, "--", "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("apply in %s: %v\n%s", cluster, err, out)
	}
}

// curl fetches a URL from somewhere; what is the command's output, also when it fails.
func (s *sandbox) curl(where string, args ...string) (string, error) {
	return s.try(append([]string{"exec", where, "--", "curl", "-sS", "-f", "--max-time", "3"}, args...)...)
}

// eventually asks again until f says that it is content.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// machine is what a sandbox must leave as it found it.
type machine struct {
	Links      []string
	Mounts     []string
	Rules      string
	Namespaces []string // named network namespaces
	Forward    string
}

// look takes stock of the machine.
func look(t *testing.T) machine {
	t.Helper()
	var m machine
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		m.Links = append(m.Links, l.Attrs().Name)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	m.Mounts = strings.Split(string(mounts), "\n")
	rules, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft list ruleset: %v\n%s", err, rules)
	}
	m.Rules = string(rules)
	named, _ := filepath.Glob("/run/netns/*")
	m.Namespaces = named
	forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		t.Fatal(err)
	}
	m.Forward = string(bytes.TrimSpace(forward))
	return m
}

// inhabitants are the namespaces of a process and all of its descendants.
type inhabitants map[string]bool

// inhabitantsOf looks who lives in the sandbox whose first process is pid.
func inhabitantsOf(t *testing.T, pid int) inhabitants {
	t.Helper()
	children := map[int][]int{}
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p.pid)
	}
	ours, out := inhabitants{}, inhabitants{}
	for _, ns := range namespaces(os.Getpid()) {
		ours[ns] = true
	}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		for _, ns := range namespaces(queue[0]) {
			if !ours[ns] {
				out[ns] = true
			}
		}
		queue = append(queue, children[queue[0]]...)
	}
	if len(out) < 3 {
		t.Fatalf("process %d has namespaces %v only", pid, out)
	}
	return out
}

// alive lists the processes that are in one of the namespaces.
func (in inhabitants) alive() []string {
	var out []string
	for _, p := range processes() {
		if slices.ContainsFunc(namespaces(p.pid), func(ns string) bool { return in[ns] }) {
			out = append(out, fmt.Sprintf("%d %s", p.pid, p.name))
		}
	}
	return out
}

// gone says that nobody is left in the namespaces.
func (in inhabitants) gone(t *testing.T, when string) {
	t.Helper()
	var left []string
	for range 50 {
		if left = in.alive(); len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%s these processes are left: %s", when, strings.Join(left, ", "))
}

func namespaces(pid int) []string {
	var out []string
	for _, kind := range []string{"pid", "net", "mnt", "ipc"} {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)); err == nil {
			out = append(out, ns)
		}
	}
	return out
}

type proc struct {
	pid, parent int
	name        string
}

func processes() []proc {
	var out []proc
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it ended meanwhile
		}
		open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
		p := proc{name: string(b[open+1 : end])}
		var state string
		fmt.Sscan(string(b[:open]), &p.pid)
		fmt.Sscan(string(b[end+1:]), &state, &p.parent)
		out = append(out, p)
	}
	return out
}

// unchanged compares the machine with what it was.
func unchanged(t *testing.T, before machine, when string) {
	t.Helper()
	// The kernel removes namespaces in the background.
	var diff string
	for range 50 {
		if diff = cmp.Diff(before, look(t)); diff == "" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("the machine %s (-before +after):\n%s", when, diff)
}

// Package e2e proves the sandbox with one real sandbox. It needs root, and
// the machine's one place for a sandbox.
package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSandbox starts two clusters once and asks everything of them in turn.
func TestSandbox(t *testing.T) {
	s := build(t)
	before := look(t)
	s.run(t, "up", "--clusters", "a,b")
	t.Cleanup(func() { s.try("down") }) // does nothing when the test got to its own "down"

	t.Run("SecondUpRefuses", func(t *testing.T) {
		out, err := s.try("up", "--clusters", "c")
		if err == nil || !strings.Contains(out, "clusters a, b") {
			t.Errorf("a second up said %v, want a refusal that names clusters a, b:\n%s", err, out)
		}
	})
	s.run(t, "image", "add", "example.test/app:1", s.app)
	for _, c := range []string{"a", "b"} {
		s.apply(t, c, fmt.Sprintf(appYAML, c))
	}
	for _, c := range []string{"a", "b"} {
		s.kubectl(t, c, "wait", "--for=condition=Available", "--timeout=60s", "deployment/app")
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *sandbox)
	}{
		{"Kubeconfig", kubeconfig},
		{"Topology", topology},
		{"LogsAndExec", logsAndExec},
		{"UnknownImage", unknownImage},
		{"LoadBalancer", loadBalancer},
		{"PodsAreHidden", podsAreHidden},
		{"Names", names},
		{"Inside", inside},
		{"Trust", trust},
		{"CutAndHeal", cutAndHeal},
		{"AddressChanges", addressChanges},
		{"UserChain", userChain},
		{"Istio", istio},
		{"Restart", restart},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, s) })
	}

	all := inhabitantsOf(t, initPID(t, s))
	s.run(t, "down")
	unchanged(t, before, "after down")
	all.gone(t, "after down")
	if out, err := s.try("status"); err == nil || !strings.Contains(out, "no sandbox is running") {
		t.Errorf("status after down: %v\n%s", err, out)
	}
}

// TestKilled kills a sandbox the hard way: nothing but files may be left, and
// the next up is not disturbed by them.
func TestKilled(t *testing.T) {
	s := build(t)
	before := look(t)
	for _, victim := range []string{"init", "daemon"} {
		s.run(t, "up", "--no-istio")
		pid := initPID(t, s)
		all := inhabitantsOf(t, pid)
		if victim == "daemon" {
			// The daemon is the first child; later ones are orphans.
			running := processes()
			i := slices.IndexFunc(running, func(p proc) bool { return p.parent == pid })
			if i < 0 {
				t.Fatalf("process %d has no child", pid)
			}
			pid = running[i].pid
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		all.gone(t, "after kill -9 of "+victim)
		unchanged(t, before, "after kill -9 of "+victim)
	}
	s.run(t, "up", "--no-istio", "--nodes", "2")
	twoNodes(t, s)
	s.run(t, "down")
	unchanged(t, before, "after down")
}

// TestInterrupted presses Ctrl-C in the middle of up.
func TestInterrupted(t *testing.T) {
	s := build(t)
	before := look(t)
	cmd := exec.Command(s.bin, "up", "--no-istio")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // a failure must not leave it to the next test
		_ = cmd.Process.Kill()
		_, _ = s.try("down")
	})
	var all inhabitants
	eventually(t, "a sandbox on its way", func() error {
		running := processes()
		i := slices.IndexFunc(running, func(p proc) bool { return p.parent == cmd.Process.Pid && p.name != "go" })
		if i < 0 {
			return errors.New("no process of it yet")
		}
		time.Sleep(2 * time.Second) // now it has some
		all = inhabitantsOf(t, running[i].pid)
		return nil
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("up was interrupted and exited with 0")
	}
	unchanged(t, before, "after Ctrl-C")
	all.gone(t, "after Ctrl-C")
	if _, err := os.Stat("/run/isthmus-sandbox"); !os.IsNotExist(err) {
		t.Errorf("state directory after Ctrl-C: %v, want none", err)
	}
}

func initPID(t *testing.T, s *sandbox) int {
	t.Helper()
	var st struct {
		Sandbox struct {
			PID int `json:"pid"`
		} `json:"sandbox"`
	}
	if err := json.Unmarshal([]byte(s.run(t, "status", "-o", "json")), &st); err != nil {
		t.Fatal(err)
	}
	return st.Sandbox.PID
}

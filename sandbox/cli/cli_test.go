package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"isthmus.dev/sandbox/plan"
	"isthmus.dev/sandbox/state"
)

// newApp returns commands over an empty state directory.
func newApp(t *testing.T) (*app, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	dir := state.Dir(filepath.Join(t.TempDir(), "state"))
	if err := os.MkdirAll(string(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return &app{dir: dir, out: &out, errout: &out}, &out
}

// pretend writes down a running sandbox: this test's own process.
func pretend(t *testing.T, a *app) {
	t.Helper()
	p, err := plan.New(plan.Request{Clusters: []string{"east", "west"}})
	if err != nil {
		t.Fatal(err)
	}
	birth, err := state.Birth(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	err = a.dir.Save(state.Sandbox{PID: os.Getpid(), Birth: birth, Started: time.Unix(0, 0), Plan: p})
	if err != nil {
		t.Fatal(err)
	}
}

// Every command that needs a sandbox says that there is none, and how to get one.
func TestNoSandbox(t *testing.T) {
	for name, args := range map[string][]string{
		"Status": {}, "Kubeconfig": {"a"}, "Exec": {"wan", "true"}, "Cut": {"a"}, "Heal": {"a"}, "Down": {},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := newApp(t)
			for _, cmd := range a.commands() {
				if cmd.Name() != strings.ToLower(name) {
					continue
				}
				cmd.SetArgs(args)
				cmd.SilenceUsage, cmd.SilenceErrors = true, true
				if err := cmd.ExecuteContext(t.Context()); !errors.Is(err, state.ErrNone) {
					t.Errorf("%s: %v, want %v", cmd.Name(), err, state.ErrNone)
				}
			}
		})
	}
}

// A second up names the first, and leaves it alone.
func TestSecondUp(t *testing.T) {
	a, _ := newApp(t)
	pretend(t, a)
	first, err := a.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = a.lock()
	if err == nil || !strings.Contains(err.Error(), "clusters east, west") {
		t.Errorf("a second lock: %v, want a refusal that names the clusters east, west", err)
	}
	if err := a.sweep(); err == nil {
		t.Error("the state of a running sandbox was swept away")
	}
	first.Close()
	if err := a.sweep(); err != nil {
		t.Errorf("sweep once nobody holds the lock: %v", err)
	}
}

// A number that the kernel gave to another process is not a sandbox.
func TestRecycledPID(t *testing.T) {
	a, _ := newApp(t)
	if err := a.dir.Save(state.Sandbox{PID: os.Getpid(), Birth: "1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.dir.Load(); !errors.Is(err, state.ErrNone) {
		t.Errorf("Load = %v, want %v", err, state.ErrNone)
	}
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		run  func(context.Context, *app) error
		want string
	}{
		"UnknownCluster": {func(_ context.Context, a *app) error { return a.exec("north", []string{"true"}) }, "east, west"},
		"UnknownNode":    {func(_ context.Context, a *app) error { return a.exec("east/node2", []string{"true"}) }, "node2"},
		"BadName":        {func(ctx context.Context, a *app) error { return a.up(ctx, plan.Request{Clusters: []string{"East"}}) }, "East"},
		"NoImage": {func(ctx context.Context, a *app) error {
			cmd := a.imageCommand()
			cmd.SilenceUsage, cmd.SilenceErrors = true, true
			cmd.SetArgs([]string{"add", "x:1", t.TempDir()})
			return cmd.ExecuteContext(ctx)
		}, "image.json"},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := newApp(t)
			pretend(t, a)
			if err := tc.run(t.Context(), a); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that names %q", err, tc.want)
			}
		})
	}
}

func TestKubeconfig(t *testing.T) {
	a, out := newApp(t)
	pretend(t, a)
	if err := os.MkdirAll(a.dir.Cluster("west"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.dir.HostKubeconfig("west"), []byte("west's"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := a.kubeconfigCommand()
	cmd.SetArgs([]string{"west"})
	if err := cmd.ExecuteContext(t.Context()); err != nil || out.String() != "west's" {
		t.Errorf("kubeconfig west: %q, %v", out, err)
	}
}

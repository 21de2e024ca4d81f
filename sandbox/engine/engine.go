// Package engine builds the programs that a sandbox runs and keeps them in a
// cache: Kubernetes, etcd, Istio and CoreDNS from their Go modules, Envoy from
// the Python package index, and the sandbox's own node.
package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Versions of what is built. Changing one changes its place in the cache.
const (
	Kubernetes   = "1.37.2"
	Istio        = "1.31.0-eed52ebb66ad"
	Etcd         = "3.7.3"
	CoreDNS      = "1.15.0"
	Envoy        = "1.40.0"
	istioRelease = "v0.0.0-20260827124520-eed52ebb66ad"
)

// Engine is one thing to build. Its zero Dir means the sandbox's own module.
type Engine struct {
	Name    string
	Version string
	Dir     string            // module directory, relative to the sandbox's source
	Sources []string          // files and directories whose content decides, relative to the source
	Go      map[string]string // program name → Go package
	Flags   string            // -ldflags
	// After runs in the output directory when the programs are there; with
	// no Go packages it makes everything.
	After func(ctx context.Context, b *Builder, out string, log io.Writer) error
}

// All lists the engines; the slow ones come first.
func All() []Engine {
	k8s := func(cmd string) string { return "k8s.io/kubernetes/cmd/" + cmd }
	version := "k8s.io/component-base/version."
	k8sFlags := fmt.Sprintf("-s -w -X %[1]sgitVersion=v%[2]s -X %[1]sgitMajor=1 -X %[1]sgitMinor=37 -X %[1]sgitTreeState=clean -X %[1]sbuildDate=2026-01-01T00:00:00Z", version, Kubernetes)
	mod := []string{"go.mod", "go.sum"}
	return []Engine{
		{
			Name: "kubernetes", Version: Kubernetes, Sources: mod, Flags: k8sFlags,
			Go: map[string]string{
				"kube-apiserver": k8s("kube-apiserver"), "kube-controller-manager": k8s("kube-controller-manager"),
				"kube-scheduler": k8s("kube-scheduler"), "kube-proxy": k8s("kube-proxy"), "kubectl": k8s("kubectl"),
			},
		},
		{
			Name: "istio", Version: Istio, Dir: "engines/istio", Sources: under("engines/istio", mod),
			Flags: "-s -w -X istio.io/istio/pkg/version.buildVersion=" + Istio + " -X istio.io/istio/pkg/version.buildGitRevision=" + istioRelease,
			Go: map[string]string{
				"istioctl":        "istio.io/istio/istioctl/cmd/istioctl",
				"pilot-discovery": "istio.io/istio/pilot/cmd/pilot-discovery",
				"pilot-agent":     "istio.io/istio/pilot/cmd/pilot-agent",
			},
			After: bootstrap,
		},
		{
			Name: "coredns", Version: CoreDNS, Dir: "engines/coredns", Sources: under("engines/coredns", append([]string{"main.go"}, mod...)),
			Flags: "-s -w", Go: map[string]string{"coredns": "."},
		},
		{
			Name: "etcd", Version: Etcd, Dir: "engines/etcd", Sources: under("engines/etcd", mod),
			Flags: "-s -w", Go: map[string]string{"etcd": "go.etcd.io/etcd/server/v3"},
		},
		{Name: "envoy", Version: Envoy, After: envoy},
		{
			Name: "node", Version: "dev", Flags: k8sFlags,
			Sources: append([]string{"cri", "image", "cmd/sandbox-node", "cmd/sandbox-shim"}, mod...),
			Go:      map[string]string{"sandbox-node": "./cmd/sandbox-node", "sandbox-shim": "./cmd/sandbox-shim"},
		},
	}
}

// Set is where the built engines are: program name → path.
type Set map[string]string

// Builder builds engines into a cache.
type Builder struct {
	Source string // the sandbox's source directory
	Cache  string // holds a directory per engine
	// Progress is told what happens, one line at a time.
	Progress func(format string, args ...any)
}

// FindSource returns the directory of the sandbox's Go module: what
// ISTHMUS_SANDBOX_SOURCE names, or the nearest "sandbox" directory above the
// running program or the working directory.
func FindSource() (string, error) {
	if dir := os.Getenv("ISTHMUS_SANDBOX_SOURCE"); dir != "" {
		return dir, nil
	}
	var starts []string
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	for _, dir := range starts {
		for {
			for _, try := range []string{dir, filepath.Join(dir, "sandbox")} {
				if b, err := os.ReadFile(filepath.Join(try, "go.mod")); err == nil && strings.HasPrefix(string(b), "module isthmus.dev/sandbox\n") {
					return try, nil
				}
			}
			if dir == filepath.Dir(dir) {
				break
			}
			dir = filepath.Dir(dir)
		}
	}
	return "", fmt.Errorf("the sandbox's source is needed to build its engines: run inside a clone of Isthmus or set ISTHMUS_SANDBOX_SOURCE")
}

// CacheDir is ISTHMUS_CACHE or ~/.cache/isthmus, with "engines" below it.
func CacheDir() (string, error) {
	if dir := os.Getenv("ISTHMUS_CACHE"); dir != "" {
		return filepath.Join(dir, "engines"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("where to cache engines (set ISTHMUS_CACHE): %w", err)
	}
	return filepath.Join(home, ".cache", "isthmus", "engines"), nil
}

// Build makes sure that every engine is in the cache and returns their
// programs. Two builders of one cache wait for each other.
func (b *Builder) Build(ctx context.Context, engines []Engine) (Set, error) {
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(b.Cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	set := Set{}
	for _, e := range engines {
		dir, err := b.place(e)
		if err != nil {
			return nil, fmt.Errorf("engine %s: %w", e.Name, err)
		}
		if _, err := os.Stat(dir); err != nil {
			if err := b.build(ctx, e, dir); err != nil {
				return nil, fmt.Errorf("engine %s %s: %w", e.Name, e.Version, err)
			}
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			set[f.Name()] = filepath.Join(dir, f.Name())
		}
	}
	return set, nil
}

// place is an engine's directory: its name carries everything that decides
// what is in it.
func (b *Builder) place(e Engine) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, e.Name, e.Version, e.Flags, envoyWheel)
	for _, src := range e.Sources {
		err := filepath.WalkDir(filepath.Join(b.Source, src), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%s %x\n", d.Name(), sha256.Sum256(data))
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	sum := hex.EncodeToString(h.Sum(nil))[:12]
	return filepath.Join(b.Cache, fmt.Sprintf("%s-%s-%s", e.Name, e.Version, sum)), nil
}

// build makes one engine beside its place and moves it there when complete.
func (b *Builder) build(ctx context.Context, e Engine, dir string) error {
	start := time.Now()
	b.Progress("building %s %s", e.Name, e.Version)
	out, err := os.MkdirTemp(b.Cache, ".building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(out)
	if err := os.Chmod(out, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(b.Cache, e.Name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()

	stop := b.tick(e.Name, start)
	err = b.run(ctx, e, out, log)
	stop()
	if err != nil {
		return fmt.Errorf("%w\n%s(whole log: %s)", err, tail(log.Name()), log.Name())
	}
	if err := os.Rename(out, dir); err != nil {
		return err
	}
	b.Progress("built %s %s in %s", e.Name, e.Version, time.Since(start).Round(time.Second))
	return b.prune(e.Name)
}

// prune keeps the three newest builds of an engine: they are large, and a
// running sandbox uses one of the last.
func (b *Builder) prune(name string) error {
	all, err := filepath.Glob(filepath.Join(b.Cache, name+"-*"))
	if err != nil {
		return err
	}
	age := map[string]time.Time{}
	for _, dir := range all {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		age[dir] = info.ModTime()
	}
	slices.SortFunc(all, func(a, b string) int { return age[b].Compare(age[a]) })
	for _, dir := range all[min(3, len(all)):] {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

func (b *Builder) run(ctx context.Context, e Engine, out string, log io.Writer) error {
	if len(e.Go) > 0 {
		if _, err := exec.LookPath("go"); err != nil {
			return errors.New("Go is needed to build it: see https://go.dev/doc/install")
		}
		// One invocation builds what the programs share once.
		args := []string{"build", "-trimpath", "-ldflags", e.Flags, "-o", out + "/"}
		pkgs := make([]string, 0, len(e.Go))
		for _, pkg := range e.Go {
			pkgs = append(pkgs, pkg)
		}
		slices.Sort(pkgs)
		if len(pkgs) == 1 {
			for name := range e.Go {
				args[len(args)-1] = filepath.Join(out, name)
			}
		}
		cmd := exec.CommandContext(ctx, "go", append(args, pkgs...)...)
		cmd.Dir = filepath.Join(b.Source, e.Dir)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			return cmp.Or(context.Cause(ctx), fmt.Errorf("go build: %w", err))
		}
	}
	if e.After != nil {
		return e.After(ctx, b, out, log)
	}
	return nil
}

// tick says every twenty seconds that a build still runs.
func (b *Builder) tick(name string, start time.Time) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(20 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				b.Progress("  still building %s after %s", name, time.Since(start).Round(time.Second))
			}
		}
	}()
	return func() { close(done); <-ended }
}

func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil || len(data) == 0 {
		return ""
	}
	lines := strings.SplitAfter(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "") + "\n"
}

func under(dir string, files []string) []string {
	out := make([]string, 0, len(files))
	for _, f := range files {
		out = append(out, filepath.Join(dir, f))
	}
	return out
}

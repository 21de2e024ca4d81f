package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"isthmus.dev/sandbox/daemon"
	"isthmus.dev/sandbox/engine"
	"isthmus.dev/sandbox/plan"
)

func (a *app) upCommand() *cobra.Command {
	var r plan.Request
	var detach bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start clusters and return when they are ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.up(cmd.Context(), r); err != nil || detach {
				return err
			}
			<-cmd.Context().Done()
			return a.down(context.WithoutCancel(cmd.Context()))
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&r.Clusters, "clusters", []string{"a"}, "names of the clusters")
	f.IntVar(&r.Nodes, "nodes", 1, "nodes per cluster")
	f.StringToIntVar(&r.NodesIn, "nodes-in", nil, "nodes of clusters that have another number of them, as CLUSTER=NUMBER")
	f.BoolVar(&r.NoIstio, "no-istio", false, "leave Istio out")
	f.StringSliceVar(&r.OwnRoot, "own-root", nil, "clusters whose Istio has a root certificate of its own")
	f.StringToStringVar(&r.Regions, "region", nil, "regions of clusters, as CLUSTER=REGION (default region-1, region-2, …)")
	f.StringToStringVar(&r.Trust, "trust-domain", nil, "trust domains of clusters, as CLUSTER=DOMAIN (default cluster.local); each takes the others' identities")
	f.BoolVar(&detach, "detach", true, "return when ready; with --detach=false wait for Ctrl-C and end the sandbox then")
	return cmd
}

func (a *app) up(ctx context.Context, r plan.Request) error {
	p, err := plan.New(r)
	if err != nil {
		return err
	}
	if err := a.prerequisites(); err != nil {
		return err
	}
	lock, err := a.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	begin := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(a.errout, "[%5.1fs] %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
	programs, cache, err := a.build(ctx, p.Istio, say)
	if err != nil {
		return err
	}
	if err := a.remove(); err != nil {
		return err
	}
	boot := daemon.Boot{Dir: a.dir, Plan: p, Programs: programs, Path: searchPath(programs), Cache: filepath.Join(filepath.Dir(cache), "manifests")}
	s, err := daemon.Spawn(ctx, boot, lock, func(line string) { say("%s", line) })
	if err != nil {
		if ctx.Err() != nil {
			return errors.Join(fmt.Errorf("up: %w", err), a.remove())
		}
		return fmt.Errorf("up: %w\nlogs are in %s", err, a.dir.Logs())
	}
	say("ready: %s", strings.Join(s.Plan.Names(), ", "))
	fmt.Fprintf(a.errout, "Use it: export KUBECONFIG=%s\nEnd it: sandbox down\n", a.dir.HostKubeconfig(s.Plan.Clusters[0].Name))
	return nil
}

// lock makes sure that there is one sandbox on the machine. The kernel frees
// the lock when the last process that holds it has ended.
func (a *app) lock() (*os.File, error) {
	f, err := os.OpenFile(a.dir.Lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if s, err := a.dir.Load(); err == nil {
			return nil, fmt.Errorf("a sandbox is running already: clusters %s, process %d, since %s (end it with: sandbox down)",
				strings.Join(s.Plan.Names(), ", "), s.PID, s.Started.Format(time.RFC3339))
		}
		return nil, errors.New("another \"sandbox up\" is at work")
	}
	return f, nil
}

// sweep removes the files of a sandbox that has ended.
func (a *app) sweep() error {
	lock, err := a.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	return a.remove()
}

// remove deletes the state directory. Whoever calls it holds the lock, so
// nothing can be mounted below it.
func (a *app) remove() error {
	if err := os.RemoveAll(string(a.dir)); err != nil {
		return fmt.Errorf("remove what an earlier sandbox left: %w", err)
	}
	return nil
}

// build makes the engines that are needed and returns their programs.
func (a *app) build(ctx context.Context, istio bool, say func(string, ...any)) (engine.Set, string, error) {
	source, err := engine.FindSource()
	if err != nil {
		return nil, "", err
	}
	cache, err := engine.CacheDir()
	if err != nil {
		return nil, "", err
	}
	engines := engine.All()
	if !istio {
		engines = slices.DeleteFunc(engines, func(e engine.Engine) bool { return e.Name == "istio" || e.Name == "envoy" })
	}
	b := &engine.Builder{Source: source, Cache: cache, Progress: say}
	set, err := b.Build(ctx, engines)
	return set, cache, err
}

func (a *app) enginesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "engines", Short: "Build the programs that sandboxes run"}
	cmd.AddCommand(&cobra.Command{
		Use: "path PROGRAM", Short: "Print where a built program is, such as kubectl or istioctl", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, _, err := a.build(cmd.Context(), true, func(format string, args ...any) {
				fmt.Fprintf(a.errout, format+"\n", args...)
			})
			if err != nil {
				return err
			}
			if set[args[0]] == "" {
				return fmt.Errorf("engines path: no program %q, only %s", args[0], strings.Join(slices.Sorted(maps.Keys(set)), ", "))
			}
			fmt.Fprintln(a.out, set[args[0]])
			return nil
		},
	})
	cmd.AddCommand(&cobra.Command{
		Use: "build", Short: "Build what is not in the cache yet", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			begin := time.Now()
			set, cache, err := a.build(cmd.Context(), true, func(format string, args ...any) {
				fmt.Fprintf(a.errout, "[%5.1fs] %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%d programs are ready in %s\n", len(set), cache)
			return nil
		},
	})
	return cmd
}

// prerequisites names everything that is missing, at once.
func (a *app) prerequisites() error {
	if os.Geteuid() != 0 {
		return errors.New("up: root is needed to make network namespaces; run it with sudo")
	}
	var missing []string
	for _, p := range []struct{ program, pkg string }{
		{"nft", "nftables"}, {"iptables", "iptables"}, {"iptables-restore", "iptables"}, {"nsenter", "util-linux"},
	} {
		if _, err := exec.LookPath(p.program); err != nil {
			missing = append(missing, fmt.Sprintf("program %s (apt-get install %s)", p.program, p.pkg))
		}
	}
	fs, err := os.ReadFile("/proc/filesystems")
	if err == nil && !strings.Contains(string(fs), "\toverlay\n") {
		missing = append(missing, "kernel file system overlay (modprobe overlay)")
	}
	if len(missing) > 0 {
		return fmt.Errorf("up: missing on this machine: %s", strings.Join(missing, "; "))
	}
	return nil
}

// searchPath lists the directories of the engines' programs, as in PATH.
func searchPath(programs engine.Set) string {
	dirs := map[string]bool{}
	for _, p := range programs {
		dirs[filepath.Dir(p)] = true
	}
	var out []string
	for d := range dirs {
		out = append(out, d)
	}
	slices.Sort(out)
	return strings.Join(out, ":")
}

// initCommand and daemonCommand are the sandbox's own first processes.
func initCommand() *cobra.Command {
	return &cobra.Command{
		Use: "init BOOT", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := readBoot(args[0])
			if err != nil {
				return err
			}
			return daemon.Init(args[0], len(b.Plan.Clusters))
		},
	}
}

func daemonCommand() *cobra.Command {
	return &cobra.Command{
		Use: "daemon BOOT", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := readBoot(args[0])
			if err != nil {
				return err
			}
			return daemon.Run(cmd.Context(), b)
		},
	}
}

func readBoot(file string) (daemon.Boot, error) {
	var b daemon.Boot
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	if err != nil {
		return b, fmt.Errorf("boot file %s: %w", file, err)
	}
	return b, nil
}

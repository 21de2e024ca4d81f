// Command sandbox-node is a Kubernetes node in one process: the real kubelet,
// and the sandbox's container runtime under it. It runs in the network namespace
// that is to be the node's, and its containers end with it.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	// The main thread must not be lent to code that moves a thread into a
	// pod's namespaces: /proc/self is the main thread.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox-node:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	kubeconfig string
	name       string
	ip         netip.Addr
	root       string // the kubelet's directory
	images     string // the image store
	runDir     string // the runtime's directory
	podCIDR    netip.Prefix
	dns        string
	domain     string
	labels     map[string]string
	shim       string
	verbosity  int
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("sandbox-node", flag.ContinueOnError)
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "how to reach the API server `file`")
	f.StringVar(&o.name, "name", "", "the node's `name`")
	f.TextVar(&o.ip, "ip", netip.Addr{}, "the node's `address`; the kubelet serves there")
	f.StringVar(&o.root, "root", "", "the kubelet's `directory`")
	f.StringVar(&o.images, "images", "", "the image store's `directory`")
	f.StringVar(&o.runDir, "run-dir", "", "the container runtime's `directory`; emptied at the start")
	f.TextVar(&o.podCIDR, "pod-cidr", netip.Prefix{}, "the `range` of the node's pods")
	f.StringVar(&o.dns, "cluster-dns", "", "the `address` of the cluster's DNS service")
	f.StringVar(&o.domain, "cluster-domain", "cluster.local", "the cluster's DNS `domain`")
	f.StringVar(&o.shim, "shim", "", "path of the sandbox-shim `program` (default: beside this one)")
	f.IntVar(&o.verbosity, "v", 1, "how much the kubelet logs")
	labels := f.String("labels", "", "the node's labels, `key=value,…`")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for name, missing := range map[string]bool{
		"kubeconfig": o.kubeconfig == "", "name": o.name == "", "ip": !o.ip.IsValid(), "root": o.root == "",
		"images": o.images == "", "run-dir": o.runDir == "", "pod-cidr": !o.podCIDR.IsValid(),
	} {
		if missing {
			return o, fmt.Errorf("flag --%s is missing", name)
		}
	}
	o.labels = map[string]string{}
	for pair := range strings.SplitSeq(*labels, ",") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			o.labels[key] = value
		} else if pair != "" {
			return o, fmt.Errorf("label %q is not key=value", pair)
		}
	}
	if o.shim == "" {
		self, err := os.Executable()
		if err != nil {
			return o, err
		}
		o.shim = filepath.Join(filepath.Dir(self), "sandbox-shim")
	}
	if _, err := os.Stat(o.shim); err != nil {
		return o, fmt.Errorf("the container runtime's helper: %w", err)
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if err := ownMounts(); err != nil {
		return err
	}
	return serve(ctx, o)
}

// inside marks the second start of this program.
const inside = "SANDBOX_NODE_MOUNTS"

// ownMounts gives the process a mount namespace of its own by executing the
// program again in one. The volumes that the kubelet mounts end with it, and
// what the kubelet writes below /var/log, wherever it is told to put things,
// does not reach the machine.
func ownMounts() error {
	if os.Getenv(inside) != "" {
		os.Unsetenv(inside)
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/var/log", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("private /var/log: %w", err)
	}
	return unix.Exec(self, os.Args, append(os.Environ(), inside+"=1"))
}

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"isthmus.dev/sandbox/cluster"
	"isthmus.dev/sandbox/pki"
	"isthmus.dev/sandbox/plan"
	"isthmus.dev/sandbox/process"
	"isthmus.dev/sandbox/state"
	"isthmus.dev/sandbox/wan"
)

// Daemon is a running sandbox, seen from inside.
type Daemon struct {
	boot     Boot
	net      *wan.Network
	names    *wan.Names
	procs    *process.Set
	clusters map[string]*cluster.Cluster
	lifeline *os.File // "up" listens at the other end

	mu  sync.Mutex // guards cut and the bundle of trusted certificates
	cut map[string]bool
}

// Run builds the sandbox that b describes and keeps it until ctx ends.
func Run(ctx context.Context, b Boot) error {
	unix.CloseOnExec(firstFile)
	d := &Daemon{
		boot:     b,
		procs:    process.New(b.Dir.Logs(), b.Path+":"+SystemPath),
		clusters: map[string]*cluster.Cluster{},
		lifeline: os.NewFile(firstFile, "lifeline"),
		cut:      map[string]bool{},
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := d.run(ctx, cancel)
	if err != nil {
		// If nobody listens any more, the log has it.
		_ = say(d.lifeline, lineFailed, err.Error())
	}
	return err
}

func (d *Daemon) run(ctx context.Context, cancel context.CancelCauseFunc) error {
	if err := d.prepare(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.names.Serve(ctx, net.JoinHostPort(plan.DNS, "53")) })
	g.Go(func() error { return d.control(ctx) })
	for i := range d.boot.Plan.Clusters {
		g.Go(func() error { return d.proxy(ctx, i) })
	}
	g.Go(func() error {
		if err := d.up(ctx, g); err != nil {
			return err
		}
		err := say(d.lifeline, lineReady, "")
		return errors.Join(err, d.lifeline.Close())
	})
	err := g.Wait()
	cancel(err)
	return err
}

// prepare makes network, name server and images.
func (d *Daemon) prepare() error {
	b := d.boot
	if err := d.mounts(); err != nil {
		return err
	}
	var err error
	if d.net, err = wan.Build(b.Plan, b.Dir.NetNS()); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	if d.names, err = wan.NewNames(b.Dir.Path("dns.json")); err != nil {
		return fmt.Errorf("name server: %w", err)
	}
	if err := builtinImages(b); err != nil {
		return fmt.Errorf("images: %w", err)
	}
	return nil
}

// mounts gives everything inside the WAN's name server and its list of
// trusted authorities. The machine's own files stay as they are.
func (d *Daemon) mounts() error {
	b := d.boot
	if err := os.WriteFile(b.Dir.ResolvConf(), []byte("nameserver "+plan.DNS+"\n"), 0o644); err != nil {
		return err
	}
	if err := bind(b.Dir.ResolvConf(), "/etc/resolv.conf"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.Dir.Trust()), 0o755); err != nil {
		return err
	}
	system, err := os.ReadFile(systemTrust)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(b.Dir.Trust(), system, 0o644); err != nil {
		return err
	}
	return bind(b.Dir.Trust(), systemTrust)
}

// systemTrust is Debian's bundle of trusted authorities.
const systemTrust = "/etc/ssl/certs/ca-certificates.crt"

// bind mounts a file over another one, if the other exists.
func bind(from, to string) error {
	if _, err := os.Stat(to); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s over %s: %w", from, to, err)
	}
	return nil
}

// up brings all clusters up side by side. Load balancers go on in g.
func (d *Daemon) up(ctx context.Context, g *errgroup.Group) error {
	if err := d.etcd(ctx); err != nil {
		return err
	}
	root, err := pki.NewRoot("Sandbox root")
	if err != nil {
		return err
	}
	var ups sync.WaitGroup
	for _, p := range d.boot.Plan.Clusters {
		c, err := cluster.New(cluster.Config{
			Plan: p, Istio: d.boot.Plan.Istio, Dir: d.boot.Dir, Programs: d.boot.Programs,
			Procs: d.procs, NS: d.net.NS, Root: root, HostPort: p.HostPort, Cache: d.boot.Cache,
			SetLB: d.net.SetLB, Progress: d.progress,
		})
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.clusters[p.Name] = c
		d.mu.Unlock()
		ups.Add(1)
		// In g, so that a failure of one cluster ends the others' attempts.
		g.Go(func() error {
			defer ups.Done()
			return c.Up(ctx)
		})
		g.Go(func() error { return c.Balance(ctx) })
	}
	ups.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// etcd starts the store that all clusters share, each under its own prefix.
func (d *Daemon) etcd(ctx context.Context) error {
	url := "http://" + net.JoinHostPort(plan.Etcd, "2379")
	err := d.procs.Start(ctx, process.Spec{
		Name: "etcd",
		Path: d.boot.Programs["etcd"],
		Args: []string{
			"--data-dir=" + d.boot.Dir.Path("etcd"),
			"--listen-client-urls=" + url, "--advertise-client-urls=" + url,
			"--listen-peer-urls=http://127.0.0.1:2380",
			"--unsafe-no-fsync", "--log-level=warn", "--quota-backend-bytes=2147483648",
		},
	})
	if err != nil {
		return err
	}
	return waitTCP(ctx, net.JoinHostPort(plan.Etcd, "2379"), 30*time.Second)
}

// progress tells "up", which may have gone: that only matters before the
// sandbox is ready, and then the next line or the last one fails too.
func (d *Daemon) progress(format string, args ...any) {
	if err := say(d.lifeline, lineProgress, fmt.Sprintf(format, args...)); errors.Is(err, unix.EPIPE) {
		slog.Error("the command that started this sandbox is gone before it was ready")
		os.Exit(1)
	}
}

// proxy carries connections from the machine's loopback to an API server.
func (d *Daemon) proxy(ctx context.Context, i int) error {
	f := os.NewFile(uintptr(firstFile+1+i), "listener")
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("inherited listener: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	target := net.JoinHostPort(d.boot.Plan.Clusters[i].API, fmt.Sprint(plan.APIPort))
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		in, err := l.Accept()
		if err != nil {
			return context.Cause(ctx)
		}
		wg.Go(func() { splice(ctx, in, target) })
	}
}

// splice joins two connections until one of them ends.
func splice(ctx context.Context, in net.Conn, target string) {
	defer in.Close()
	out, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer out.Close()
	stop := context.AfterFunc(ctx, func() { in.Close(); out.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(out, in)
		out.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(in, out)
	in.(*net.TCPConn).CloseWrite()
	<-done
}

func waitTCP(ctx context.Context, addr string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", addr, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Status is the answer to "sandbox status -o json".
type Status struct {
	Sandbox   state.Sandbox     `json:"sandbox"` // filled in by the command that asks
	Clusters  []ClusterStatus   `json:"clusters"`
	DNS       map[string]string `json:"dns"`
	Processes []process.Status  `json:"processes"`
}

// ClusterStatus is one cluster's part of Status.
type ClusterStatus struct {
	Name  string            `json:"name"`
	Cut   bool              `json:"cut"`
	Ready map[string]string `json:"ready"` // what is ready → how long after the start
}

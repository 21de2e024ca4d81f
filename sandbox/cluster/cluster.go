// Package cluster runs one Kubernetes cluster of a sandbox: certificates,
// control plane, nodes, cluster DNS, load balancers and Istio.
package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"isthmus.dev/sandbox/engine"
	"isthmus.dev/sandbox/pki"
	"isthmus.dev/sandbox/plan"
	"isthmus.dev/sandbox/process"
	"isthmus.dev/sandbox/state"
)

// Config says what a Cluster needs.
type Config struct {
	Plan     plan.Cluster
	Istio    bool
	Dir      state.Dir
	Programs engine.Set
	Procs    *process.Set
	NS       func(name string) netns.NsHandle
	Root     *pki.Pair // signs Istio's intermediate
	HostPort int       // loopback port on the machine that leads to the API server
	Cache    string    // keeps rendered manifests from run to run
	// SetLB is told which load-balancer addresses have an owner.
	SetLB func(addr string, owned bool) error
	// Progress is told what happens, one line at a time.
	Progress func(format string, args ...any)
}

// Cluster is one running cluster. Make it with New, start it with Up.
type Cluster struct {
	cfg  Config
	pki  string // directory of the certificates
	kube kubernetes.Interface
	dyn  dynamic.Interface

	mu    sync.Mutex
	ready map[string]time.Duration // what became ready, how long after Up began
}

// New prepares a cluster's files and starts nothing.
func New(cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg, pki: filepath.Join(cfg.Dir.Cluster(cfg.Plan.Name), "pki"), ready: map[string]time.Duration{}}
	if err := c.certificates(); err != nil {
		return nil, fmt.Errorf("certificates of cluster %q: %w", cfg.Plan.Name, err)
	}
	conf, err := clientcmd.BuildConfigFromFlags("", cfg.Dir.Kubeconfig(cfg.Plan.Name))
	if err != nil {
		return nil, err
	}
	conf.QPS = -1 // we are the only ones in a hurry
	conf.UserAgent = "sandbox"
	if c.kube, err = kubernetes.NewForConfig(conf); err != nil {
		return nil, err
	}
	if c.dyn, err = dynamic.NewForConfig(conf); err != nil {
		return nil, err
	}
	return c, nil
}

// Up starts everything and returns when the cluster is ready to use. What it
// started runs until ctx ends.
func (c *Cluster) Up(ctx context.Context) error {
	begin := time.Now()
	if err := c.apiserver(ctx); err != nil {
		return err
	}
	manifest := c.render(ctx) // needs no cluster, so it uses the waiting time
	if err := c.waitAPI(ctx); err != nil {
		return err
	}
	c.done("api", begin)
	g, gctx := errgroup.WithContext(ctx)
	// Processes get ctx, not gctx: they outlive this function.
	g.Go(func() error { return c.controllers(ctx) })
	g.Go(func() error { return c.nodes(ctx) })
	g.Go(func() error { return c.addons(gctx) })
	g.Go(func() error {
		if err := c.waitNodes(gctx); err != nil {
			return err
		}
		c.done("nodes", begin)
		return nil
	})
	g.Go(func() error {
		if err := c.waitDeployment(gctx, "kube-system", "coredns"); err != nil {
			return err
		}
		c.done("dns", begin)
		return nil
	})
	g.Go(func() error { return c.istio(gctx, manifest, begin) })
	return g.Wait()
}

// Balance hands out load-balancer addresses until ctx ends. It may be called
// before the cluster is up.
func (c *Cluster) Balance(ctx context.Context) error {
	if err := c.waitAPI(ctx); err != nil {
		return err
	}
	return c.balance(ctx)
}

// Ready tells what became ready, and after how long.
func (c *Cluster) Ready() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]string{}
	for k, v := range c.ready {
		out[k] = v.Round(100 * time.Millisecond).String()
	}
	return out
}

func (c *Cluster) done(what string, begin time.Time) {
	c.mu.Lock()
	c.ready[what] = time.Since(begin)
	c.mu.Unlock()
	c.cfg.Progress("cluster %s: %s ready", c.cfg.Plan.Name, what)
}

// waitAPI returns when the API server says that it is ready.
func (c *Cluster) waitAPI(ctx context.Context) error {
	ca, err := os.ReadFile(filepath.Join(c.pki, "ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
	}
	defer client.CloseIdleConnections()
	url := fmt.Sprintf("https://%s:%d/readyz", c.cfg.Plan.API, plan.APIPort)
	return c.poll(ctx, "API server", func() error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz answers %s", resp.Status)
		}
		return nil
	})
}

// poll asks every 100 ms until ready says nil; what it said last is in the
// error when time runs out.
func (c *Cluster) poll(ctx context.Context, what string, ready func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 4*time.Minute, errors.New("4 minutes are over"))
	defer cancel()
	begin, told := time.Now(), time.Now()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Since(told) > 15*time.Second {
			told = time.Now()
			c.cfg.Progress("cluster %s: still waiting for %s after %.0fs: %v", c.cfg.Plan.Name, what, time.Since(begin).Seconds(), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cluster %q: wait for %s: %w: %w", c.cfg.Plan.Name, what, context.Cause(ctx), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// write stores v as indented JSON in the cluster's directory and returns the
// file. Kubernetes reads JSON wherever it reads YAML.
func (c *Cluster) write(name string, v any) (string, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(c.cfg.Dir.Cluster(c.cfg.Plan.Name), name)
	return file, os.WriteFile(file, b, 0o600)
}

func (c *Cluster) program(name string) (string, error) {
	path := c.cfg.Programs[name]
	if path == "" {
		return "", fmt.Errorf("program %q was not built", name)
	}
	return path, nil
}

// start runs a program of the cluster; in names the network namespace.
func (c *Cluster) start(ctx context.Context, name, in, program string, args []string) error {
	path, err := c.program(program)
	if err != nil {
		return err
	}
	return c.cfg.Procs.Start(ctx, process.Spec{
		Name:  c.cfg.Plan.Name + "/" + strings.TrimPrefix(name, "/"),
		NetNS: c.cfg.NS(in),
		Path:  path,
		Args:  args,
	})
}

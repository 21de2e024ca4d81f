package edge

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/installer"
	"isthmus.dev/isthmus/internal/version"
	"isthmus.dev/isthmus/internal/wellknown"
)

// options are the flags; each has a variable of the environment as its default, for use in a pod.
type options struct {
	server, serverName, cluster, keyFile, caFile string
	namespace, kubeconfig, health, logLevel      string
	istiodToken                                  string
	hold, without                                string
}

func parse(args []string, env func(string) string, errs io.Writer) (*options, error) {
	o := new(options)
	f := flag.NewFlagSet("edge", flag.ContinueOnError)
	f.SetOutput(errs)
	text := func(p *string, name, variable, value, usage string) {
		f.StringVar(p, name, cmp.Or(env(variable), value), usage+" ($"+variable+")")
	}
	text(&o.server, "server", "ISTHMUS_SERVER", "", "`host:port` of the server")
	text(&o.serverName, "server-name", "ISTHMUS_SERVER_NAME", "", "name in the server's certificate, if not the host")
	text(&o.cluster, "cluster", "ISTHMUS_CLUSTER", "", "full name of the cluster, or @file that has it")
	text(&o.keyFile, "key-file", "ISTHMUS_KEY_FILE", "/etc/isthmus/service-account/jwk", "JSON web key of the cluster's service account")
	text(&o.caFile, "ca-file", "ISTHMUS_CA_FILE", "/etc/isthmus/server/ca.crt", "PEM certificates that the server's has to be signed by")
	text(&o.namespace, "namespace", "ISTHMUS_NAMESPACE", "istio-system", "namespace of Istio and of this edge")
	text(&o.kubeconfig, "kubeconfig", "KUBECONFIG", "", "how to reach the cluster; empty means as a pod of it")
	text(&o.health, "health-address", "ISTHMUS_HEALTH_ADDRESS", ":8081", "where /healthz, /readyz and /metrics are served; empty means nowhere")
	text(&o.istiodToken, "istiod-token-file", "ISTHMUS_ISTIOD_TOKEN_FILE", "", "token with which istiod is asked what gateways refuse; empty means not at all")
	text(&o.logLevel, "log-level", "ISTHMUS_LOG_LEVEL", "info", "debug, info, warn or error")
	text(&o.hold, "gateway-delete-hold", "GATEWAY_DELETE_HOLD_SECONDS", "10", "`seconds` for which a deleted gateway serves on")
	text(&o.without, "without", "ISTHMUS_WITHOUT", "", "`rules` of the order of changes that are left out, to see what they are for (docs/design/changes.md); never in earnest")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if path, ok := strings.CutPrefix(o.cluster, "@"); ok {
		name, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the cluster's name: %w", err)
		}
		o.cluster = strings.TrimSpace(string(name))
	}
	if o.server == "" || o.cluster == "" {
		return nil, errors.New("--server and --cluster are required")
	}
	return o, nil
}

// Command is the edge as a program: it runs until ctx ends.
func Command(ctx context.Context, args []string, out, errs io.Writer) error {
	o, err := parse(args, os.Getenv, errs)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level}))
	cfg, err := o.config(log)
	if err != nil {
		return err
	}
	e, err := New(*cfg)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if os.Getenv("GOMEMLIMIT") == "" {
		wg.Go(func() { limitMemory(ctx) })
	}
	if o.health != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.health)
		if err != nil {
			return fmt.Errorf("--health-address: %w", err)
		}
		wg.Go(func() { serveHealth(ctx, l, e) })
	}
	log.InfoContext(ctx, "edge", "version", version.Version, "cluster", o.cluster, "server", o.server)
	if err := e.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// config connects to the cluster's API.
func (o *options) config(log *slog.Logger) (*Config, error) {
	text, err := os.ReadFile(o.keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the service account's key: %w", err)
	}
	key, err := ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.keyFile, err)
	}
	ca, err := os.ReadFile(o.caFile)
	if err != nil {
		return nil, fmt.Errorf("read the server's CA: %w", err)
	}
	rc, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	rc.UserAgent = Manager + "/" + version.Version
	rc.QPS = -1 // waves of writes are bounded by their workers, and there are no others
	plain := rest.CopyConfig(rc)
	plain.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()
	plain.GroupVersion = &schema.GroupVersion{}
	raw, err := rest.UnversionedRESTClientFor(plain)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	dyn, err := dynamic.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	hold, err := strconv.ParseUint(o.hold, 10, 8)
	if err != nil {
		return nil, fmt.Errorf("--gateway-delete-hold: %q is no number of seconds from 0 to 255", o.hold)
	}
	in, err := installer.New(installer.Config{Client: dyn, Cluster: o.cluster, Hold: cmp.Or(time.Duration(hold)*time.Second, -1), Log: log})
	if err != nil {
		return nil, err
	}
	without, err := wellknown.Without(o.without)
	if err != nil {
		return nil, fmt.Errorf("--without: %w", err)
	}
	get := func(ctx context.Context, path string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		return raw.Get().AbsPath(path).DoRaw(ctx)
	}
	// The name alone is not enough: where pods share a host name, two of them would hold one Lease.
	identity := cmp.Or(os.Getenv("POD_NAME"), "edge") + "_" + rand.Text()[:8]
	return &Config{
		Server: strings.TrimPrefix(o.server, "https://"), ServerName: o.serverName, Cluster: o.cluster, Key: key, CA: ca,
		Dynamic: dyn, Resources: apply.NewResources(raw), Get: get, Installer: in.Run, IstiodToken: o.istiodToken, Without: without,
		Namespace: o.namespace, Version: version.Version, Identity: identity, Log: log,
	}, nil
}

// serveHealth until ctx ends.
func serveHealth(ctx context.Context, l net.Listener, e *Edge) {
	s := &http.Server{Handler: e.Health(), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	_ = s.Serve(l) // ends by Close alone
}

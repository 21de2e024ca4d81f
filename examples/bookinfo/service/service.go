// Package service is what the four bookinfo applications share: who they are, how they serve, and how they call
// one another.
package service

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// DefaultPort is where every application listens and is expected by the others.
const DefaultPort = "9080"

// Headers that name the replica in every response.
const (
	HeaderCluster = "X-Bookinfo-Cluster"
	HeaderPod     = "X-Bookinfo-Pod"
)

// Identity says which replica answers.
type Identity struct {
	Cluster string `json:"cluster"`
	Pod     string `json:"pod"`
	Version string `json:"version"`
}

// Getenv looks up an environment variable, as os.Getenv does; tests pass a map's.
type Getenv func(string) string

// IdentityFrom reads CLUSTER_NAME (REGION where the cluster has no name), POD_NAME (HOSTNAME outside Kubernetes)
// and SERVICE_VERSION.
func IdentityFrom(env Getenv) Identity {
	return Identity{
		Cluster: cmp.Or(env("CLUSTER_NAME"), env("REGION"), "unknown"),
		Pod:     cmp.Or(env("POD_NAME"), env("HOSTNAME"), "unknown"),
		Version: cmp.Or(env("SERVICE_VERSION"), "v1"),
	}
}

// Address is where another application listens: <NAME>_HOSTNAME, which may be HOST or HOST:PORT, else its name
// below SERVICES_DOMAIN. The port is that of the hostname, else <NAME>_SERVICE_PORT, else DefaultPort.
func Address(env Getenv, prefix, name string) string {
	host := env(prefix + "_HOSTNAME")
	if host == "" {
		host = name
		if domain := env("SERVICES_DOMAIN"); domain != "" {
			host += "." + domain
		}
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(host, cmp.Or(env(prefix+"_SERVICE_PORT"), DefaultPort))
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// An error here means the caller is gone: there is nobody to tell.
	_ = json.NewEncoder(w).Encode(v)
}

// Named wraps h so that every response, errors included, names the replica.
func Named(id Identity, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(HeaderCluster, id.Cluster)
		w.Header().Set(HeaderPod, id.Pod)
		h.ServeHTTP(w, r)
	})
}

// Health answers probes.
func Health(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		WriteJSON(w, http.StatusOK, map[string]string{"status": name + " is healthy"})
	}
}

// forwarded are the headers that an application copies from the request it serves to those it makes, so that a
// trace stays in one piece and the user stays known.
var forwarded = [...]string{
	"X-Request-Id", "X-Ot-Span-Context", "X-Datadog-Trace-Id", "X-Datadog-Parent-Id", "X-Datadog-Sampling-Priority",
	"Traceparent", "Tracestate", "X-Cloud-Trace-Context", "Grpc-Trace-Bin", "B3",
	"X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid", "X-B3-Sampled", "X-B3-Flags", "Sw8",
	"End-User", "User-Agent", "Cookie", "Authorization", "Jwt",
}

// StatusError is an answer other than 200.
type StatusError struct{ Code int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("answered %d %s", e.Code, http.StatusText(e.Code))
}

// Caller calls the other applications.
type Caller struct {
	Client *http.Client // nil uses http.DefaultClient
}

// JSON gets url into out on behalf of the request in, within the timeout.
func (c *Caller) JSON(in *http.Request, url string, timeout time.Duration, out any) error {
	ctx, cancel := context.WithTimeout(in.Context(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for _, name := range forwarded {
		if vs := in.Header.Values(name); len(vs) > 0 {
			req.Header[name] = vs
		}
	}
	res, err := cmp.Or(c.Client, http.DefaultClient).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		// Reading the rest lets the connection be used again.
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
		return &StatusError{res.StatusCode}
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(out); err != nil {
		return fmt.Errorf("answer of %s: %w", url, err)
	}
	return nil
}

// linger is how long a replica goes on answering after it was told to stop: the endpoints that point to it are
// removed at the same moment, not before.
const linger = time.Second

// Run serves h until ctx ends, then lets requests in flight finish. The port is args[0], else DefaultPort.
func Run(ctx context.Context, args []string, h http.Handler) error {
	port := DefaultPort
	if len(args) > 0 {
		port = args[0]
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", port))
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "listening on", l.Addr())
	return Serve(ctx, l, h)
}

// Serve is Run on a listener that is already open.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	time.Sleep(linger)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := s.Shutdown(stop)
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

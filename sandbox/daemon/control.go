package daemon

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"isthmus.dev/sandbox/plan"
	"isthmus.dev/sandbox/state"
)

// control answers the other commands on a socket that only root can open.
func (d *Daemon) control(ctx context.Context) error {
	l, err := net.Listen("unix", d.boot.Dir.Socket())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", answer(func(*http.Request) (any, error) { return d.status(), nil }))
	mux.HandleFunc("GET /dns", answer(func(*http.Request) (any, error) { return d.names.All(), nil }))
	mux.HandleFunc("PUT /dns/{name}/{addr}", answer(func(r *http.Request) (any, error) {
		return nil, d.names.Set(r.PathValue("name"), r.PathValue("addr"))
	}))
	mux.HandleFunc("DELETE /dns/{name}", answer(func(r *http.Request) (any, error) {
		return nil, d.names.Delete(r.PathValue("name"))
	}))
	mux.HandleFunc("POST /trust", answer(func(r *http.Request) (any, error) { return nil, d.trust(r.Body) }))
	mux.HandleFunc("POST /cut/{cluster}", answer(func(r *http.Request) (any, error) {
		return nil, d.setCut(r.PathValue("cluster"), true)
	}))
	mux.HandleFunc("POST /heal/{cluster}", answer(func(r *http.Request) (any, error) {
		return nil, d.setCut(r.PathValue("cluster"), false)
	}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return context.Cause(ctx)
}

// answer turns a function into a handler: its value as JSON, its error as text.
func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if v == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
}

func (d *Daemon) status() Status {
	s := Status{DNS: d.names.All(), Processes: d.procs.List()}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.boot.Plan.Clusters {
		cs := ClusterStatus{Name: p.Name, Cut: d.cut[p.Name]}
		if c := d.clusters[p.Name]; c != nil {
			cs.Ready = c.Ready()
		}
		s.Clusters = append(s.Clusters, cs)
	}
	return s
}

// trust adds certificates to what everything inside trusts.
func (d *Daemon) trust(body io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(body, 1<<20))
	if err != nil {
		return err
	}
	certs := slices.Collect(certificates(data))
	if len(certs) == 0 {
		return errors.New("trust add: no PEM certificate in the file")
	}
	for _, c := range certs {
		if _, err := x509.ParseCertificate(c.Bytes); err != nil {
			return fmt.Errorf("trust add: %w", err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old, err := os.ReadFile(d.boot.Dir.Trust())
	if err != nil {
		return err
	}
	for _, c := range certs {
		if text := pem.EncodeToMemory(c); !bytes.Contains(old, text) {
			old = append(append(bytes.TrimRight(old, "\n"), '\n'), text...)
		}
	}
	// In place: the file is mounted over the system's bundle.
	return os.WriteFile(d.boot.Dir.Trust(), old, 0o644)
}

func certificates(data []byte) func(yield func(*pem.Block) bool) {
	return func(yield func(*pem.Block) bool) {
		for {
			var b *pem.Block
			if b, data = pem.Decode(data); b == nil {
				return
			}
			b.Headers = nil
			if b.Type == "CERTIFICATE" && !yield(b) {
				return
			}
		}
	}
}

// setCut takes a cluster off the WAN or puts it back; saying so twice is no error.
func (d *Daemon) setCut(name string, cut bool) error {
	c := d.boot.Plan.Cluster(name)
	if c == nil {
		return fmt.Errorf("no cluster %q", name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut[name] == cut {
		return nil
	}
	change := map[bool]func(plan.Cluster) error{true: d.net.Cut, false: d.net.Heal}[cut]
	if err := change(*c); err != nil {
		return err
	}
	d.cut[name] = cut
	return nil
}

// Client talks to a running sandbox.
type Client struct{ http *http.Client }

// NewClient returns a client of the sandbox in dir.
func NewClient(dir state.Dir) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", dir.Socket())
	}
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Do sends one request; into, unless nil, gets the JSON answer.
func (c *Client) Do(ctx context.Context, method, path string, body io.Reader, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://sandbox"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the sandbox: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // what was read is the best there is
		return errors.New(string(bytes.TrimSpace(text)))
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

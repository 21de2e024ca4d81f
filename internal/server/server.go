package server

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"isthmus.dev/isthmus/api/isthmus/v1/isthmusv1connect"
	"isthmus.dev/isthmus/internal/authz"
	"isthmus.dev/isthmus/internal/status"
	"isthmus.dev/isthmus/internal/store"
)

// maxRequest bounds one request; it is above the 16 MiB that tctl takes from a file.
const maxRequest = 20 << 20

// maxAnonymous bounds a request of somebody without credentials, who can do no more than sign in: its body is read
// before anybody asks who may do what.
const maxAnonymous = 64 << 10

// Config says what a Server needs. Fields without a comment are required.
type Config struct {
	DB *store.DB
	// Organization is where names of users without a path belong.
	Organization string
	// Fleet serves the edges below the path; nil has none.
	Fleet func() (path string, h http.Handler)
	// View is what statuses are made from; nil knows of no cluster and compiles nothing.
	View func() status.View
	// Plan says what a change would do; nil cannot.
	Plan Planner
	// Hosts are names and addresses for the server's own certificate, besides those that clients ask for.
	Hosts []string
	// CertFile and KeyFile are a certificate of somebody else; empty means one of the server's own CA.
	CertFile, KeyFile string

	Log *slog.Logger     // nil discards
	Now func() time.Time // nil means time.Now
}

// Server is the API. It starts nothing by itself.
type Server struct {
	db       *store.DB
	auth     *authenticator
	view     func() status.View
	plan     Planner
	fleet    func() (string, http.Handler)
	tls      *tls.Config
	caCert   []byte
	metrics  *metrics
	log      *slog.Logger
	now      func() time.Time
	patience time.Duration // with a request of somebody without credentials
	stopping chan struct{} // closed when the server goes down
}

var (
	_ isthmusv1connect.ResourcesHandler = (*Server)(nil)
	_ isthmusv1connect.SessionHandler   = (*Server)(nil)
)

// New makes a Server of a store that Bootstrap went over.
func New(c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	passwords, err := newPasswords(c.Now)
	if err != nil {
		return nil, err
	}
	seed, ok := c.DB.Private(keySession)
	if !ok || len(seed) != ed25519.SeedSize {
		return nil, errors.New("the store has no session key: it was never started")
	}
	s := &Server{
		db: c.DB, log: c.Log, now: c.Now, view: c.View, plan: c.Plan, fleet: c.Fleet, stopping: make(chan struct{}), metrics: newMetrics(),
		patience: 15 * time.Second,
		auth: &authenticator{
			db: c.DB, organization: c.Organization, passwords: passwords, now: c.Now,
			session: ed25519.NewKeyFromSeed(seed),
		},
	}
	if s.view == nil {
		s.view = s.nothingCompiled
	}
	return s, s.prepareTLS(c)
}

// prepareTLS chooses between the server's own CA and a certificate of somebody else.
func (s *Server) prepareTLS(c Config) error {
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if c.CertFile != "" {
		files := &fileCertificate{cert: c.CertFile, key: c.KeyFile}
		s.tls.GetCertificate = files.certificate
		_, err := files.certificate(nil)
		return err
	}
	cert, _ := s.db.Private(keyCACert)
	key, _ := s.db.Private(keyCAKey)
	own, err := newIssuer(cert, key, c.Hosts, s.now)
	if err != nil {
		return err
	}
	s.caCert, s.tls.GetCertificate = cert, own.certificate
	return nil
}

// CACertificate is what clients need to trust the server, as PEM; nil when the certificate is somebody else's.
func (s *Server) CACertificate() []byte { return s.caCert }

// Handler serves all doors: gRPC, gRPC-Web and JSON below /isthmus.v1.…/, REST below /v2/.
func (s *Server) Handler() http.Handler {
	options := []connect.HandlerOption{
		connect.WithInterceptors(interceptor{s}),
		connect.WithReadMaxBytes(maxRequest),
	}
	mux := http.NewServeMux()
	mux.Handle(isthmusv1connect.NewResourcesHandler(s, options...))
	mux.Handle(isthmusv1connect.NewSessionHandler(s, options...))
	if s.fleet != nil {
		path, h := s.fleet()
		mux.Handle(path, s.edgesOnly(h))
	}
	mux.Handle("/v2/", &rest{s})
	s.health(mux)
	mux.HandleFunc("GET /ca.crt", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(s.caCert) })
	return s.authenticate(mux)
}

// health adds the paths that tell others how the server is.
func (s *Server) health(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
}

// edgesOnly keeps everybody but edges from the fleet, with the right code.
func (s *Server) edgesOnly(next http.Handler) http.Handler {
	rpc := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := authz.CallerOf(r.Context())
		if err := authz.Allow(r.Context(), authz.Connect, c.Subject); err != nil {
			_ = rpc.Write(w, r, s.rpcError(r.Context(), err))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ready answers whether the server can serve: it has its store, and is not going down.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.stopping:
		http.Error(w, "going down", http.StatusServiceUnavailable)
		return
	default:
	}
	if _, err := s.db.Head(r.Context()); err != nil {
		http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// authenticate finds out who is asking. Wrong credentials end the request, whatever it is for; none go on as nobody.
func (s *Server) authenticate(next http.Handler) http.Handler {
	rpc := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok, err := s.auth.caller(r.Context(), r.Header)
		if err != nil {
			e := s.rpcError(r.Context(), err)
			if !strings.HasPrefix(r.URL.Path, "/v2/") && rpc.IsSupported(r) {
				_ = rpc.Write(w, r, e)
				return
			}
			writeError(w, e)
			return
		}
		if ok {
			r = r.WithContext(authz.WithCaller(r.Context(), c))
		} else {
			r.Body = http.MaxBytesReader(w, r.Body, maxAnonymous)
			// Without a connection behind it, as in tests, there is nobody to wait for.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.patience))
		}
		next.ServeHTTP(w, r)
	})
}

// Serve answers on the listener until ctx ends, and then lets requests under way finish for at most grace.
// goaway is called first, so that streams end by themselves.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration, goaway func(context.Context) error) error {
	h := &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         s.tls,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 250,
			SendPingTimeout:      15 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     30 * time.Second,
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- h.ServeTLS(l, "", "") }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	close(s.stopping)
	// The caller's context is over; what is left has its own time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(grace, 10*time.Second))
	defer cancel()
	if goaway != nil {
		if err := goaway(ctx); err != nil {
			s.log.InfoContext(ctx, "edges did not leave in time", "error", err)
		}
	}
	if err := h.Shutdown(ctx); err != nil {
		h.Close()
	}
	<-failed
	return nil
}

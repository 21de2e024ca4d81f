package ratelimit

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"isthmus.dev/isthmus/api/envoy/service/ratelimit/v3/ratelimitv3connect"
	"isthmus.dev/isthmus/internal/version"
)

// maxMessage is what Envoy may say at once: values of headers, once for each rule that counts by them.
const maxMessage = 4 << 20

// Options are the flags of cmd/ratelimit.
type Options struct {
	Listen       string
	HealthListen string
	Counters     int
	// Drain is how long to serve on after the end was asked for, so that gateways hear first that this pod is leaving.
	Drain time.Duration
	// Grace is how long requests may take to finish after that.
	Grace time.Duration
	Log   *slog.Logger
}

// UsageError is a mistake in the command line.
type UsageError struct{ err error }

func (u *UsageError) Error() string { return u.err.Error() + "; see ratelimit --help" }
func (u *UsageError) Unwrap() error { return u.err }

const usage = `ratelimit counts requests for the gateways of one cluster, and answers Envoy's rate limit filter over gRPC.
It needs no configuration: rules come with the requests.

Usage:
  ratelimit [flags]

Exit codes: 0 ended by a signal, 1 failed, 2 the command line is wrong.

Flags:
`

// ParseFlags reads the command line of cmd/ratelimit. flag.ErrHelp means that the help was shown.
func ParseFlags(args []string, stdout, stderr io.Writer) (Options, error) {
	var o Options
	var level slog.Level
	f := flag.NewFlagSet("ratelimit", flag.ContinueOnError)
	f.StringVar(&o.Listen, "listen", ":8081", "address of the service: gRPC without TLS")
	f.StringVar(&o.HealthListen, "health-listen", ":8082", "address of /healthz, /readyz and /metrics")
	f.IntVar(&o.Counters, "counters", 500_000, "how many counters are kept, at about 100 bytes each; more make room for each other")
	f.DurationVar(&o.Drain, "drain", 5*time.Second, "how long to serve on at the end, while /readyz says no")
	f.DurationVar(&o.Grace, "grace", 2*time.Second, "how long requests may take to finish after that")
	f.TextVar(&level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	f.Usage = func() {} // a mistake gets one line, which the caller writes; only --help gets everything
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		f.SetOutput(stdout)
		fmt.Fprint(stdout, usage)
		f.PrintDefaults()
		return o, err
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.Counters < 1:
		err = fmt.Errorf("--counters %d: at least one is needed", o.Counters)
	}
	if err != nil {
		return o, &UsageError{err}
	}
	o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	return o, nil
}

// Run is the program: it serves until ctx ends, and then for as long as Drain and Grace say.
func Run(ctx context.Context, o Options) error {
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	h, err := net.Listen("tcp", o.HealthListen)
	if err != nil {
		return errors.Join(fmt.Errorf("--health-listen: %w", err), l.Close())
	}
	return serve(ctx, l, h, o)
}

func serve(ctx context.Context, l, h net.Listener, o Options) error {
	table := NewTable(o.Counters)
	s := newService(table, o.Log)
	var leaving atomic.Bool
	rpc := rpcServer(s)
	health := &http.Server{Handler: s.metrics.health(&leaving), ReadHeaderTimeout: 5 * time.Second}

	o.Log.InfoContext(ctx, "rate limiter starts", "version", version.Version, "address", l.Addr().String())
	g, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	g.Go(func() error { return until(rpc.Serve(l)) })
	g.Go(func() error { return until(health.Serve(h)) })
	g.Go(func() error {
		sweep(ctx, failed, table)
		leaving.Store(true)
		wait(failed, o.Drain)
		end, cancel := context.WithTimeout(failed, o.Grace)
		defer cancel()
		if err := rpc.Shutdown(end); err != nil {
			_ = rpc.Close()
		}
		_ = health.Close()
		return nil
	})
	return g.Wait()
}

// rpcServer speaks HTTP/2 without TLS, as Envoy does to a port that is called grpc.
func rpcServer(s *Service) *http.Server {
	mux := http.NewServeMux()
	mux.Handle(ratelimitv3connect.NewRateLimitServiceHandler(s, connect.WithReadMaxBytes(maxMessage)))
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           mux,
		Protocols:         p,
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 1000, // a thread of a gateway has one connection; what exceeds it waits, and 20 ms are short
			SendPingTimeout:      15 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     30 * time.Second,
		},
	}
}

// until turns the end that Shutdown and Close make into success.
func until(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// sweep gives up counters that are over, until one of the contexts ends.
func sweep(ctx, failed context.Context, t *Table) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			t.Sweep(now)
		case <-ctx.Done():
			return
		case <-failed.Done():
			return
		}
	}
}

// wait a while, unless ctx ends before.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

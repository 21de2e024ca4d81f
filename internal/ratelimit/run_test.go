package ratelimit

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	ratelimitv3 "isthmus.dev/isthmus/api/envoy/service/ratelimit/v3"
	"isthmus.dev/isthmus/api/envoy/service/ratelimit/v3/ratelimitv3connect"
)

// limiter is a running one.
type limiter struct {
	address, health string
	end             context.CancelFunc // as a signal does
	ended           chan struct{}
	err             error // once ended
}

func start(t *testing.T, o Options) *limiter {
	t.Helper()
	var ls [2]net.Listener
	for i := range ls {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ls[i] = l
	}
	o.Counters, o.Log = 1000, slog.New(slog.DiscardHandler)
	ctx, end := context.WithCancel(context.Background())
	r := &limiter{address: ls[0].Addr().String(), health: "http://" + ls[1].Addr().String(), end: end, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = serve(ctx, ls[0], ls[1], o)
	}()
	t.Cleanup(func() {
		end()
		_ = ls[0].Close() // ends it whatever it waits for
		<-r.ended
	})
	return r
}

// client speaks gRPC over HTTP/2 without TLS, as Envoy does.
func (r *limiter) client(t *testing.T) ratelimitv3connect.RateLimitServiceClient {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return ratelimitv3connect.NewRateLimitServiceClient(&http.Client{Transport: tr}, "http://"+r.address, connect.WithGRPC())
}

func (r *limiter) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(r.health + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestOverTheWire(t *testing.T) {
	r := start(t, Options{Grace: time.Minute})
	c := r.client(t)
	ask := func(limit, user string) (ratelimitv3.RateLimitResponse_Code, error) {
		out, err := c.ShouldRateLimit(t.Context(), &ratelimitv3.RateLimitRequest{
			Domain: []byte(Domain), Descriptors: []*ratelimitv3.RateLimitDescriptor{descriptor("rule", "r", "limit", limit, "header:x-user", user)},
		})
		return out.GetOverallCode(), err
	}
	const ok, over = ratelimitv3.RateLimitResponse_OK, ratelimitv3.RateLimitResponse_OVER_LIMIT
	for i, step := range []struct {
		limit, user string
		want        ratelimitv3.RateLimitResponse_Code
	}{
		{"2/DAY", "alice", ok}, {"2/DAY", "alice", ok}, {"2/DAY", "alice", over}, {"2/DAY", "bob", ok},
		{"2/DAY", "not \xff text", ok}, {"2/DAY", strings.Repeat("long", 50_000), ok},
	} {
		if got, err := ask(step.limit, step.user); err != nil || got != step.want {
			t.Errorf("request %d is answered %v, %v; want %v", i, got, err, step.want)
		}
	}
	if _, err := ask("2/FORTNIGHT", "alice"); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a limit that cannot be read is answered %v, want InvalidArgument", err)
	}
	if _, err := ask("2/DAY", strings.Repeat("longer", 1<<20)); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a message that is too long is answered %v, want ResourceExhausted", err)
	}
	_, figures := r.get(t, "/metrics")
	for _, want := range []string{
		`isthmus_ratelimit_decisions_total{outcome="ok"} 5`, `isthmus_ratelimit_decisions_total{outcome="over_limit"} 1`,
		`isthmus_ratelimit_decisions_total{outcome="error"} 1`, "isthmus_ratelimit_counters 4", "isthmus_ratelimit_evictions_total 0",
	} {
		if !strings.Contains(figures, "\n"+want+"\n") {
			t.Errorf("/metrics does not say %s:\n%s", want, figures)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, _ := r.get(t, path); code != http.StatusOK {
			t.Errorf("%s is answered %d", path, code)
		}
	}
	// A connection that is open and idle, as Envoy's is, holds up nothing.
	began := time.Now()
	r.end()
	if <-r.ended; r.err != nil {
		t.Errorf("the limiter ended with %v", r.err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v to end", took)
	}
}

// After the signal requests are still answered, while /readyz keeps new ones away.
func TestDrain(t *testing.T) {
	r := start(t, Options{Drain: time.Hour})
	r.end()
	for {
		if code, _ := r.get(t, "/readyz"); code == http.StatusServiceUnavailable {
			break
		}
		time.Sleep(time.Millisecond)
	}
	out, err := r.client(t).ShouldRateLimit(t.Context(), &ratelimitv3.RateLimitRequest{Domain: []byte(Domain)})
	if err != nil || out.GetOverallCode() != ratelimitv3.RateLimitResponse_OK {
		t.Errorf("while it leaves, a request is answered %v, %v", out, err)
	}
}

// An address that is taken is said, and nothing is left open.
func TestAddressTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for flag, o := range map[string]Options{
		"--listen": {Listen: taken}, "--health-listen": {Listen: "127.0.0.1:0", HealthListen: taken},
	} {
		if err := Run(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), flag+": ") {
			t.Errorf("Run(%+v) = %v, want an error about %s", o, err, flag)
		}
	}
}

func TestParseFlags(t *testing.T) {
	cases := map[string]struct {
		args string
		err  string
	}{
		"Defaults":   {"", ""},
		"All":        {"--listen=:1 --health-listen=:2 --counters=3 --drain=4s --grace=5s --log-level=debug", ""},
		"Unknown":    {"--rules=x", "not defined"},
		"Argument":   {"x", `unexpected argument "x"`},
		"NoCounters": {"--counters=0", "at least one"},
		"Level":      {"--log-level=loud", "log-level"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := ParseFlags(strings.Fields(tc.args), io.Discard, io.Discard)
			_, usage := errors.AsType[*UsageError](err)
			if usage != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("ParseFlags(%s) = %v, want an error with %q", tc.args, err, tc.err)
			}
		})
	}
	var help strings.Builder
	if _, err := ParseFlags([]string{"--help"}, &help, io.Discard); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "-counters") {
		t.Errorf("--help: %v\n%s", err, help.String())
	}
}

func BenchmarkOverTheWire(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := rpcServer(newService(NewTable(1000), slog.New(slog.DiscardHandler)))
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	c := ratelimitv3connect.NewRateLimitServiceClient(&http.Client{Transport: tr}, "http://"+l.Addr().String(), connect.WithGRPC())
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := &ratelimitv3.RateLimitRequest{Domain: []byte(Domain), Descriptors: []*ratelimitv3.RateLimitDescriptor{
				descriptor("rule", "r", "limit", "1000000000/DAY", "remote_address", "10.0.0.1"),
			}}
			if _, err := c.ShouldRateLimit(b.Context(), r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

package ratelimit

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	ratelimitv3 "isthmus.dev/isthmus/api/envoy/service/ratelimit/v3"
	"isthmus.dev/isthmus/api/envoy/service/ratelimit/v3/ratelimitv3connect"
)

// The design's filters and hosts in a real Envoy, before the limiter and before services of users. Limits are per day, so
// that no window ends meanwhile.
func TestEnvoy(t *testing.T) {
	w := newWorld(t)
	for _, group := range []struct {
		name  string
		steps []step
	}{
		{"NoLimit", []step{{"unlimited.test / 10.0.0.1", "200 200 200 200 200"}}},
		{"EachAddress", []step{
			{"address.test / 10.0.0.1", "200 200 200 429 429"},
			{"address.test / 10.0.0.2", "200"},
		}},
		{"OneRange", []step{
			{"address.test / 192.0.2.1", "200"},
			{"address.test / 192.0.2.2", "200 429"},
			{"address.test / 192.0.2.1", "429"},
			{"address.test / 192.0.3.1", "200 200"},
		}},
		{"OtherHost", []step{{"closed.test / 10.0.0.1", "200 200 200 429"}}},
		{"EachValue", []step{
			{"header.test / 10.0.0.1 x-user=alice", "200 200 429"},
			{"header.test / 10.0.0.2 x-user=alice", "429"},
			{"header.test / 10.0.0.1 x-user=bob", "200"},
			{"header.test / 10.0.0.1", "200 200 200"},
			{"header.test / 10.0.0.1 x-user=", "200 200 429"},
			{"header.test / 10.0.0.1 x-user=\xff\xfe", "200 200 429"}, // no text, and counted all the same
			{"header.test / 10.0.0.1 x-user=\xff\xfd", "200"},
			{"header.test / 10.0.0.1 x-user=first x-user=second", "200 200 429"},
			{"header.test / 10.0.0.1 x-user=first x-user=third", "429"}, // Envoy takes the first
		}},
		{"Exact", []step{
			{"header.test / 10.0.0.1 x-plan=free", "200 429"},
			{"header.test / 10.0.0.1 x-plan=freely", "200 200"},
		}},
		{"PrefixAndNotRegex", []step{
			{"header.test /search?q=x 10.0.0.1", "200 200 429"},
			{"header.test /search 10.0.0.1 x-robot=goodone", "200 200 200"},
			{"header.test /search 10.0.0.1 x-robot=very-good", "429"}, // a regex is about the whole value
			{"header.test /sea 10.0.0.1", "200 200 200"},
		}},
		{"Absent", []step{
			{"header.test /hello 10.0.0.1", "200 429"},
			{"header.test /hello 10.0.0.1 authorization=x", "200 200"},
		}},
		{"RefusedCountsNowhere", []step{
			{"header.test / 10.0.0.1 x-user=carol x-plan=free", "429 429 429"},
			{"header.test / 10.0.0.1 x-user=carol", "200 200 429"},
		}},
		{"DirectResponse", []step{
			{"address.test /direct 10.0.0.9", "200 200 200 200"},
			{"address.test /redirect 10.0.0.9", "301 301 301 301"},
		}},
		{"External", []step{
			{"external.test / 10.0.0.1 x-user=alice", "200 200"},
			{"external.test / 10.0.0.1 x-user=banned", "429"},
			{"outside.test / 10.0.0.66", "429"},
			{"outside.test / 10.0.0.1", "200"},
		}},
		{"LocalEachAddress", []step{
			{"local.test / 10.0.0.1", "200 200 200 429"},
			{"local.test / 10.0.0.2", "200 200 200 429"},
			{"local.test / 10.0.0.1", "429"},
			{"local.test / 10.0.0.3", "200"}, // takes the place of 10.0.0.2
			{"local.test / 10.0.0.2", "200"},
		}},
		{"LocalRange", []step{
			{"local.test / 192.0.2.1", "200"},
			{"local.test / 192.0.2.2", "200 429"},
			{"local.test / 192.0.3.2", "200 200"},
		}},
		{"LocalHeader", []step{
			{"local.test / 10.0.1.1 x-plan=free", "200 429"},
			{"local.test / 10.0.1.2 x-plan=other", "200 200"},
		}},
		{"LocalRefusedCounts", []step{
			{"local.test / 10.0.2.1 x-plan=free", "429 429 429"},
			{"local.test / 10.0.2.1", "429"},
		}},
		{"LocalAll", []step{
			{"local-all.test / 2001:db8::1", "200 429"}, // of one for the range, of four for all
			{"local-all.test / 2001:db8:1::2", "429"},
			{"local-all.test / 2001:db9::1", "200 429"}, // refused requests took two
			{"local-all.test / 10.0.0.1", "429"},
		}},
		{"LocalDirectResponse", []step{{"local.test /direct 10.0.3.1", "200 200 200 429"}}},
	} {
		t.Run(group.name, func(t *testing.T) { w.walk(t, group.steps) })
	}
	t.Run("Descriptors", w.descriptors)
	t.Run("Headers", w.headers)
	for _, failure := range []string{"Deaf", "Down"} { // the limiter does not come back
		t.Run(failure, func(t *testing.T) {
			if failure == "Deaf" {
				w.deaf.Store(true)
			} else {
				_ = w.limiter.Close()
			}
			w.walk(t, []step{
				{"address.test / 10.0.0.1", "200"}, // who was over the limit a moment before
				{"closed.test / 10.0.0.1", "500"},
				{"unlimited.test / 10.0.0.1", "200"},
				{"external.test / 10.0.0.1 x-user=banned", "429"},
			})
		})
	}
}

// step is a request, see envoy.ask, that is sent once for each wanted status.
type step struct{ request, want string }

// world is an Envoy and what it reaches.
type world struct {
	*envoy
	limiter *http.Server
	deaf    atomic.Bool // the limiter hears, and does not answer
	users   users
}

func newWorld(t *testing.T) *world {
	program := os.Getenv("ISTHMUS_TEST_ENVOY")
	if program == "" {
		t.Skip("ISTHMUS_TEST_ENVOY names no Envoy: the end-to-end tests run this")
	}
	w := &world{}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	t.Cleanup(app.Close)

	l := listen(t)
	w.limiter = rpcServer(newService(NewTable(10_000), slog.New(slog.DiscardHandler)))
	answers := w.limiter.Handler
	w.limiter.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.deaf.Load() {
			<-r.Context().Done()
			return
		}
		answers.ServeHTTP(rw, r)
	})
	run(t, w.limiter, l)

	mux := http.NewServeMux()
	mux.Handle(ratelimitv3connect.NewRateLimitServiceHandler(&w.users))
	inside := listen(t)
	plain := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	plain.Protocols.SetUnencryptedHTTP2(true)
	run(t, plain, inside)
	outside := httptest.NewUnstartedServer(mux) // its certificate is for *.example.com
	outside.EnableHTTP2 = true
	outside.StartTLS()
	t.Cleanup(outside.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: outside.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(outside.Listener.Addr().String())

	w.envoy = startEnvoy(t, program, bootstrap(blocks(t, map[string]string{
		`"address": "limits.example.com", "port_value": 443`: `"address": "127.0.0.1", "port_value": ` + port,
		"/etc/ssl/certs/ca-certificates.crt":                 ca,
		`"timeout": "0.020s"`:                                `"timeout": "2s"`, // a busy machine is no failure
		`"timeout": "0.250s"`:                                `"timeout": "2s"`,
	}), map[string]string{
		"outbound|80||app.shop.svc.cluster.local":                         app.Listener.Addr().String(),
		"outbound|8081||isthmus-ratelimit.istio-system.svc.cluster.local": l.Addr().String(),
		"outbound|8081||limits.shop.svc.cluster.local":                    inside.Addr().String(),
	}))
	return w
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run a server until the test ends.
func run(t *testing.T, s *http.Server, l net.Listener) {
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { _ = s.Close(); wg.Wait() })
}

func (w *world) walk(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		var got []string
		for range strings.Fields(s.want) {
			status, _ := w.ask(t, s.request)
			got = append(got, fmt.Sprint(status))
		}
		if got := strings.Join(got, " "); got != s.want {
			t.Errorf("%s: %s, want %s", s.request, got, s.want)
		}
	}
}

// descriptors are those that an external service is asked about.
func (w *world) descriptors(t *testing.T) {
	w.users.take()
	w.walk(t, []step{{"external.test / 10.0.0.1 x-user=alice", "200"}, {"external.test / 10.0.0.1 x-user=alice x-plan=free x-robot=bad", "200"}, {"outside.test / 10.0.0.1", "200"}})
	where := "source_cluster=shop.shop destination_cluster=outbound|80||app.shop.svc.cluster.local remote_address=10.0.0.1"
	want := []string{
		"shop: [" + where + "] [user=alice header_match=paying]",
		"shop: [" + where + "]", // all of its headers match
		"shop: [remote_address=10.0.0.1]",
	}
	if diff := cmp.Diff(want, w.users.take()); diff != "" {
		t.Errorf("the service was asked (-want +got):\n%s", diff)
	}
}

// headers say how much is left, of the rule that leaves least.
func (w *world) headers(t *testing.T) {
	for request, want := range map[string]string{
		"address.test / 10.0.4.1":  "3, 3;w=86400 / 2 / ",
		"address.test / 192.0.2.1": "2, 3;w=86400, 2;w=86400 / 0 / true",
		"local.test / 10.0.4.1":    " /  / ",
		"outside.test / 10.0.4.1":  " /  / ",
	} {
		_, h := w.ask(t, request)
		got := h.Get("x-ratelimit-limit") + " / " + h.Get("x-ratelimit-remaining") + " / " + h.Get("x-envoy-ratelimited")
		if got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
}

// users is a service of users, which refuses whom it does not like and remembers what it was asked.
type users struct {
	mu    sync.Mutex
	asked []string
}

func (u *users) ShouldRateLimit(_ context.Context, r *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	text := string(r.GetDomain()) + ":"
	out := &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK}
	for _, d := range r.GetDescriptors() {
		var entries []string
		for _, e := range d.GetEntries() {
			entries = append(entries, string(e.GetKey())+"="+string(e.GetValue()))
			if slices.Contains([]string{"banned", "10.0.0.66"}, string(e.GetValue())) {
				out.OverallCode = ratelimitv3.RateLimitResponse_OVER_LIMIT
			}
		}
		text += " [" + strings.Join(entries, " ") + "]"
	}
	u.asked = append(u.asked, text)
	return out, nil
}

// take what was asked since the last time.
func (u *users) take() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	asked := u.asked
	u.asked = nil
	return asked
}

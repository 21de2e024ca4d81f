package service

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func env(vars map[string]string) Getenv { return func(name string) string { return vars[name] } }

func TestAddress(t *testing.T) {
	cases := map[string]struct {
		env  map[string]string
		want string
	}{
		"Default":          {nil, "details:9080"},
		"Hostname":         {map[string]string{"DETAILS_HOSTNAME": "d.test"}, "d.test:9080"},
		"HostnameWithPort": {map[string]string{"DETAILS_HOSTNAME": "bookinfo-back.tetrate.com:80"}, "bookinfo-back.tetrate.com:80"},
		"PortOfHostnameWins": {map[string]string{
			"DETAILS_HOSTNAME": "d.test:80", "DETAILS_SERVICE_PORT": "9999",
		}, "d.test:80"},
		"ServicePort": {map[string]string{"DETAILS_SERVICE_PORT": "9999"}, "details:9999"},
		"Domain":      {map[string]string{"SERVICES_DOMAIN": "back.svc.cluster.local"}, "details.back.svc.cluster.local:9080"},
		"DomainIsNotForHostnames": {map[string]string{
			"SERVICES_DOMAIN": "x", "DETAILS_HOSTNAME": "d.test",
		}, "d.test:9080"},
		"Address6": {map[string]string{"DETAILS_HOSTNAME": "[::1]:80"}, "[::1]:80"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Address(env(tc.env), "DETAILS", "details"); got != tc.want {
				t.Errorf("Address(%v) = %q, want %q", tc.env, got, tc.want)
			}
		})
	}
}

func TestIdentityFrom(t *testing.T) {
	cases := map[string]struct {
		env  map[string]string
		want Identity
	}{
		"Nothing": {nil, Identity{"unknown", "unknown", "v1"}},
		"Region":  {map[string]string{"REGION": "region-1", "HOSTNAME": "h"}, Identity{"region-1", "h", "v1"}},
		"All": {map[string]string{
			"REGION": "region-1", "CLUSTER_NAME": "c1", "HOSTNAME": "h", "POD_NAME": "p", "SERVICE_VERSION": "v3",
		}, Identity{"c1", "p", "v3"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, IdentityFrom(env(tc.env))); diff != "" {
				t.Errorf("IdentityFrom(%v) (-want +got):\n%s", tc.env, diff)
			}
		})
	}
}

// A trace stays in one piece: what the caller sent is sent on, and nothing else of it.
func TestCallerForwardsHeaders(t *testing.T) {
	var got http.Header
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		WriteJSON(w, http.StatusOK, map[string]string{})
	}))
	t.Cleanup(s.Close)
	in := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	want := map[string]string{}
	for _, name := range forwarded {
		if http.CanonicalHeaderKey(name) != name {
			t.Errorf("header %q is not in canonical form", name)
		}
		want[name] = "value of " + name
		in.Header.Set(name, want[name])
	}
	in.Header.Set("X-Forwarded-For", "192.0.2.1")
	var out map[string]string
	if err := new(Caller).JSON(in, s.URL, time.Second, &out); err != nil {
		t.Fatal(err)
	}
	for name, v := range want {
		if got.Get(name) != v {
			t.Errorf("header %s = %q, want %q", name, got.Get(name), v)
		}
	}
	if v := got.Get("X-Forwarded-For"); v != "" {
		t.Errorf("header X-Forwarded-For = %q, want none", v)
	}
}

// A request in flight when the replica is told to stop gets its answer.
func TestServeFinishesRequests(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, h) }()
	body := make(chan string, 1)
	go func() {
		res, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			body <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		body <- string(b)
	}()
	<-started
	cancel()
	close(release)
	if got := <-body; got != "done" {
		t.Errorf("body = %q, want done", got)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

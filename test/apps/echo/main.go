// Echo answers every request with what it got and who it is: over HTTP (1.1 and 2) on port 8080, over HTTPS on 8443 if it
// has a certificate, and over plain TCP on 9000.
//
// The query says how to answer: status=503, delay=2s, header=name:value (also several), size=1000 (bytes of filling). fails=2&id=a is
// for the first two requests that say so, which are answered with 503. only=v2 is for that version; others take no notice of the query.
// remembered=NAME is answered with how many requests this replica has got with the header x-remember: NAME, so that copies can be seen.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"isthmus.dev/isthmus/test/apps/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, env func(string) string) error {
	id := app.IdentityFrom(env)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cmp.Or(env("TCP_ADDRESS"), ":9000"))
	if err != nil {
		return err
	}
	go streams(l, id)
	defer l.Close()
	return app.Serve(ctx, env, handler(id))
}

// Answer is the body of every answer.
type Answer struct {
	app.Identity
	Method  string            `json:"method"`
	Path    string            `json:"path"` // with the query
	Host    string            `json:"host"`
	Proto   string            `json:"proto"`
	Headers map[string]string `json:"headers"` // several values are joined by commas
	Body    string            `json:"body,omitempty"`
	Remote  string            `json:"remote"`
	Filling string            `json:"filling,omitempty"`
	// Remembered is absent unless it is asked for.
	Remembered *int `json:"remembered,omitempty"`
}

// memory counts requests by what they want to be remembered as.
type memory struct {
	mu     sync.Mutex
	counts map[string]int
}

func (m *memory) remember(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.counts[name]; name != "" && (known || len(m.counts) < 1000) {
		m.counts[name]++
	}
}

func (m *memory) of(name string) *int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return new(m.counts[name])
}

func handler(id app.Identity) http.Handler {
	failed := &failures{left: map[string]int{}}
	seen := &memory{counts: map[string]int{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a := Answer{Identity: id, Method: r.Method, Path: r.URL.RequestURI(), Host: r.Host, Proto: r.Proto, Headers: map[string]string{}, Body: string(body), Remote: r.RemoteAddr}
		for name, values := range r.Header {
			a.Headers[strings.ToLower(name)] = strings.Join(values, ",")
		}
		q := r.URL.Query()
		seen.remember(r.Header.Get("X-Remember"))
		if q.Has("remembered") {
			a.Remembered = seen.of(q.Get("remembered"))
		}
		if only := q.Get("only"); only != "" && only != id.Version {
			q = nil
		}
		status, err := obey(r.Context(), q, w.Header(), &a)
		if err == nil {
			status, err = failed.next(q, status)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(a) // an error means that the caller is gone
	})
}

// obey does what the query says.
func obey(ctx context.Context, q url.Values, h http.Header, a *Answer) (status int, err error) {
	if status, err = strconv.Atoi(cmp.Or(q.Get("status"), "200")); err != nil || status < 200 || status > 599 {
		return 0, errors.Join(fmt.Errorf("status %q", q.Get("status")), err)
	}
	for _, pair := range q["header"] {
		name, v, _ := strings.Cut(pair, ":")
		h.Add(name, v)
	}
	size, err := strconv.Atoi(cmp.Or(q.Get("size"), "0"))
	if err != nil || size < 0 || size > 10<<20 {
		return 0, errors.Join(fmt.Errorf("size %q", q.Get("size")), err)
	}
	a.Filling = strings.Repeat("x", size)
	if q.Has("delay") {
		d, err := time.ParseDuration(q.Get("delay"))
		if err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	return status, nil
}

// failures are how many requests are still to fail, by what they call themselves.
type failures struct {
	mu   sync.Mutex
	left map[string]int
}

// next is the status of the next request.
func (f *failures) next(q url.Values, status int) (int, error) {
	if !q.Has("fails") {
		return status, nil
	}
	n, err := strconv.Atoi(q.Get("fails"))
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	left, known := f.left[q.Get("id")]
	if !known {
		left = n
	}
	f.left[q.Get("id")] = left - 1
	if left > 0 {
		return http.StatusServiceUnavailable, nil
	}
	return status, nil
}

// streams answers every connection with a line that says who answers, and with what came.
func streams(l net.Listener, id app.Identity) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // the listener was closed
		}
		go func() {
			defer conn.Close()
			if err := json.NewEncoder(conn).Encode(id); err != nil {
				return
			}
			_, _ = io.Copy(conn, conn) // an error means that the caller is gone
		}()
	}
}

package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// counted counts what is read of a body.
type counted struct {
	io.Reader
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestNobodyIsReadLittle sends large bodies without credentials: they would cost the server's memory.
func TestNobodyIsReadLittle(t *testing.T) {
	d := openDoor(t)
	for name, path := range map[string]string{
		"REST": "/v2/apply", "RPC": "/isthmus.v1.Resources/Apply", "Login": "/v2/login",
	} {
		t.Run(name, func(t *testing.T) {
			body := &counted{Reader: strings.NewReader(strings.Repeat("x", maxRequest))}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+path, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			res, err := d.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode < 400 || res.StatusCode >= 500 {
				t.Errorf("status %d, want a refusal", res.StatusCode)
			}
			if n := body.n.Load(); n > maxRequest/4 {
				t.Errorf("%d bytes were taken of somebody without credentials, want about %d", n, maxAnonymous)
			}
		})
	}
}

// TestNobodyIsNotWaitedFor sends a body without credentials that never ends.
func TestNobodyIsNotWaitedFor(t *testing.T) {
	d := openDoor(t)
	d.server.patience = 200 * time.Millisecond
	for name, path := range map[string]string{"REST": "/v2/apply", "RPC": "/isthmus.v1.Resources/Apply"} {
		t.Run(name, func(t *testing.T) {
			body, end := io.Pipe()
			defer end.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+path, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			res, err := d.client.Do(r)
			if ctx.Err() != nil {
				t.Fatal("the server still waits after 5s")
			}
			if err == nil {
				defer res.Body.Close()
				if res.StatusCode < 400 {
					t.Errorf("status %d, want a refusal", res.StatusCode)
				}
			}
		})
	}
}

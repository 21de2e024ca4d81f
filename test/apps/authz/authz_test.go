package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"isthmus.dev/isthmus/test/apps/app"
)

// ask is what Envoy sends for a request with the headers.
func ask(headers map[string]string, extensions map[string]string) []byte {
	pairs := func(n protowire.Number, m map[string]string) (out []byte) {
		for k, v := range m {
			out = message(out, n, message(message(nil, 1, []byte(k)), 2, []byte(v)))
		}
		return out
	}
	http := message(message(pairs(3, headers), 2, []byte("GET")), 4, []byte("/a"))
	http = number(http, 9, 17) // the size, which is skipped
	request := message(message(nil, 1, []byte("when")), 2, http)
	return message(nil, 1, append(message(nil, 4, request), pairs(10, extensions)...))
}

func TestUnmarshal(t *testing.T) {
	var got checkRequest
	if err := got.unmarshal(ask(map[string]string{"a": "1", "b": "2"}, map[string]string{"host": "x"})); err != nil {
		t.Fatal(err)
	}
	want := checkRequest{Method: "GET", Path: "/a", Headers: map[string]string{"a": "1", "b": "2"}, Extensions: map[string]string{"host": "x"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range [][]byte{{0x0a, 0x05, 1}, {0xff}} {
		if err := new(checkRequest).unmarshal(bad); err == nil {
			t.Errorf("unmarshal(%x) takes what is cut off", bad)
		}
	}
}

func TestHTTP(t *testing.T) {
	s := httptest.NewServer(handler(app.Identity{App: "guard"}))
	defer s.Close()
	for name, tc := range map[string]struct {
		header string
		status int // 0 is no answer
	}{"Allow": {"allow", 200}, "Deny": {"deny", 403}, "Nothing": {"", 403}, "Break": {"break", 0}} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/a", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Authz", tc.header)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				if tc.status != 0 {
					t.Error(err)
				}
				return
			}
			defer res.Body.Close()
			if res.StatusCode != tc.status || res.Header.Get("x-authz-by") != "guard" || res.Header.Get("x-authz-path") != "/a" {
				t.Errorf("status %d, want %d; headers %v", res.StatusCode, tc.status, res.Header)
			}
		})
	}
}

func TestGRPC(t *testing.T) {
	s := httptest.NewUnstartedServer(handler(app.Identity{App: "guard"}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	client := connect.NewClient[[]byte, []byte](s.Client(), s.URL+procedure, connect.WithGRPC(), connect.WithCodec(raw{}))
	for header, want := range map[string]string{
		"allow": "\x0a\x02\x08\x00",
		"deny":  "\x0a\x02\x08\x07",
	} {
		msg := ask(map[string]string{"x-authz": header}, nil)
		res, err := client.CallUnary(t.Context(), connect.NewRequest(&msg))
		if err != nil {
			t.Fatal(err)
		}
		if got := string((*res.Msg)[:len(want)]); got != want {
			t.Errorf("%s: the answer starts with %x, want %x", header, got, want)
		}
	}
	msg := ask(map[string]string{"x-authz": "break"}, nil)
	if _, err := client.CallUnary(t.Context(), connect.NewRequest(&msg)); connect.CodeOf(err) != connect.CodeInternal {
		t.Errorf("break: %v, want an internal error", err)
	}
}

// raw passes bytes through.
type raw struct{}

func (raw) Name() string                    { return "proto" }
func (raw) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = append([]byte(nil), b...); return nil }

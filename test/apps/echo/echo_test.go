package main

import (
	"encoding/json"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"isthmus.dev/isthmus/test/apps/app"
	"isthmus.dev/isthmus/test/scenarios/call"
)

// The client of the scenarios understands the application, over HTTP of both versions and over a plain connection.
func TestEcho(t *testing.T) {
	id := app.Identity{App: "cart", Cluster: "c1"}
	s := httptest.NewServer(handler(id))
	defer s.Close()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		call.Do(t.Context(), call.Request{Method: "GET", URL: s.URL, Headers: map[string]string{"X-Remember": "me"}})
	}
	go streams(l, id)
	for name, tc := range map[string]struct {
		req    call.Request
		status int
		part   string // of the body
	}{
		"Path":   {call.Request{Method: "GET", URL: "http://shop.test/a?b=c", To: s.Listener.Addr().String()}, 200, `"path":"/a?b=c","host":"shop.test"`},
		"Status": {call.Request{Method: "POST", URL: s.URL + "/?status=503", Body: "hello"}, 503, `"body":"hello"`},
		"Header": {call.Request{Method: "GET", URL: s.URL, Headers: map[string]string{"X-A": "1", "Host": "other.test"}}, 200, `"host":"other.test"`},
		"Seen":   {call.Request{Method: "GET", URL: s.URL + "/?remembered=me"}, 200, `"remembered":2`},
		"Unseen": {call.Request{Method: "GET", URL: s.URL + "/?remembered=you"}, 200, `"remembered":0`},
		"Bad":    {call.Request{Method: "GET", URL: s.URL + "/?status=x"}, 400, "status"},
		"Fails":  {call.Request{Method: "GET", URL: s.URL + "/?fails=1&id=a"}, 503, `"path":"/?fails=1\u0026id=a"`},
		"Others": {call.Request{Method: "GET", URL: s.URL + "/?status=503&only=v2"}, 200, `"cluster":"c1"`},
		"Stream": {call.Request{Method: "SEND", URL: "tcp://shop.test:1", To: l.Addr().String(), Body: "ping"}, 0, "\nping"},
	} {
		t.Run(name, func(t *testing.T) {
			a := call.Do(t.Context(), tc.req).Answers[0]
			if a.Error != "" || a.Status != tc.status || !strings.Contains(a.Body, tc.part) {
				t.Errorf("%+v, want status %d and %q in the body", a, tc.status, tc.part)
			}
			var who app.Identity
			first, _, _ := strings.Cut(a.Body, "\n")
			if err := json.Unmarshal([]byte(first), &who); name != "Bad" && (err != nil || who != id) {
				t.Errorf("answered by %+v (%v)", who, err)
			}
		})
	}
}

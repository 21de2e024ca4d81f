package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"isthmus.dev/isthmus/examples/bookinfo/service"
)

func TestHandler(t *testing.T) {
	vars := map[string]string{"CLUSTER_NAME": "c2", "POD_NAME": "details-1"}
	h := handler(func(n string) string { return vars[n] })
	cases := []struct {
		name, method, path, body string
		code                     int
		want                     string
	}{
		{"Health", http.MethodGet, "/health", "", 200, "Details is healthy"},
		{"Book", http.MethodGet, "/details/0", "", 200, `"ISBN-10":"1234567890"`},
		{"Replica", http.MethodGet, "/details/3", "", 200, `"cluster":"c2","pod":"details-1","version":"v1"`},
		{"NotANumber", http.MethodGet, "/details/x", "", 400, "numeric"},
		{"NoWrite", http.MethodPost, "/details/0", "", 405, ""},
	}
	for _, tc := range cases { // in order: some build on those before
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tc.method, tc.path, strings.NewReader(tc.body)))
			if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.want) {
				t.Errorf("%s %s: %d %s, want %d and %q", tc.method, tc.path, w.Code, w.Body, tc.code, tc.want)
			}
			if w.Header().Get(service.HeaderCluster) != "c2" || w.Header().Get(service.HeaderPod) != "details-1" {
				t.Errorf("headers %v do not name the replica", w.Header())
			}
		})
	}
}

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"isthmus.dev/isthmus/examples/bookinfo/service"
)

func TestHandler(t *testing.T) {
	vars := map[string]string{"CLUSTER_NAME": "c2", "POD_NAME": "ratings-1"}
	h := handler(func(n string) string { return vars[n] })
	cases := []struct {
		name, method, path, body string
		code                     int
		want                     string
	}{
		{"Health", http.MethodGet, "/health", "", 200, "Ratings is healthy"},
		{"Stars", http.MethodGet, "/ratings/0", "", 200, `"ratings":{"Reviewer1":5,"Reviewer2":4}`},
		{"NotANumber", http.MethodGet, "/ratings/x", "", 400, "numeric"},
		{"BadPost", http.MethodPost, "/ratings/0", "no", 400, "valid"},
		{"Post", http.MethodPost, "/ratings/0", `{"Reviewer1":1}`, 200, `"Reviewer1":1`},
		{"Kept", http.MethodGet, "/ratings/0", "", 200, `"ratings":{"Reviewer1":1}`},
		{"OthersUntouched", http.MethodGet, "/ratings/1", "", 200, `"Reviewer2":4`},
	}
	for _, tc := range cases { // in order: some build on those before
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tc.method, tc.path, strings.NewReader(tc.body)))
			if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.want) {
				t.Errorf("%s %s: %d %s, want %d and %q", tc.method, tc.path, w.Code, w.Body, tc.code, tc.want)
			}
			if w.Header().Get(service.HeaderCluster) != "c2" || w.Header().Get(service.HeaderPod) != "ratings-1" {
				t.Errorf("headers %v do not name the replica", w.Header())
			}
		})
	}
}

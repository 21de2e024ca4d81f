package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"isthmus.dev/isthmus/examples/bookinfo/service"
)

const detailsJSON = `{"id":0,"author":"William Shakespeare","pages":200,"cluster":"c2","pod":"details-1","version":"v1"}`

const reviewsJSON = `{"id":"0","podname":"reviews-1","clustername":"c2","reviews":[{"reviewer":"R1","text":"Nice <b>play</b>",` +
	`"rating":{"stars":4,"color":"red"}}],"ratings":{"cluster":"c2","pod":"ratings-1","version":"v1"},"cluster":"c2","pod":"reviews-1","version":"v3"}`

func backend(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func get(t *testing.T, details, reviews, path string, user string) (*http.Response, string) {
	t.Helper()
	vars := map[string]string{"DETAILS_HOSTNAME": details, "REVIEWS_HOSTNAME": reviews, "CLUSTER_NAME": "c1", "POD_NAME": "pp-1"}
	s := httptest.NewServer(handler(func(n string) string { return vars[n] }))
	t.Cleanup(s.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.AddCookie(&http.Cookie{Name: "user", Value: user})
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestPageJoinsItsParts(t *testing.T) {
	var gotUser, gotPath string
	details := backend(t, func(w http.ResponseWriter, r *http.Request) {
		gotUser, gotPath = r.Header.Get("End-User"), r.URL.Path
		_, _ = io.WriteString(w, detailsJSON)
	})
	res, body := get(t, details, backend(t, says(reviewsJSON)), "/productpage", "jason")
	if res.StatusCode != http.StatusOK || res.Header.Get(service.HeaderCluster) != "c1" || res.Header.Get(service.HeaderPod) != "pp-1" {
		t.Errorf("status %d, headers %v", res.StatusCode, res.Header)
	}
	if gotUser != "jason" || gotPath != "/details/0" {
		t.Errorf("details was asked %q for user %q", gotPath, gotUser)
	}
	for _, want := range []string{
		"William Shakespeare", "Details served by cluster c2, pod details-1", "Reviews served by cluster c2, pod reviews-1, version v3",
		"ratings by cluster c2, pod ratings-1", "Page served by cluster c1, pod pp-1", "signed in as jason",
		"Nice &lt;b&gt;play&lt;/b&gt;", strings.Repeat("&#9733;", 4) + "</span>",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("page does not contain %q:\n%s", want, body)
		}
	}
}

// A missing part is said on the page, which still answers 200.
func TestPageSaysWhatIsMissing(t *testing.T) {
	details := backend(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	res, body := get(t, details, backend(t, says("not JSON")), "/", "")
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d, want 200", res.StatusCode)
	}
	for _, want := range []string{"Error fetching product details!", "answered 503 Service Unavailable", "Error fetching product reviews!"} {
		if !strings.Contains(body, want) {
			t.Errorf("page does not contain %q:\n%s", want, body)
		}
	}
}

func TestAPI(t *testing.T) {
	bad := backend(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	cases := map[string]struct {
		path string
		code int
		want string
	}{
		"Health":     {"/health", 200, "Product page is healthy"},
		"Products":   {"/api/v1/products", 200, "The Comedy of Errors"},
		"Details":    {"/api/v1/products/0", 200, `"pod":"details-1"`},
		"Reviews":    {"/api/v1/products/0/reviews", 503, "answered 500"},
		"NotANumber": {"/api/v1/products/x", 400, "numeric"},
		"Unknown":    {"/nothing", 404, "not found"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			res, body := get(t, backend(t, says(detailsJSON)), bad, tc.path, "")
			if res.StatusCode != tc.code || !strings.Contains(body, tc.want) || res.Header.Get(service.HeaderPod) != "pp-1" {
				t.Errorf("GET %s: %d %s, want %d and %q", tc.path, res.StatusCode, body, tc.code, tc.want)
			}
		})
	}
}

func TestLogin(t *testing.T) {
	h := handler(func(string) string { return "" })
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", strings.NewReader(url.Values{"username": {"jason"}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusFound || w.Result().Cookies()[0].Value != "jason" {
		t.Errorf("login: %d %v", w.Code, w.Header())
	}
}

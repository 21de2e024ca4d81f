package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"isthmus.dev/isthmus/examples/bookinfo/service"
)

func TestReviews(t *testing.T) {
	ok := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ratings/7" || r.Header.Get("X-Request-Id") != "trace-1" {
			http.Error(w, "unexpected request", http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, `{"id":7,"ratings":{"Reviewer1":5,"Reviewer2":4},"cluster":"c2","pod":"ratings-1","version":"v1"}`)
	}))
	t.Cleanup(ok.Close)
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()

	stars := func(color string) []*rating { return []*rating{{Stars: 5, Color: color}, {Stars: 4, Color: color}} }
	lost := rating{Error: "Ratings service is currently unavailable"}
	cases := map[string]struct {
		env     map[string]string
		url     string
		want    []*rating
		ratings *service.Identity
	}{
		"V1":        {map[string]string{"SERVICE_VERSION": "v1"}, ok.URL, []*rating{nil, nil}, nil},
		"V2":        {map[string]string{"SERVICE_VERSION": "v2"}, ok.URL, stars("black"), &service.Identity{Cluster: "c2", Pod: "ratings-1", Version: "v1"}},
		"V3":        {map[string]string{"SERVICE_VERSION": "v3"}, ok.URL, stars("red"), &service.Identity{Cluster: "c2", Pod: "ratings-1", Version: "v1"}},
		"Overrides": {map[string]string{"ENABLE_RATINGS": "true", "STAR_COLOR": "blue"}, ok.URL, stars("blue"), &service.Identity{Cluster: "c2", Pod: "ratings-1", Version: "v1"}},
		"Off":       {map[string]string{"SERVICE_VERSION": "v3", "ENABLE_RATINGS": "false"}, ok.URL, []*rating{nil, nil}, nil},
		"Down":      {map[string]string{"SERVICE_VERSION": "v3"}, down.URL, []*rating{&lost, &lost}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			vars := map[string]string{"RATINGS_HOSTNAME": strings.TrimPrefix(tc.url, "http://"), "CLUSTER_NAME": "c2", "POD_NAME": "reviews-1"}
			for k, v := range tc.env {
				vars[k] = v
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/reviews/7", nil)
			r.Header.Set("X-Request-Id", "trace-1")
			w := httptest.NewRecorder()
			handler(func(n string) string { return vars[n] }).ServeHTTP(w, r)
			var got answer
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			var ratings []*rating
			for _, r := range got.Reviews {
				ratings = append(ratings, r.Rating)
			}
			if diff := cmp.Diff(tc.want, ratings); diff != "" {
				t.Errorf("ratings (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.ratings, got.Ratings); diff != "" {
				t.Errorf("ratings replica (-want +got):\n%s", diff)
			}
			if got.ID != "7" || got.ClusterName != "c2" || got.Identity.Pod != "reviews-1" || w.Header().Get(service.HeaderPod) != "reviews-1" {
				t.Errorf("answer %+v, headers %v", got, w.Header())
			}
		})
	}
}

package server

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestNamesThatLookLikeVerbs: a resource may be called like a part of a path that means something else elsewhere.
func TestNamesThatLookLikeVerbs(t *testing.T) {
	d := openDoor(t)
	admin := d.basic("admin", adminPassword)
	const tenants = "/v2/organizations/o/tenants"
	for _, name := range []string{"keys", "status", "history", "apply", "workspaces"} {
		t.Run(name, func(t *testing.T) {
			for _, step := range []struct{ method, path, body string }{
				{http.MethodPost, tenants, `{"name":"` + name + `","tenant":{}}`},
				{http.MethodPost, tenants + "/" + name + "/workspaces", `{"name":"w","workspace":{"namespaceSelector":{"names":["*/a"]}}}`},
				{http.MethodGet, tenants + "/" + name + "/workspaces/w", ""},
				{http.MethodGet, tenants + "/" + name + "/status", ""},
				{http.MethodDelete, tenants + "/" + name + "/workspaces/w", ""},
				{http.MethodDelete, tenants + "/" + name, ""},
			} {
				if status, text := d.request(t, admin, step.method, step.path, step.body); status != http.StatusOK {
					t.Errorf("%s %s: %d %s, want 200", step.method, step.path, status, text)
				}
			}
		})
	}
}

// A switch is never taken for its opposite.
func TestQuerySwitches(t *testing.T) {
	for name, tc := range map[string]struct {
		query   string
		on      bool
		refused bool
	}{
		"Absent": {query: ""},
		"Bare":   {query: "force", on: true},
		"True":   {query: "force=true", on: true},
		"One":    {query: "force=1", on: true},
		"False":  {query: "force=false"},
		"Maybe":  {query: "force=maybe", refused: true},
		"DryRun": {query: "dryRun=yes", refused: true},
		"Limit":  {query: "limit=-1", refused: true},
		"Number": {query: "limit=10"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodDelete, "/v2/organizations/o?"+tc.query, nil)
			if err := checkQuery(r.URL.Query()); (err != nil) != tc.refused {
				t.Fatalf("checkQuery(%q) = %v, refused is %t", tc.query, err, tc.refused)
			}
			if got := !tc.refused && asked(r, "force"); got != tc.on {
				t.Errorf("asked(%q) = %t, want %t", tc.query, got, tc.on)
			}
		})
	}
}

package server

import (
	"net/http"
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

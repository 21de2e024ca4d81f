package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/protobuf/reflect/protoreflect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/api/isthmus/v1/isthmusv1connect"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/authz"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/store/memory"
)

const (
	adminName, adminPassword = "admin", "an administrator"
	guestName, guestPassword = "guest", "somebody without roles"
	clusterName              = "organizations/o/clusters/c"
)

// door is a running server and the ways to its front.
type door struct {
	*parts
	url    string
	client *http.Client
	// jwk is a key of the cluster's service account.
	jwk string
}

// openDoor starts a server over a database in memory, with a guest beside its administrator and one cluster.
func openDoor(t *testing.T) *door {
	t.Helper()
	db, err := store.Open(t.Context(), memory.New().Open(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := Bootstrap(t.Context(), db, First{Organization: "o", Password: adminPassword, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	hash, err := hashPassword(guestPassword)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Update(t.Context(), store.Meta{Who: "test"}, func(tx *store.Tx) error {
		const guest = "organizations/o/users/" + guestName
		if err := createMissing(tx, guest, &tsbv2.User{LoginName: guestName}); err != nil {
			return err
		}
		if err := createMissing(tx, clusterName, &tsbv2.Cluster{}); err != nil {
			return err
		}
		return tx.PutPrivate(passwordKey(guest), hash)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := assemble(db, Options{DataDir: t.TempDir(), Organization: "o", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(p.server.Handler())
	h.EnableHTTP2 = true
	h.StartTLS()
	t.Cleanup(h.Close)
	d := &door{parts: p, url: h.URL, client: h.Client()}
	admin := authz.WithCaller(t.Context(), authz.Caller{Roles: []authz.Role{{Name: authz.Admin, Scope: "organizations/o"}}})
	key, err := p.server.CreateServiceAccountKey(admin, &isthmusv1.CreateServiceAccountKeyRequest{Fqn: clusterName})
	if err != nil {
		t.Fatal(err)
	}
	d.jwk = key.GetJwk()
	return d
}

// as makes a client whose requests carry a header.
func (d *door) as(key, value string) *http.Client {
	return &http.Client{Transport: withHeader{d.client.Transport, key, value}}
}

func (d *door) basic(name, password string) *http.Client {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(name, password)
	return d.as("Authorization", r.Header.Get("Authorization"))
}

type withHeader struct {
	next       http.RoundTripper
	key, value string
}

func (w withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(w.key, w.value)
	return w.next.RoundTrip(r)
}

// edgeClaims are those of a good token.
func edgeClaims() jwt.Claims {
	return jwt.Claims{
		Issuer: clusterName, Subject: clusterName, Audience: jwt.Audience{edgeAudience},
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(5 * time.Minute)),
	}
}

// sign makes a token of an edge.
func sign(t *testing.T, key string, claims jwt.Claims) string {
	t.Helper()
	var jwk jose.JSONWebKey
	if err := json.Unmarshal([]byte(key), &jwk); err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// requests has a sensible request for each method, so that nothing but authz can refuse it. A method that is not here
// fails the test: say what it may be asked.
var requests = map[string]string{
	"Resources.Apply":                 `{"resources":[{"fqn":"organizations/o/tenants/t","kind":"api.tsb.tetrate.io/v2/Tenant"}]}`,
	"Resources.Get":                   `{"fqn":"organizations/o"}`,
	"Resources.List":                  `{"parent":"organizations/o"}`,
	"Resources.Delete":                `{"fqns":["organizations/o"]}`,
	"Resources.Status":                `{"fqn":"organizations/o"}`,
	"Resources.History":               `{"fqn":"organizations/o"}`,
	"Resources.Watch":                 `{"fqn":"organizations/o"}`,
	"Resources.Plan":                  `{"resources":[{"fqn":"organizations/o/tenants/t","kind":"api.tsb.tetrate.io/v2/Tenant"}]}`,
	"Session.Login":                   `{"username":"nobody","password":"x"}`,
	"Session.WhoAmI":                  `{}`,
	"Session.Version":                 `{}`,
	"Session.CreateServiceAccountKey": `{"fqn":"` + clusterName + `"}`,
	"Session.DeleteServiceAccountKey": `{"fqn":"` + clusterName + `","keyId":"x"}`,
	"Fleet.Connect":                   ``,
}

// TestEveryMethodAsksAuthz walks all methods of all services with callers that may not call them.
func TestEveryMethodAsksAuthz(t *testing.T) {
	d := openDoor(t)
	callers := map[string]struct {
		client *http.Client
		want   connect.Code
		open   string // methods that are for everybody of this sort
	}{
		"Nobody": {d.client, connect.CodeUnauthenticated, "Session.Version"},
		"Guest":  {d.basic(guestName, guestPassword), connect.CodePermissionDenied, "Session.Version Session.WhoAmI"},
		"Edge":   {d.as("Authorization", "Bearer "+sign(t, d.jwk, edgeClaims())), connect.CodePermissionDenied, "Session.Version Session.WhoAmI Fleet.Connect"},
	}
	for _, file := range []protoreflect.FileDescriptor{isthmusv1.File_isthmus_v1_resources_proto, isthmusv1.File_isthmus_v1_fleet_proto} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				method := string(service.Name()) + "." + string(m.Name())
				body, ok := requests[method]
				if !ok {
					t.Errorf("%s is not in the table of requests", method)
				}
				for name, c := range callers {
					t.Run(method+"/"+name, func(t *testing.T) {
						want := c.want
						if method == "Session.Login" {
							want = connect.CodeUnauthenticated // for the wrong password, not for the caller
						}
						if strings.Contains(" "+c.open+" ", " "+method+" ") {
							return
						}
						if got := d.callRPC(t, c.client, m, body); got != want {
							t.Errorf("%s says %v, want %v", name, got, want)
						}
						if name != "Nobody" || m.IsStreamingServer() || strings.HasPrefix(method, "Session.Log") {
							return
						}
						if got := d.callRPC(t, c.client, m, `{}`); got != want {
							t.Errorf("%s with an empty request says %v, want %v: nobody learns what is wrong with a request", name, got, want)
						}
					})
				}
			}
		}
	}
}

// callRPC calls a method and returns the code of the answer, 0 for none.
func (d *door) callRPC(t *testing.T, c *http.Client, m protoreflect.MethodDescriptor, body string) connect.Code {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	switch m.Name() {
	case "Connect":
		s, err := isthmusv1connect.NewFleetClient(c, d.url, connect.WithGRPC()).Connect(ctx)
		if err != nil {
			return connect.CodeOf(err)
		}
		_ = s.Send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Hello{Hello: &isthmusv1.Hello{Protocol: 1, Session: "s"}}})
		_, err = s.Receive()
		return connect.CodeOf(err)
	case "Watch":
		s, err := isthmusv1connect.NewResourcesClient(c, d.url, connect.WithGRPC()).Watch(ctx, &isthmusv1.WatchRequest{Fqn: "organizations/o"})
		if err == nil {
			s.Receive()
			err = s.Err()
		}
		return connect.CodeOf(err)
	}
	path := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	status, text := d.request(t, c, http.MethodPost, path, body)
	if status == http.StatusOK {
		return 0
	}
	var answer struct{ Code connect.Code }
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%s answers %d %s", path, status, text)
	}
	return answer.Code
}

func (d *door) request(t *testing.T, c *http.Client, method, path, body string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(bytes.TrimSpace(out))
}

// TestEveryRouteAsksAuthz is the same for REST.
func TestEveryRouteAsksAuthz(t *testing.T) {
	d := openDoor(t)
	guest := d.basic(guestName, guestPassword)
	const tenant = `{"name":"t","tenant":{}}`
	for route, body := range map[string]string{
		"GET /v2/organizations/o":               "",
		"GET /v2/organizations":                 "",
		"PUT /v2/organizations/o":               `{"etag":"x"}`,
		"PUT /v2/organizations/o/tenants/t":     `{"nonsense":1}`,
		"DELETE /v2/organizations/o":            "",
		"GET /v2/organizations/o/tenants":       "",
		"POST /v2/organizations/o/tenants":      tenant,
		"GET /v2/organizations/o/status":        "",
		"GET /v2/organizations/o/history":       "",
		"POST /v2/" + clusterName + "/keys":     "",
		"DELETE /v2/" + clusterName + "/keys/x": "",
		"POST /v2/apply":                        `{"apiVersion":"api.tsb.tetrate.io/v2","kind":"Tenant","metadata":{"organization":"o","name":"t"}}`,
		"POST /v2/delete":                       `{"fqns":["organizations/o"]}`,
	} {
		t.Run(route, func(t *testing.T) {
			method, path, _ := strings.Cut(route, " ")
			if status, text := d.request(t, d.client, method, path, body); status != http.StatusUnauthorized {
				t.Errorf("nobody gets %d %s, want 401", status, text)
			}
			if status, text := d.request(t, d.client, method, path, "nonsense"); status != http.StatusUnauthorized {
				t.Errorf("nobody with nonsense gets %d %s, want 401", status, text)
			}
			if status, text := d.request(t, guest, method, path, body); status != http.StatusForbidden {
				t.Errorf("a guest gets %d %s, want 403", status, text)
			}
		})
	}
	for _, path := range []string{"/v2/", "/v2/nonsense", "/v2/organizations/o/nonsense", "/v2/whoami"} {
		if status, text := d.request(t, d.client, http.MethodGet, path, ""); status != http.StatusUnauthorized {
			t.Errorf("nobody gets %d %s for %s, want 401", status, text, path)
		}
	}
}

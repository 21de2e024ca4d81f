package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/go-jose/go-jose/v4/jwt"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/authz"
	"isthmus.dev/isthmus/internal/store"
)

func TestEdgeTokens(t *testing.T) {
	d := openDoor(t)
	_, _, stranger, err := newClusterKey()
	if err != nil {
		t.Fatal(err)
	}
	kid := func(key string) string { return key[strings.Index(key, `"kid":"`)+7:][:43] }
	impostor := strings.ReplaceAll(stranger, kid(stranger), kid(d.jwk))
	with := func(change func(*jwt.Claims)) jwt.Claims {
		c := edgeClaims()
		change(&c)
		return c
	}
	in := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(d)) }
	for name, tc := range map[string]struct {
		key    string
		claims jwt.Claims
		ok     bool
	}{
		"Good":           {d.jwk, edgeClaims(), true},
		"ClockAhead":     {d.jwk, with(func(c *jwt.Claims) { c.IssuedAt, c.Expiry = in(4*time.Minute), in(9*time.Minute) }), true},
		"Expired":        {d.jwk, with(func(c *jwt.Claims) { c.Expiry = in(-time.Minute) }), false},
		"LivesTooLong":   {d.jwk, with(func(c *jwt.Claims) { c.Expiry = in(time.Hour) }), false},
		"NeverExpires":   {d.jwk, with(func(c *jwt.Claims) { c.Expiry = nil }), false},
		"NotYet":         {d.jwk, with(func(c *jwt.Claims) { c.NotBefore = in(time.Hour) }), false},
		"OtherAudience":  {d.jwk, with(func(c *jwt.Claims) { c.Audience = jwt.Audience{sessionAudience} }), false},
		"NoAudience":     {d.jwk, with(func(c *jwt.Claims) { c.Audience = nil }), false},
		"OtherSubject":   {d.jwk, with(func(c *jwt.Claims) { c.Subject = "organizations/o" }), false},
		"UnknownCluster": {d.jwk, with(func(c *jwt.Claims) { c.Issuer, c.Subject = "organizations/o/clusters/x", "organizations/o/clusters/x" }), false},
		"IssuerIsAUser": {d.jwk, with(func(c *jwt.Claims) {
			c.Issuer, c.Subject = "organizations/o/users/admin", "organizations/o/users/admin"
		}), false},
		"UnknownKey": {stranger, edgeClaims(), false},
		"Impostor":   {impostor, edgeClaims(), false},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{"Authorization": {"Bearer " + sign(t, tc.key, tc.claims)}}
			fqn, err := d.server.Edge(t.Context(), h, time.Now())
			if (err == nil) != tc.ok || tc.ok && fqn != clusterName {
				t.Errorf("Edge() = %q, %v; want it accepted: %v", fqn, err, tc.ok)
			}
		})
	}
}

// A token may expire while its stream is open; a key that is deleted ends the stream.
func TestEdgeIsAskedAgain(t *testing.T) {
	d := openDoor(t)
	opened := time.Now()
	claims := edgeClaims()
	claims.Expiry = jwt.NewNumericDate(opened.Add(2 * time.Second))
	h := http.Header{"Authorization": {"Bearer " + sign(t, d.jwk, claims)}}
	if _, err := d.server.Edge(t.Context(), h, opened.Add(time.Hour)); err == nil {
		t.Error("an expired token opens a stream")
	}
	if _, err := d.server.Edge(t.Context(), h, opened); err != nil {
		t.Errorf("a token that was good when the stream opened: %v", err)
	}
	admin := authz.WithCaller(t.Context(), authz.Caller{Roles: []authz.Role{{Name: authz.Admin, Scope: "organizations/o"}}})
	id := d.jwk[strings.Index(d.jwk, `"kid":"`)+7:][:43]
	if _, err := d.server.DeleteServiceAccountKey(admin, &isthmusv1.DeleteServiceAccountKeyRequest{Fqn: clusterName, KeyId: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.server.Edge(t.Context(), h, opened); err == nil {
		t.Error("the key is deleted, and its token is still good")
	}
}

func TestSessions(t *testing.T) {
	d := openDoor(t)
	res, err := d.server.Login(t.Context(), &isthmusv1.LoginRequest{Username: adminName, Password: adminPassword})
	if err != nil {
		t.Fatal(err)
	}
	whoami := func(key, value string) int {
		status, _ := d.request(t, d.as(key, value), http.MethodGet, "/v2/whoami", "")
		return status
	}
	for name, tc := range map[string]struct {
		key, value string
		want       int
	}{
		"TSBHeader":     {"X-Tetrate-Token", res.GetToken(), 200},
		"Bearer":        {"Authorization", "Bearer " + res.GetToken(), 200},
		"Changed":       {"Authorization", "Bearer " + res.GetToken()[:len(res.GetToken())-8] + "AAAAAAAA", 401},
		"Unsigned":      {"Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJvcmdhbml6YXRpb25zL28vdXNlcnMvYWRtaW4ifQ.", 401},
		"Nonsense":      {"Authorization", "Bearer x", 401},
		"UnknownScheme": {"Authorization", "Digest x", 401},
		"BrokenBasic":   {"Authorization", "Basic %", 401},
	} {
		t.Run(name, func(t *testing.T) {
			if got := whoami(tc.key, tc.value); got != tc.want {
				t.Errorf("status %d, want %d", got, tc.want)
			}
		})
	}
	// A new password ends the sessions of the old one.
	if _, err := Bootstrap(t.Context(), d.db, First{Organization: "o", Password: "another one", Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	if got := whoami("X-Tetrate-Token", res.GetToken()); got != 401 {
		t.Errorf("with a session of the old password: status %d, want 401", got)
	}
	if _, err := d.server.Login(t.Context(), &isthmusv1.LoginRequest{Username: adminName, Password: adminPassword}); err == nil {
		t.Error("the old password still signs in")
	}
}

func TestSessionExpires(t *testing.T) {
	d := openDoor(t)
	res, err := d.server.Login(t.Context(), &isthmusv1.LoginRequest{Username: adminName, Password: adminPassword})
	if err != nil {
		t.Fatal(err)
	}
	d.server.auth.now = func() time.Time { return time.Now().Add(sessionLife + time.Minute) }
	if _, err := d.server.auth.token(res.GetToken()); err == nil {
		t.Error("the session is over, and its token is still good")
	}
}

// Guessing is bounded per name, and other names do not suffer.
func TestLoginIsBounded(t *testing.T) {
	now := time.Now()
	p, err := newPasswords(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	hash, err := hashPassword("right")
	if err != nil {
		t.Fatal(err)
	}
	for i := range loginBurst {
		if err := p.check(t.Context(), "a", hash, "wrong"); !errors.Is(err, errWrongPassword) {
			t.Fatalf("try %d: %v, want %v", i, err, errWrongPassword)
		}
	}
	if err := p.check(t.Context(), "a", hash, "right"); !errors.Is(err, errTooManyTries) {
		t.Errorf("after too many tries: %v, want %v", err, errTooManyTries)
	}
	if err := p.check(t.Context(), "b", hash, "right"); err != nil {
		t.Errorf("another name: %v", err)
	}
	now = now.Add(loginEvery)
	if err := p.check(t.Context(), "a", hash, "right"); err != nil {
		t.Errorf("after a while: %v", err)
	}
	if err := p.check(t.Context(), "nobody", nil, "right"); !errors.Is(err, errWrongPassword) {
		t.Errorf("a name that does not exist: %v, want %v", err, errWrongPassword)
	}
}

// What nobody foresaw is logged and told to nobody.
func TestUnexpectedErrors(t *testing.T) {
	var log strings.Builder
	s := &Server{log: slog.New(slog.NewTextHandler(&log, nil))}
	for name, f := range map[string]func() error{
		"Error": func() error { return errors.New("the disk says xyzzy") },
		"Panic": func() error { panic("the code says xyzzy") },
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			err := s.guard(t.Context(), "test", func(_ context.Context) error { return f() })
			if connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "xyzzy") {
				t.Errorf("the caller sees %v", err)
			}
			if !strings.Contains(log.String(), "xyzzy") {
				t.Errorf("the log lacks the reason: %s", log.String())
			}
		})
	}
}

func TestFirstStart(t *testing.T) {
	d := openDoor(t)
	before, _ := d.db.Private(keyCACert)
	made, err := Bootstrap(t.Context(), d.db, First{Organization: "o", Now: time.Now})
	if err != nil || made != "" {
		t.Errorf("a second start makes a password %q (%v)", made, err)
	}
	if after, _ := d.db.Private(keyCACert); string(after) != string(before) {
		t.Error("a second start makes another CA")
	}
	if _, ok := d.db.Private(store.Key("x/password/organizations/o/users/admin")); !ok {
		t.Error("the administrator has no password")
	}
}

package server

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/authz"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// Private values of the store. They never leave the server, except the certificate of the CA.
const (
	keySession store.Key = "x/session-key"
	keyCACert  store.Key = "x/ca/cert"
	keyCAKey   store.Key = "x/ca/key"
)

func passwordKey(user resource.FQN) store.Key { return store.Key("x/password/" + user) }

// adminKey is where the scope lies in which a user is an administrator.
func adminKey(user resource.FQN) store.Key { return store.Key("x/admin/" + user) }

// credentialError says that what the caller showed is no good. Its text goes to the caller.
type credentialError struct{ err error }

func (e *credentialError) Error() string { return e.err.Error() }
func (e *credentialError) Unwrap() error { return e.err }

// authenticator knows who is behind a request's credentials.
type authenticator struct {
	db           *store.DB
	organization string
	session      ed25519.PrivateKey
	passwords    *passwords
	now          func() time.Time
}

// caller returns who is asking; ok is false when the request has no credentials. Wrong ones are a credentialError.
func (a *authenticator) caller(ctx context.Context, h http.Header) (c authz.Caller, ok bool, err error) {
	scheme, value, _ := strings.Cut(h.Get("Authorization"), " ")
	token := h.Get("X-Tetrate-Token")
	switch {
	case token == "" && strings.EqualFold(scheme, "Bearer"):
		token = strings.TrimSpace(value)
	case token == "" && strings.EqualFold(scheme, "Basic"):
		name, password, ok := (&http.Request{Header: h}).BasicAuth()
		if !ok {
			return c, false, &credentialError{errors.New("the Basic credentials cannot be read")}
		}
		c, _, err = a.password(ctx, "", name, password)
		return c, err == nil, err
	case token == "" && scheme != "":
		return c, false, &credentialError{fmt.Errorf("unknown authorization scheme %q", scheme)}
	case token == "":
		return c, false, nil
	}
	c, err = a.token(token)
	return c, err == nil, err
}

// password signs somebody in by name, which may be an FQN, and returns the hash that the password matched.
func (a *authenticator) password(ctx context.Context, organization, name, password string) (authz.Caller, []byte, error) {
	if organization == "" {
		organization = a.organization
	}
	user := resource.FQN(name)
	if !strings.Contains(name, "/") {
		user = resource.FQN("organizations/" + organization + "/users/" + name)
	}
	snapshot := a.db.Snapshot()
	var hash []byte
	if user.Plural() == "users" && snapshot.Resource(user) != nil {
		hash, _ = a.db.Private(passwordKey(user))
	}
	if err := a.passwords.check(ctx, string(user), hash, password); err != nil {
		return authz.Caller{}, nil, &credentialError{err}
	}
	return a.user(user), hash, nil
}

// user is the caller that a user is.
func (a *authenticator) user(user resource.FQN) authz.Caller {
	c := authz.Caller{Subject: user}
	if scope, ok := a.db.Private(adminKey(user)); ok {
		c.Roles = append(c.Roles, authz.Role{Name: authz.Admin, Scope: resource.FQN(scope)})
	}
	return c
}

// token checks a JSON web token: one that the server gave to a user, or one that an edge signed.
func (a *authenticator) token(raw string) (authz.Caller, error) {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
	if err != nil || len(token.Headers) != 1 {
		return authz.Caller{}, &credentialError{errBadToken}
	}
	if token.Headers[0].KeyID != sessionKeyID {
		return a.edge(token)
	}
	user, print, err := verifySession(a.session.Public().(ed25519.PublicKey), token, a.now())
	if err != nil {
		return authz.Caller{}, &credentialError{err}
	}
	hash, ok := a.db.Private(passwordKey(user))
	if !ok || hashPrint(hash) != print || a.db.Snapshot().Resource(user) == nil {
		return authz.Caller{}, &credentialError{fmt.Errorf("%w: sign in again", errBadToken)}
	}
	return a.user(user), nil
}

// edge checks a token of a cluster's edge against the keys that the cluster has now.
func (a *authenticator) edge(token *jwt.JSONWebToken) (authz.Caller, error) {
	var claims jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return authz.Caller{}, &credentialError{errBadToken}
	}
	fqn := resource.FQN(claims.Issuer)
	r := a.db.Snapshot().Resource(fqn)
	if r == nil {
		return authz.Caller{}, &credentialError{fmt.Errorf("%w: its issuer is not a cluster", errBadToken)}
	}
	cluster, ok := r.Spec.(*tsbv2.Cluster)
	if !ok {
		return authz.Caller{}, &credentialError{fmt.Errorf("%w: its issuer is not a cluster", errBadToken)}
	}
	if err := verifyEdge(token, fqn, cluster.GetServiceAccount().GetKeys(), a.now()); err != nil {
		return authz.Caller{}, &credentialError{err}
	}
	return authz.Caller{Subject: fqn, Roles: []authz.Role{{Name: authz.Edge, Scope: fqn}}}, nil
}

// Edge says which cluster's edge sends the credentials, as of the given time. The fleet asks when a stream opens and
// again while it is open, as of when it opened: a token may expire then, but a removed key ends the stream.
func (s *Server) Edge(ctx context.Context, h http.Header, at time.Time) (resource.FQN, error) {
	asOf := *s.auth
	asOf.now = func() time.Time { return at }
	c, ok, err := asOf.caller(ctx, h)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", authz.ErrUnauthenticated
	}
	if err := authz.Allow(authz.WithCaller(ctx, c), authz.Connect, c.Subject); err != nil {
		return "", err
	}
	return c.Subject, nil
}

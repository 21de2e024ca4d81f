package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/api/isthmus/v1/isthmusv1connect"
)

// client is a server and who asks it.
type client struct {
	isthmusv1connect.ResourcesClient
	isthmusv1connect.SessionClient

	settings *settings
	profile  profile
	account  account
	timeout  time.Duration
}

// connect prepares a client of the active profile. It sends nothing.
//
// TCTL_TRANSPORT=rest makes it speak REST where there is a path for a verb; otherwise it speaks gRPC.
func (e *env) connect() (*client, error) {
	s, err := e.settings()
	if err != nil {
		return nil, err
	}
	p, c, u, err := e.active(s)
	if err != nil {
		return nil, err
	}
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	scheme := "https://"
	if c.TLSDisabled {
		scheme = "http://"
	}
	base := scheme + strings.TrimPrefix(strings.TrimPrefix(c.BridgeAddress, "https://"), "http://")
	if c.BridgeAddress == "" {
		return nil, fmt.Errorf("%s: cluster %q has no bridgeAddress; 'tctl config clusters set %s --bridge-address HOST:8443' adds it", s.path, c.Name, c.Name)
	}
	h := &http.Client{Transport: &patience{next: &credentials{next: &reached{transport, c}, account: u, now: e.now, debug: e.debugLog()}, stderr: e.stderr}}
	out := &client{settings: s, profile: p, account: u, timeout: cmp.Or(c.Timeout, 30*time.Second)}
	switch t := e.getenv("TCTL_TRANSPORT"); t {
	case "rest":
		r := &restClient{base: base, http: h}
		out.ResourcesClient, out.SessionClient = r, r
	case "", "grpc":
		options := []connect.ClientOption{connect.WithGRPC(), connect.WithReadMaxBytes(cmp.Or(c.MaxMessage, 20971520))}
		out.ResourcesClient = isthmusv1connect.NewResourcesClient(h, base, options...)
		out.SessionClient = isthmusv1connect.NewSessionClient(h, base, options...)
	default:
		return nil, fmt.Errorf("TCTL_TRANSPORT is %q; it has to be grpc or rest", t)
	}
	return out, nil
}

// transport speaks HTTP/2 to the server, and trusts what the configuration says.
func (c endpoint) transport() (*http.Transport, error) {
	t := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: c.TLSInsecure, MinVersion: tls.VersionTLS12}, //nolint:gosec // the user asked for it
		Protocols:         new(http.Protocols),
	}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetHTTP1(!c.TLSDisabled) // gRPC needs HTTP/2: without TLS there is nobody to agree on it
	t.Protocols.SetUnencryptedHTTP2(c.TLSDisabled)
	if c.TLSCustomCAFile == "" {
		return t, nil
	}
	var err error
	if t.TLSClientConfig.RootCAs, err = readPool(c.TLSCustomCAFile); err != nil {
		return nil, fmt.Errorf("CA of the server %q: %w; 'tctl config clusters set %s --tls-custom-ca-file FILE' changes it", c.Name, err, c.Name)
	}
	return t, nil
}

func readPool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no PEM certificate", path)
	}
	return pool, nil
}

// debugLog writes what is sent and received, when --debug asks for it.
func (e *env) debugLog() func(format string, args ...any) {
	if !e.debug {
		return func(string, ...any) {}
	}
	return func(format string, args ...any) { fmt.Fprintf(e.stderr, "debug: "+format+"\n", args...) }
}

// credentials adds to each request who asks.
type credentials struct {
	next    http.RoundTripper
	account account
	now     func() time.Time
	debug   func(format string, args ...any)
}

// RoundTrip implements http.RoundTripper.
func (c *credentials) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	fresh := c.account.Expires.IsZero() || c.now().Before(c.account.Expires)
	login := strings.HasSuffix(r.URL.Path, "/Login") || r.URL.Path == "/v2/login"
	switch u := c.account; {
	case login: // has its own
	case u.Token != "" && (fresh || u.Password == ""):
		r.Header.Set("X-Tetrate-Token", u.Token)
	case u.Password != "":
		who := u.Username
		if u.Org != "" && !strings.Contains(who, "/") {
			who = "organizations/" + u.Org + "/users/" + who
		}
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(who+":"+u.Password)))
	}
	res, err := c.next.RoundTrip(r)
	if err != nil {
		c.debug("%s %s: %v", r.Method, r.URL, err)
		return nil, err
	}
	c.debug("%s %s: %s", r.Method, r.URL, res.Status)
	return res, nil
}

// bounded is ctx with the timeout of the configuration.
func (c *client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("the server did not answer within %v", c.timeout))
}

// explain makes an error of the server readable. Problems of a batch are returned apart, each with its place in the
// request.
func explain(ctx context.Context, err error) (error, []*isthmusv1.Problem) {
	if err == nil {
		return nil, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause, nil
	}
	if u, ok := errors.AsType[*unreachableError](err); ok {
		return u, nil // without the words of those who passed it on
	}
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err, nil
	}
	for _, d := range e.Details() {
		m, err := d.Value()
		if p, ok := m.(*isthmusv1.Problems); err == nil && ok {
			return errors.New(e.Message()), p.GetProblems()
		}
	}
	if e.Code() == connect.CodeUnauthenticated && !strings.HasPrefix(e.Message(), "wrong name or password") {
		return fmt.Errorf("%s; 'tctl login' signs in", e.Message()), nil
	}
	return errors.New(e.Message()), nil
}

// call runs one request of the active profile within its timeout, and makes the error readable.
func (e *env) call(ctx context.Context, f func(context.Context, *client) error) error {
	c, err := e.connect()
	if err != nil {
		return err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	err, _ = explain(ctx, f(ctx, c))
	return err
}

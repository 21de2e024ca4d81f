// Package call makes the requests of scenarios. It is what a scenario's client does, and what client and runner say to
// each other: one JSON value per line, a Request in, a Result out.
package call

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Request is one request, or several that are alike.
type Request struct {
	Method string `json:"method"`
	// URL of scheme http, https, tcp or tls. The latter two send Body and read to the end.
	URL string `json:"url"`
	// To is the address to connect to; empty resolves the URL's host.
	To      string            `json:"to,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	// Session is a browser's: its cookies go where they belong, and are kept for the next request of the same Client.
	Session string `json:"session,omitempty"`
	// Follow goes on to where answers say, at most ten times, with the same headers. To stays, with the port of the URL.
	Follow bool `json:"follow,omitempty"`
	// CookiesOf is the URL of another host whose cookies are sent, as a thief would.
	CookiesOf string `json:"cookiesOf,omitempty"`
	// CookiesAs is "old=new": what the names of cookies begin with, and what is put in its place.
	CookiesAs string `json:"cookiesAs,omitempty"`
	// HTTP is "1.1" or "2"; empty takes what TLS negotiates, and 1.1 without TLS.
	HTTP string `json:"http,omitempty"`
	TLS  TLS    `json:"tls,omitzero"`
	// Repeat is how many requests are made, Parallel how many of them at once. 0 means 1. Every is the time between
	// the starts of two.
	Repeat   int           `json:"repeat,omitempty"`
	Parallel int           `json:"parallel,omitempty"`
	Every    time.Duration `json:"every,omitempty"`
	Timeout  time.Duration `json:"timeout,omitempty"`
}

// TLS is the client's side of a handshake. Certificates and keys are PEM.
type TLS struct {
	Authority   string   `json:"authority,omitempty"`
	Certificate string   `json:"certificate,omitempty"`
	Key         string   `json:"key,omitempty"`
	SNI         string   `json:"sni,omitempty"` // empty sends the URL's host, "none" sends nothing
	Insecure    bool     `json:"insecure,omitempty"`
	Min         string   `json:"min,omitempty"`
	Max         string   `json:"max,omitempty"`
	Ciphers     []string `json:"ciphers,omitempty"`
	ALPN        []string `json:"alpn,omitempty"` // what the client says that it speaks inside
}

// Result is what became of a Request.
type Result struct {
	Answers []Answer `json:"answers"`
}

// Answer is what became of one request. Error is set when there was no answer.
type Answer struct {
	Error      string        `json:"error,omitempty"`
	Status     int           `json:"status,omitempty"`
	URL        string        `json:"url,omitempty"` // that answered
	Headers    http.Header   `json:"headers,omitempty"`
	Body       string        `json:"body,omitempty"`
	Protocol   string        `json:"protocol,omitempty"`   // HTTP/1.1, HTTP/2.0
	TLSVersion string        `json:"tlsVersion,omitempty"` // 1.2, 1.3
	Cipher     string        `json:"cipher,omitempty"`
	Names      []string      `json:"names,omitempty"` // of the server's certificate
	Asked      time.Time     `json:"asked,omitzero"`
	Took       time.Duration `json:"took,omitempty"`
}

// defaultTimeout of one request.
const defaultTimeout = 5 * time.Second

// Client makes requests and keeps the cookies of sessions. The zero value has none.
type Client struct {
	mu       sync.Mutex
	sessions map[string]http.CookieJar
}

// session makes one that is new without cookies; nil when a request has none.
func (c *Client) session(name string) (http.CookieJar, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name == "" || c.sessions[name] != nil {
		return c.sessions[name], nil
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	if c.sessions == nil {
		c.sessions = map[string]http.CookieJar{}
	}
	c.sessions[name] = jar
	return jar, nil
}

// Do makes the requests, each on a connection of its own.
func Do(ctx context.Context, r Request) Result { return new(Client).Do(ctx, r) }

// Do makes the requests, each on a connection of its own.
func (c *Client) Do(ctx context.Context, r Request) Result {
	answers := make([]Answer, max(r.Repeat, 1))
	var wg sync.WaitGroup
	free := make(chan struct{}, max(r.Parallel, 1))
	for i := range answers {
		if i > 0 && r.Every > 0 {
			time.Sleep(r.Every)
		}
		free <- struct{}{}
		wg.Go(func() {
			answers[i] = c.one(ctx, r)
			<-free
		})
	}
	wg.Wait()
	return Result{Answers: answers}
}

func (c *Client) one(ctx context.Context, r Request) (a Answer) {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	a.Asked = began
	err := func() error {
		u, err := url.Parse(r.URL)
		if err != nil {
			return err
		}
		if u.Scheme == "tcp" || u.Scheme == "tls" {
			return stream(ctx, r, u, &a)
		}
		return c.visit(ctx, r, u, &a)
	}()
	if err != nil {
		a.Error = err.Error()
	}
	a.Took = time.Since(began)
	return a
}

// visit does what a browser does.
func (c *Client) visit(ctx context.Context, r Request, u *url.URL, a *Answer) error {
	jar, err := c.session(r.Session)
	if err != nil {
		return err
	}
	for hop := 0; ; hop++ {
		if err := exchange(ctx, r, u, jar, a); err != nil {
			return fmt.Errorf("%s: %w", u.Redacted(), err)
		}
		location := a.Headers.Get("Location")
		if !r.Follow || a.Status < 300 || a.Status > 399 || location == "" {
			return nil
		}
		if hop == 10 {
			return fmt.Errorf("there is no end of being sent elsewhere, at last to %s", location)
		}
		if u, err = u.Parse(location); err != nil {
			return err
		}
		r.URL, r.Method, r.Body, r.CookiesOf, r.CookiesAs = u.String(), http.MethodGet, "", "", ""
		if host, _, err := net.SplitHostPort(r.To); err == nil {
			port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
			r.To = net.JoinHostPort(host, cmp.Or(u.Port(), port))
		}
	}
}

func exchange(ctx context.Context, r Request, u *url.URL, jar http.CookieJar, a *Answer) error {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, strings.NewReader(r.Body))
	if err != nil {
		return err
	}
	for name, v := range r.Headers {
		if strings.EqualFold(name, "host") {
			req.Host = v
			continue
		}
		req.Header.Set(name, v)
	}
	if jar != nil {
		of := u
		if r.CookiesOf != "" {
			if of, err = url.Parse(r.CookiesOf); err != nil {
				return err
			}
		}
		for _, cookie := range jar.Cookies(of) {
			if before, after, ok := strings.Cut(r.CookiesAs, "="); ok && strings.HasPrefix(cookie.Name, before) {
				cookie.Name = after + strings.TrimPrefix(cookie.Name, before)
			}
			req.AddCookie(cookie)
		}
	}
	config, err := r.TLS.config(u.Hostname())
	if err != nil {
		return err
	}
	t := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, DisableCompression: true, Protocols: protocols(r.HTTP, u.Scheme)}
	if r.To != "" {
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, r.To)
		}
	}
	defer t.CloseIdleConnections()
	res, err := t.RoundTrip(req) // and no further: a redirect is an answer
	if err != nil {
		return err
	}
	defer res.Body.Close()
	a.Status, a.Headers, a.Protocol, a.URL = res.StatusCode, res.Header, res.Proto, u.String()
	if jar != nil {
		jar.SetCookies(u, res.Cookies())
	}
	if res.TLS != nil {
		a.handshake(*res.TLS)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	a.Body = string(body)
	return err
}

func protocols(version, scheme string) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(version != "2")
	if scheme == "https" {
		p.SetHTTP2(version != "1.1")
	} else {
		p.SetUnencryptedHTTP2(version == "2")
	}
	return p
}

// stream sends the body, says that nothing follows, and reads to the end.
func stream(ctx context.Context, r Request, u *url.URL, a *Answer) error {
	to := r.To
	if to == "" {
		to = u.Host
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if u.Scheme == "tls" {
		config, err := r.TLS.config(u.Hostname())
		if err != nil {
			return err
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		a.handshake(secure.ConnectionState())
		conn = secure
	}
	if _, err := io.WriteString(conn, r.Body); err != nil {
		return err
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return err
		}
	}
	body, err := io.ReadAll(io.LimitReader(conn, 1<<20))
	a.Body = string(body)
	if err == nil && len(body) == 0 {
		return errors.New("closed without an answer")
	}
	return err
}

func (a *Answer) handshake(s tls.ConnectionState) {
	a.TLSVersion = strings.TrimPrefix(tls.VersionName(s.Version), "TLS ")
	a.Cipher = tls.CipherSuiteName(s.CipherSuite)
	if len(s.PeerCertificates) > 0 {
		a.Names = s.PeerCertificates[0].DNSNames
	}
}

// config verifies the server as host, whatever SNI is sent.
func (t TLS) config(host string) (*tls.Config, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(t.Authority))
	c := &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: t.ALPN} //nolint:gosec // VerifyConnection does it
	switch t.SNI {
	case "":
	case "none":
		c.ServerName = "192.0.2.1" // an address is not sent
	default:
		c.ServerName = t.SNI
	}
	if !t.Insecure {
		c.VerifyConnection = func(s tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, cert := range s.PeerCertificates[1:] {
				between.AddCert(cert)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between})
			return err
		}
	}
	if t.Certificate != "" {
		pair, err := tls.X509KeyPair([]byte(t.Certificate), []byte(t.Key))
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		// Whatever authorities the server names: the refused side wants to show a wrong one.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	var err error
	if c.MinVersion, err = version(t.Min); err != nil {
		return nil, err
	}
	if c.MaxVersion, err = version(t.Max); err != nil {
		return nil, err
	}
	for _, name := range t.Ciphers {
		id, err := cipher(name)
		if err != nil {
			return nil, err
		}
		c.CipherSuites = append(c.CipherSuites, id)
	}
	return c, nil
}

func version(s string) (uint16, error) {
	v, ok := map[string]uint16{"": 0, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[s]
	if !ok {
		return 0, fmt.Errorf("TLS version %q: want 1.0, 1.1, 1.2 or 1.3", s)
	}
	return v, nil
}

func cipher(name string) (uint16, error) {
	for _, c := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if c.Name == name {
			return c.ID, nil
		}
	}
	return 0, fmt.Errorf("cipher suite %q is not known", name)
}

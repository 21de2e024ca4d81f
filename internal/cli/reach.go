package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// reached says of errors on the way to the server which server it was and what helps.
type reached struct {
	next   http.RoundTripper
	server endpoint
}

// RoundTrip implements http.RoundTripper.
func (t *reached) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(r)
	if err == nil || r.Context().Err() != nil {
		return res, err
	}
	return nil, &unreachableError{server: t.server, err: err}
}

// unreachableError is an answer that did not come.
type unreachableError struct {
	server endpoint
	err    error
}

func (u *unreachableError) Unwrap() error { return u.err }

func (u *unreachableError) Error() string {
	change := "'tctl config clusters set " + u.server.Name
	hint := "is it running, and is this its address? " + change + " --bridge-address HOST:PORT' changes it"
	text := u.err.Error()
	_, wrongName := errors.AsType[x509.HostnameError](u.err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](u.err)
	switch {
	case unknown:
		hint = change + " --tls-custom-ca-file FILE' says whom to trust; a server without a certificate of its own keeps its CA in DATA-DIR/ca.crt"
	case wrongName:
		hint = "call it by a name of its certificate: " + change + " --bridge-address HOST:PORT'"
	case u.server.TLSDisabled:
		hint = "does it speak TLS? " + change + " --tls-disabled=false'"
	case strings.Contains(text, "HTTP/1") || strings.Contains(text, "first record does not look like a TLS handshake"):
		hint = "something else answers there, perhaps without TLS"
	}
	return fmt.Sprintf("server %s: %s; %s", u.server.BridgeAddress, text, hint)
}

// patience says, when an answer takes its time, that there is none yet.
type patience struct {
	next   http.RoundTripper
	stderr io.Writer
}

// slow is how long an answer may take before somebody is told.
const slow = 2 * time.Second

// RoundTrip implements http.RoundTripper.
func (p *patience) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(slow)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				fmt.Fprintf(p.stderr, "tctl: waiting for an answer of %s, %v\n", r.URL.Host, time.Since(start).Round(time.Second))
			case <-done:
				return
			}
		}
	}()
	res, err := p.next.RoundTrip(r)
	close(done)
	<-ended
	return res, err
}
